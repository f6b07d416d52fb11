#include "stage_problem.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"

#include "numbering.hpp"

namespace alpa::intra_op {

std::vector<Retention> retentions_of(const Tensor& tensor, const StageConstraints& constraints) {
  if (constraints.retentions) {
    if (auto chosen = constraints.retentions(tensor)) return *chosen;
  }
  const bool weight = tensor.role == Role::parameter || tensor.role == Role::replica;
  if (weight) return {Retention::step, Retention::repeat};
  return {Retention::keep};
}

StageProblem::StageProblem(const RunContext& run, const StageConstraints& constraints,
                           const StageQuestion& question, const LayerClasses* classes, bool named)
    : run_(run), constraints_(constraints), question_(question), named_(named) {
  const StageWeights& w = question.weights;
  weights_ = {w.prepare, w.forward, w.backward, w.reduce, w.update};
  add_operators(classes);
  add_constants();
  if (contradiction_) return;
  add_sums();
  for (const Group& group : grouped_flows(classes)) {
    add_flow(group);
    if (contradiction_) return;
  }
  price_bytes(w.state_byte, w.stash_byte);
  if (!question_.memory) return;
  problem_.usage_limit = question_.memory->value;
  const std::int64_t end = delivery_time(static_cast<int>(run_.view.ops.size()) + 1);
  for (std::size_t n = 0; n < problem_.nodes.size(); ++n) {
    const auto& bytes = always_[n];
    if (std::any_of(bytes.begin(), bytes.end(), [](std::int64_t b) { return b > 0; })) {
      problem_.nodes[n].usages.push_back({0, end, bytes});
    }
  }
}

int StageProblem::add_node(std::size_t options, const std::string& name, const char* what) {
  if (options == 0) contradiction_ = true;
  problem_.nodes.push_back({std::vector<double>(options, 0.0), {}});
  if (question_.memory) always_.emplace_back(options, 0);
  if (named_) {
    node_names.push_back(name + what);
    option_names.emplace_back(options);
  }
  return static_cast<int>(problem_.nodes.size()) - 1;
}

void StageProblem::add_edge(int first, int second, std::vector<double> costs) {
  if (std::all_of(costs.begin(), costs.end(), [](double c) { return c == 0.0; })) return;
  const auto options = [&](int node) {
    return problem_.nodes[static_cast<std::size_t>(node)].costs.size();
  };
  problem_.edges.push_back(
      merged_edge(first, options(first), second, options(second), std::move(costs)));
}

void StageProblem::always(int node, const Amounts& bytes, std::int64_t times) {
  if (!question_.memory) return;
  auto& all = always_[static_cast<std::size_t>(node)];
  for (std::size_t p = 0; p < all.size(); ++p) all[p] += times * bytes[p];
}

void StageProblem::hold_state(int node, const Amounts& bytes, double count) {
  always(node, bytes, static_cast<std::int64_t>(count));
  priced_.push_back({node, false, count, bytes});
}

void StageProblem::hold_stash(int node, const Amounts& bytes, double count) {
  always(node, bytes, question_.in_flight * static_cast<std::int64_t>(count));
  priced_.push_back({node, true, count, bytes});
}

void StageProblem::price_bytes(double state_byte, double stash_byte) {
  question_.weights.state_byte = state_byte;
  question_.weights.stash_byte = stash_byte;
  if (seconds_.empty()) {
    for (const Problem::Node& node : problem_.nodes) seconds_.push_back(node.costs);
  }
  for (std::size_t n = 0; n < seconds_.size(); ++n) problem_.nodes[n].costs = seconds_[n];
  for (const Priced& priced : priced_) {
    const double each = (priced.stash ? stash_byte : state_byte) * priced.count;
    auto& costs = problem_.nodes[static_cast<std::size_t>(priced.node)].costs;
    for (std::size_t p = 0; p < costs.size(); ++p) {
      costs[p] += each * static_cast<double>(priced.bytes[p]);
    }
  }
  for (const PricedEdge& priced : priced_edges_) {
    auto& costs = problem_.edges[priced.edge].costs;
    for (std::size_t k = 0; k < costs.size(); ++k) {
      costs[k] = priced.seconds[k] + state_byte * priced.bytes[k];
    }
  }
}

void StageProblem::add_priced_edge(int first, int second, std::vector<double> seconds,
                                   std::vector<double> bytes) {
  if (std::all_of(bytes.begin(), bytes.end(), [](double b) { return b == 0.0; })) {
    add_edge(first, second, std::move(seconds));
    return;
  }
  problem_.edges.push_back({first, second, seconds, {}, {}});
  priced_edges_.push_back({problem_.edges.size() - 1, std::move(seconds), std::move(bytes)});
}

void StageProblem::hold_for(int node, Life life, const Amounts& bytes) {
  if (!question_.memory || life.begin >= life.end) return;
  problem_.nodes[static_cast<std::size_t>(node)].usages.push_back({life.begin, life.end, bytes});
}

void StageProblem::add_operators(const LayerClasses* classes) {
  node_of_op_.assign(run_.graph.operators.size(), -1);
  std::map<std::pair<int, int>, int> tied;
  std::map<int, int> place;  // operators of the layer so far
  for (const int o : run_.view.ops) {
    const Operator& each = op(o);
    int node = each.copy_of.valid() ? node_of(each.copy_of.value) : -1;
    if (node >= 0) {  // one choice for both, and the costs of both
      ALPA_CHECK(options(o).size() == options(each.copy_of.value).size());
    } else if (classes != nullptr) {
      const int c = (*classes)[static_cast<std::size_t>(each.layer)];
      const auto [it, is_new] = tied.try_emplace({c, place[each.layer]++}, -1);
      if (!is_new) node = it->second;
      if (is_new) node = it->second = add_node(options(o).size(), each.name);
      if (is_new) deciding_.push_back(node);
    } else {
      node = add_node(options(o).size(), each.name);
      deciding_.push_back(node);
    }
    node_of_op_[static_cast<std::size_t>(o)] = node;
    auto& costs = problem_.nodes[static_cast<std::size_t>(node)].costs;
    for (std::size_t p = 0; p < costs.size(); ++p) {
      if (named_)
        option_names[static_cast<std::size_t>(node)][p] = to_string(options(o)[p].strategy);
      if (!options(o)[p].sum_seconds.empty()) continue;  // in add_sums
      costs[p] += count(each) * weight(each.phase) * options(o)[p].seconds;
    }
    for (std::size_t r = 0; r < each.results.size(); ++r) {
      if (run_.graph.tensor(each.results[r]).role != Role::optimizer_state) continue;
      Amounts bytes;
      for (const Option& option : options(o)) {
        bytes.push_back(
            placed_bytes(run_.options.layouts(each.results[r]).bytes(option.results[r])));
      }
      hold_state(node, bytes, count(each));
    }
  }
}

void StageProblem::add_constants() {
  std::int64_t bytes = step_state_bytes(run_.graph);
  for (const TensorId t : run_.view.unread_state) {
    const Tensor& tensor = run_.graph.tensor(t);
    bytes +=
        run_.view.count(tensor.layer) * placed_bytes(bytes_of(tensor.shape, tensor.dtype).value);
  }
  const int node = add_node(1, "constant");
  hold_state(node, {bytes});
}

std::vector<int> StageProblem::source_layouts(const Flow& flow) const {
  LayoutTable& layouts = run_.options.layouts(flow.tensor);
  if (flow.source == Flow::Source::stored) {
    return {layouts.number(replicated(run_.graph.tensor(flow.tensor).shape.size()))};
  }
  const auto i = static_cast<std::size_t>(flow.result);
  std::vector<int> found;
  for (const Option& option : options(flow.maker)) {
    const bool arrives = flow.source == Flow::Source::arrives;
    found.push_back(arrives ? layouts.arrival(option.operands[i]) : option.results[i]);
  }
  return found;
}

std::vector<LayoutList> StageProblem::wanted_layouts(const Reader& reader) const {
  std::vector<LayoutList> found(options(reader.op).size());
  for (std::size_t p = 0; p < found.size(); ++p) {
    for (const int i : reader.operands) {
      found[p].add(options(reader.op)[p].operands[static_cast<std::size_t>(i)]);
    }
  }
  return found;
}

std::vector<int> StageProblem::key_of(const Flow& flow) const {
  std::vector<int> key;
  const auto add = [&](int number) { key.push_back(number); };
  add(static_cast<int>(flow.source));
  add(run_.options.layout_class(flow.tensor));
  add(static_cast<int>(run_.graph.tensor(flow.tensor).role));
  add(flow.maker < 0 ? -1 : node_of(flow.maker));
  add(flow.result);
  add(static_cast<int>(flow.made_in));
  add(flow.sent ? static_cast<int>(flow.sent_in) : -1);
  add(flow.leader < 0 ? 0 : 1);
  add(flow.total ? 1 : 0);
  for (const Retention r : retentions_of(run_.graph.tensor(flow.tensor), constraints_)) {
    add(static_cast<int>(r));
  }
  for (const Reader& reader : flow.readers) {
    add(-2);  // another reader
    add(node_of(reader.op));
    add(static_cast<int>(reader.phase));
    for (const int i : reader.operands) add(i);
  }
  return key;
}

std::vector<StageProblem::Group> StageProblem::grouped_flows(const LayerClasses* classes) const {
  std::vector<Group> groups;
  std::map<std::vector<int>, std::size_t> known;
  for (const Flow& flow : run_.view.flows) {
    if (classes != nullptr) {
      const auto [it, is_new] = known.try_emplace(key_of(flow), groups.size());
      if (!is_new) {
        groups[it->second].add(flow);
        continue;
      }
    }
    groups.emplace_back(flow);
  }
  return groups;
}

void StageProblem::add_flow(const Group& group) {
  const Flow& flow = group.front();
  if (flow.source == Flow::Source::input) {
    add_input(group);
    return;
  }
  hold_source(group);
  if (readers_hold(run_.graph, flow)) hold_at_readers(group);
  if (flow.leader >= 0) return;  // in add_sums
  if (flow.readers.empty() && !flow.sent) return;
  if (is_direct(flow)) {
    add_direct(group);
  } else if (question_.one_layout) {
    add_shared(group);
  } else {
    add_star(group);
  }
}

/// Inputs come in any layout, each with a buffer for every microbatch on devices that read it.
void StageProblem::add_input(const Group& group) {
  const Flow& flow = group.front();
  LayoutTable& layouts = run_.options.layouts(flow.tensor);
  Numbering wanted;
  std::vector<std::vector<LayoutList>> of_reader;
  for (const Reader& reader : flow.readers) {
    auto& all = of_reader.emplace_back();
    for (const LayoutList& list : wanted_layouts(reader)) {
      LayoutList& read = all.emplace_back();
      for (const int layout : list) {
        const int whole = layouts.whole(layout);
        if (!layouts.path(whole, layout).reads) continue;
        wanted.add(whole);
        read.add(whole);
      }
    }
  }
  for (const int layout : wanted.values()) {
    const std::int64_t bytes = placed_bytes(layouts.bytes(layout)) * run_.num_microbatches;
    const int node = add_node(2, run_.graph.tensor(flow.tensor).name, " as input");
    hold_state(node, {0, bytes}, group.count());
    for (std::size_t r = 0; r < flow.readers.size(); ++r) {
      std::vector<double> costs;
      for (const auto& list : of_reader[r]) {
        costs.push_back(list.contains(layout) ? kForbidden : 0.0);
        costs.push_back(0.0);
      }
      add_edge(node_of(flow.readers[r].op), node, std::move(costs));
    }
  }
  if (flow.readers.empty()) return;
  const Reader& first = flow.readers.front();
  auto& costs = problem_.nodes[static_cast<std::size_t>(node_of(first.op))].costs;
  const auto lists = wanted_layouts(first);
  for (std::size_t p = 0; p < costs.size(); ++p) {
    for (const int layout : lists[p]) {
      const double seconds = layouts.path(layouts.whole(layout), layout).seconds;
      costs[p] += weight(first.phase) * group.count() * seconds;
    }
  }
}

void StageProblem::add_direct(const Group& group) {
  const Flow& flow = group.front();
  const Reader& reader = flow.readers.front();
  LayoutTable& layouts = run_.options.layouts(flow.tensor);
  const auto sources = source_layouts(flow);
  const auto wanted = wanted_layouts(reader);
  Numbering from, to;
  for (const int s : sources) from.add(s);
  for (const auto& list : wanted) {
    for (const int layout : list) to.add(layout);
  }
  const auto paths = layouts.paths(from.values(), to.values());
  const double w = weight(reader.phase) * group.count();
  const auto cost = [&](int source, const LayoutList& list) {
    double seconds = 0.0;
    for (const int layout : list) {
      const PathPrice& path = paths[from.at(source) * to.size() + to.at(layout)];
      seconds += path.seconds + (list.size() > 1 ? path.copy_seconds : 0.0);
    }
    return w * seconds;
  };
  const int node = node_of(reader.op);
  if (flow.source == Flow::Source::arrives) {
    auto& costs = problem_.nodes[static_cast<std::size_t>(node)].costs;
    for (std::size_t p = 0; p < costs.size(); ++p) costs[p] += cost(sources[p], wanted[p]);
    return;
  }
  // Options that agree about the tensor cost the same.
  std::vector<double> rows;
  rows.reserve(from.size() * wanted.size());
  for (const int s : from.values()) {
    for (const auto& list : wanted) rows.push_back(cost(s, list));
  }
  std::vector<double> costs;
  costs.reserve(sources.size() * wanted.size());
  for (const int s : sources) {
    const double* row = rows.data() + from.at(s) * wanted.size();
    costs.insert(costs.end(), row, row + wanted.size());
  }
  add_edge(node_of(flow.maker), node, std::move(costs));
}

/// What the source itself takes, where its maker alone decides it.
void StageProblem::hold_source(const Group& group) {
  const Flow& flow = group.front();
  const Tensor& tensor = run_.graph.tensor(flow.tensor);
  if (flow.leader >= 0 || flow.total) return;
  LayoutTable& layouts = run_.options.layouts(flow.tensor);
  Amounts bytes = layouts.bytes(source_layouts(flow));
  if (flow.source == Flow::Source::stored) {
    if (flow.readers.empty()) return;  // among the constants
    hold_state(add_node(1, tensor.name), {placed_bytes(bytes[0])}, group.count());
    return;
  }
  const int node = node_of(flow.maker);
  const Scope made = scope_of(flow.made_in);
  const bool state = tensor.role == Role::parameter || tensor.role == Role::accumulator;
  const bool read_later = !lives_in_one_scope(flow);
  const bool arrived = made == Scope::prepare && flow.source == Flow::Source::arrives;
  if (made == Scope::prepare && !state && !arrived) return;  // with the copies
  if (state || arrived) {
    for (std::int64_t& b : bytes) b = placed_bytes(b);
    hold_state(node, bytes, group.count());
  } else if (!read_later) {
    for (const Flow* each : group.flows) hold_for(node, life_of_source(run_, *each), bytes);
  }
}

void StageProblem::hold_at_readers(const Group& group) {
  if (!question_.memory) return;
  LayoutTable& layouts = run_.options.layouts(group.front().tensor);
  for (const Flow* flow : group.flows) {
    for (const Reader& reader : flow->readers) {
      if (is_contribution(run_.graph, op(reader.op))) continue;
      Amounts bytes;
      for (const auto& list : wanted_layouts(reader)) {
        std::int64_t sum = 0;
        for (const int layout : list) sum += layouts.bytes(layout);
        bytes.push_back(sum);
      }
      const int at = kernel_time(reader.position);
      hold_for(node_of(reader.op), {at, at + 1}, bytes);
    }
  }
}

RunChoice StageProblem::decode(const std::vector<int>& choice) const {
  RunChoice found;
  found.options.resize(run_.graph.operators.size(), nullptr);
  for (const int o : run_.view.ops) {
    const auto p = static_cast<std::size_t>(choice[static_cast<std::size_t>(node_of(o))]);
    found.options[static_cast<std::size_t>(o)] = &options(o)[p];
  }
  std::map<std::string, Retention> retention;
  for (const auto& [t, chosen] : fixed_retention_) retention[run_.graph.tensor(t).name] = chosen;
  for (const auto& [t, node] : retention_nodes_) {
    const auto p = static_cast<std::size_t>(choice[static_cast<std::size_t>(node.first)]);
    retention[run_.graph.tensor(t).name] = node.second[p];
  }
  found.retention = [retention = std::move(retention)](const Tensor& tensor) {
    const auto it = retention.find(tensor.name);
    if (it != retention.end()) return it->second;
    const bool weight = tensor.role == Role::parameter || tensor.role == Role::replica;
    return weight ? Retention::step : Retention::keep;
  };
  return found;
}

}  // namespace alpa::intra_op
