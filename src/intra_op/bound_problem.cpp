#include "bound_problem.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>

#include "layout_list.hpp"
#include "numbering.hpp"
#include "stage_problem.hpp"

namespace alpa::intra_op {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Layouts that a reader's option wants.
LayoutList wanted(const Option& option, const std::vector<int>& operands) {
  LayoutList found;
  for (const int i : operands) found.add(option.operands[static_cast<std::size_t>(i)]);
  return found;
}

/// Nodes of operators: one for an operator and those that compute it again.
std::vector<int> nodes_of(const RunContext& run) {
  std::vector<int> node_of(run.graph.operators.size(), -1);
  int next = 0;
  for (const int o : run.view.ops) {
    const Operator& op = run.graph.operators[static_cast<std::size_t>(o)];
    node_of[static_cast<std::size_t>(o)] =
        op.copy_of.valid() ? node_of[static_cast<std::size_t>(op.copy_of.value)] : next++;
  }
  return node_of;
}

}  // namespace

/// Fills a BoundProblem.
class BoundBuilder {
 public:
  BoundBuilder(BoundProblem& made, const Uses& uses, const StageConstraints& constraints,
               bool joined)
      : made_(made),
        run_(made.run_),
        uses_(uses),
        constraints_(constraints),
        joined_(joined),
        node_of_(nodes_of(made.run_)) {}

  void run() {
    for (const int o : run_.view.ops) add_operator(o);
    for (const SharedSum& sum : run_.view.sums) {
      if (adds_others(op(sum.op))) continue;
      for (std::size_t p = 0; p < options(sum.op).size(); ++p) {
        cost(sum.op, unit(op(sum.op).phase), p) += sum_seconds(options(sum.op)[p], sum, 0);
      }
    }
    for (std::size_t f = 0; f < run_.view.flows.size(); ++f) add_flow(f);
  }

 private:
  using Unit = BoundProblem::Unit;
  using Copies = BoundProblem::Copies;

  [[nodiscard]] const Operator& op(int o) const {
    return run_.graph.operators[static_cast<std::size_t>(o)];
  }
  [[nodiscard]] const Options& options(int o) const {
    return run_.options.options(static_cast<std::size_t>(o));
  }
  [[nodiscard]] static Unit unit(Phase phase) { return static_cast<Unit>(phase); }
  [[nodiscard]] int node(int o) const { return node_of_[static_cast<std::size_t>(o)]; }
  double& cost(int o, Unit unit, std::size_t option) {
    std::vector<double>& costs = made_.linear_[{node(o), unit}];
    if (costs.empty()) costs.assign(made_.sizes_[static_cast<std::size_t>(node(o))], 0.0);
    return costs[option];
  }

  void add_operator(int o) {
    const Operator& each = op(o);
    if (!each.copy_of.valid()) made_.sizes_.push_back(options(o).size());
    for (std::size_t p = 0; p < options(o).size(); ++p) {
      const Option& option = options(o)[p];
      if (option.sum_seconds.empty()) cost(o, unit(each.phase), p) += option.seconds;
      for (std::size_t r = 0; r < each.results.size(); ++r) {
        if (run_.graph.tensor(each.results[r]).role != Role::optimizer_state) continue;
        const std::int64_t bytes = run_.options.layouts(each.results[r]).bytes(option.results[r]);
        cost(o, Unit::state_byte, p) += static_cast<double>(placed_bytes(bytes));
      }
    }
  }

  [[nodiscard]] double seconds_of(LayoutTable& layouts, int from, int to) const {
    return joined_ ? layouts.least_seconds(from, to) : layouts.path(from, to).seconds;
  }

  void add_flow(std::size_t f) {
    const Flow& flow = run_.view.flows[f];
    if (flow.source == Flow::Source::input || flow.leader >= 0) return;
    if (flow.source == Flow::Source::arrives) {
      hold_arrived(flow);
      return;
    }
    if (flow.source == Flow::Source::made) hold_state(flow);
    if (flow.sent && flow.source == Flow::Source::made && !flow.weight) {
      send(flow, 1.0 / static_cast<double>(flow.readers.size() + 1));
    }
    for (std::size_t r = 0; r < flow.readers.size(); ++r) connect(f, r);
  }

  /// Whether what `reduce` makes is there, as it is made, until operators of `update` read it: with
  /// that of all layers at once. Not where an earlier reader may leave a smaller copy in its place.
  [[nodiscard]] bool is_held_for_update(const Flow& flow) const {
    if (flow.made_in != Phase::reduce || flow.sent) return false;
    const LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const auto is_kernel = [&](const Reader& reader) {
      return !is_contribution(run_.graph, op(reader.op));
    };
    const bool earlier = std::any_of(
        flow.readers.begin(), flow.readers.end(),
        [&](const Reader& reader) { return is_kernel(reader) && reader.phase != Phase::update; });
    if (earlier) return false;
    return std::any_of(flow.readers.begin(), flow.readers.end(), [&](const Reader& reader) {
      if (!is_kernel(reader)) return false;
      const Options& all = options(reader.op);
      return std::all_of(all.begin(), all.end(), [&](const Option& option) {
        return std::all_of(reader.operands.begin(), reader.operands.end(), [&](int i) {
          const int layout = option.operands[static_cast<std::size_t>(i)];
          return layouts.whole(layout) == layout;
        });
      });
    });
  }

  /// Whether a sum takes gradient sums of other layers, whose buffer may be that of those here.
  [[nodiscard]] bool adds_others(const Operator& sum) const {
    return is_sum_of_accumulators(run_.graph, sum) &&
           std::any_of(sum.operands.begin(), sum.operands.end(), [&](TensorId t) {
             const int maker = uses_.maker[t.index()].first;
             return maker < 0 || !run_.view.holds(op(maker).layer);
           });
  }

  /// Whether the buffer of a gradient sum, or of several that are added up, may be another layer's.
  [[nodiscard]] bool may_be_elsewhere(const Flow& flow) const {
    if (adds_others(op(flow.maker))) return true;
    return run_.graph.tensor(flow.tensor).role == Role::accumulator && flow.sent;
  }

  void hold_state(const Flow& flow) {
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    const bool stored = tensor.role == Role::parameter || tensor.role == Role::accumulator;
    if (flow.total || (!stored && !is_held_for_update(flow)) || may_be_elsewhere(flow)) return;
    const LayoutTable& layouts = run_.options.layouts(flow.tensor);
    for (std::size_t p = 0; p < options(flow.maker).size(); ++p) {
      const int source = options(flow.maker)[p].results[static_cast<std::size_t>(flow.result)];
      cost(flow.maker, Unit::state_byte, p) +=
          static_cast<double>(placed_bytes(layouts.bytes(source)));
    }
  }

  [[nodiscard]] std::size_t readers_in(const Flow& flow, Scope scope) const {
    return static_cast<std::size_t>(
        std::count_if(flow.readers.begin(), flow.readers.end(),
                      [&](const Reader& r) { return scope_of(r.phase) == scope; }));
  }

  /// Backward reads it, so some piece of it is kept: no less than an even share.
  void hold_arrived(const Flow& flow) {
    if (scope_of(flow.made_in) != Scope::forward || readers_in(flow, Scope::backward) == 0) return;
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    const std::int64_t devices = num_devices(run_.options.costs().mesh());
    const std::int64_t least = bytes_of(tensor.shape, tensor.dtype).value / devices;
    const int reader = flow.readers.front().op;
    for (std::size_t p = 0; p < options(reader).size(); ++p) {
      cost(reader, Unit::stash_byte, p) += static_cast<double>(least);
    }
  }

  /// What it takes to bring it, from each layout in which it may be made, into one that other
  /// layers can take, or whole to another stage.
  void send(const Flow& flow, double share) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const bool microbatch = flow.made_in == Phase::forward || flow.made_in == Phase::backward;
    if (!microbatch) return;
    std::map<int, double> known;
    for (std::size_t p = 0; p < options(flow.maker).size(); ++p) {
      const int source = options(flow.maker)[p].results[static_cast<std::size_t>(flow.result)];
      if (layouts.whole(source) == source) continue;
      const auto [it, is_new] = known.try_emplace(source);
      if (is_new) it->second = sending(flow, layouts, source);
      cost(flow.maker, Unit::microbatch, p) += share * it->second;
    }
  }

  [[nodiscard]] double sending(const Flow& flow, LayoutTable& layouts, int source) const {
    double dearest = 0.0;
    for (const auto& [reader, operand] : uses_.readers[flow.tensor.index()]) {
      if (run_.view.holds(op(reader).layer)) continue;
      std::set<int> taken;
      for (const Option& option : options(reader)) {
        taken.insert(option.operands[static_cast<std::size_t>(operand)]);
      }
      double least = kInfinity;
      for (const int layout : taken) least = std::min(least, seconds_of(layouts, source, layout));
      dearest = std::max(dearest, least);
    }
    return std::min(dearest, seconds_of(layouts, source, layouts.whole(source)));
  }

  /// Moves from each source to each layout that is wanted.
  void add_moves(Copies& of, const Flow& flow, const std::vector<int>& sources,
                 const std::vector<LayoutList>& lists) const {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    Numbering targets;
    for (const LayoutList& list : lists) {
      of.columns.emplace_back();
      for (const int layout : list)
        of.columns.back().push_back(static_cast<int>(targets.add(layout)));
    }
    const auto paths = layouts.paths(sources, targets.values(), joined_);
    const auto source_bytes = layouts.bytes(sources);
    const auto target_bytes = layouts.bytes(targets.values());
    for (std::size_t t = 0; t < targets.size(); ++t) {
      of.targets.push_back({targets.values()[t], static_cast<double>(target_bytes[t]),
                            static_cast<double>(placed_bytes(target_bytes[t]))});
    }
    const Scope scope = scope_of(of.phase);
    const bool microbatch = scope == Scope::forward || scope == Scope::backward;
    const bool replica = run_.graph.tensor(flow.tensor).role == Role::replica;
    of.reads.reserve(paths.size());
    of.seconds.reserve(paths.size());
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const bool partial = layouts.whole(sources[s]) != sources[s];
      const bool by_name = made_by_name(run_.graph, flow, partial);
      const bool held =
          flow.source == Flow::Source::made && replica && microbatch && !by_name && of.weight;
      of.sources.push_back({static_cast<double>(source_bytes[s]),
                            held ? static_cast<double>(placed_bytes(source_bytes[s])) : 0.0,
                            partial});
      for (std::size_t t = 0; t < targets.size(); ++t) {
        const int layout = targets.values()[t];
        const PathPrice& path = paths[s * targets.size() + t];
        const bool there = layout == sources[s];
        of.reads.push_back(there || path.reads);
        of.seconds.push_back(there ? -1.0 : path.seconds);
      }
    }
  }

  void connect(std::size_t f, std::size_t r) {
    const Flow& flow = run_.view.flows[f];
    const Reader& reader = flow.readers[r];
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    Copies of;
    of.flow = f;
    of.reader = r;
    of.weight = flow.weight;
    of.phase = reader.phase;
    // Options that agree about the tensor cost the same.
    Numbering rows;
    if (flow.source == Flow::Source::stored) {
      of.row_of.push_back(
          static_cast<int>(rows.add(layouts.number(replicated(tensor.shape.size())))));
    } else {
      for (const Option& option : options(flow.maker)) {
        const int layout = option.results[static_cast<std::size_t>(flow.result)];
        of.row_of.push_back(static_cast<int>(rows.add(layout)));
      }
    }
    std::vector<LayoutList> lists;
    for (const Option& option : options(reader.op)) {
      LayoutList list = wanted(option, reader.operands);
      const auto found = std::find(lists.begin(), lists.end(), list);
      of.column_of.push_back(static_cast<int>(found - lists.begin()));
      if (found == lists.end()) lists.push_back(std::move(list));
    }
    of.readers = static_cast<double>(flow.readers.size());
    of.share = 1.0 / (of.readers + (flow.sent ? 1.0 : 0.0));
    of.in_scope = static_cast<double>(readers_in(flow, scope_of(reader.phase)));
    of.in_backward = static_cast<double>(readers_in(flow, Scope::backward));
    of.in_microbatch = static_cast<double>(readers_in(flow, Scope::forward)) + of.in_backward;
    if (of.weight) of.retentions = retentions_of(tensor, constraints_);
    of.stashes =
        scope_of(flow.made_in) == Scope::forward && scope_of(reader.phase) == Scope::backward;
    of.to = node(reader.op);
    const bool alone = flow.source == Flow::Source::stored || node(flow.maker) == node(reader.op);
    if (!alone) of.from = node(flow.maker);
    add_moves(of, flow, rows.values(), lists);
    made_.copies_.push_back(std::move(of));
  }

  BoundProblem& made_;
  const RunContext& run_;
  const Uses& uses_;
  const StageConstraints& constraints_;
  bool joined_;
  std::vector<int> node_of_;
};

double CopyShares::of(const RunView& view, std::size_t flow, std::size_t reader, int layout) const {
  const auto known = shares_.find({flow, layout});
  if (known != shares_.end()) return known->second[reader];
  const Flow& of = view.flows[flow];
  return 1.0 / static_cast<double>(of.readers.size() + (of.sent ? 1 : 0));
}

bool CopyShares::lean(const RunContext& run, const std::vector<int>& choice, double step) {
  bool changed = false;
  const std::vector<int> node_of = nodes_of(run);
  const auto chosen = [&](int o) -> const Option& {
    const auto node = static_cast<std::size_t>(node_of[static_cast<std::size_t>(o)]);
    return run.options.options(static_cast<std::size_t>(o))[static_cast<std::size_t>(choice[node])];
  };
  for (std::size_t f = 0; f < run.view.flows.size(); ++f) {
    const Flow& flow = run.view.flows[f];
    const std::size_t readers = flow.readers.size();
    const bool shared = flow.source == Flow::Source::made && !flow.weight && flow.leader < 0;
    if (!shared || readers < 2) continue;
    const int source = chosen(flow.maker).results[static_cast<std::size_t>(flow.result)];
    if (run.options.layouts(flow.tensor).whole(source) != source) continue;
    std::map<int, std::vector<std::size_t>> takers;  // by layout
    for (std::size_t r = 0; r < readers; ++r) {
      for (const int layout : wanted(chosen(flow.readers[r].op), flow.readers[r].operands)) {
        if (layout != source) takers[layout].push_back(r);
      }
    }
    const auto all = static_cast<double>(readers);
    for (const auto& [layout, of_layout] : takers) {
      if (of_layout.size() == readers) continue;
      const double of_readers = all / (all + (flow.sent ? 1.0 : 0.0));
      std::vector<double> shares;
      for (std::size_t r = 0; r < readers; ++r) {
        shares.push_back((1.0 - step) * of(run.view, f, r, layout));
      }
      for (const std::size_t r : of_layout) {
        shares[r] += step * of_readers / static_cast<double>(of_layout.size());
      }
      shares_[{f, layout}] = std::move(shares);
      changed = true;
    }
  }
  return changed;
}

BoundProblem::BoundProblem(const Graph& graph, const OperatorOptions& options, RunView view,
                           int num_microbatches, const Uses& uses,
                           const StageConstraints& constraints, bool joined)
    : view_(std::move(view)), run_{graph, options, view_, num_microbatches} {
  BoundBuilder(*this, uses, constraints, joined).run();
}

bool BoundProblem::contradicts() const {
  return std::any_of(sizes_.begin(), sizes_.end(), [](std::size_t size) { return size == 0; });
}

BoundProblem::Copied BoundProblem::copied(const Copies& of, std::size_t source,
                                          const std::vector<int>& targets,
                                          const std::vector<double>& shares) {
  Copied found;
  for (const int target : targets) {
    const auto t = static_cast<std::size_t>(target);
    const std::size_t move = source * of.targets.size() + t;
    if (of.seconds[move] < 0.0) {
      found.as_it_is = true;
    } else {
      const double share = of.sources[source].partial && !of.weight ? of.share : shares[t];
      found.seconds = std::max(found.seconds, share * of.seconds[move]);
      found.placed = std::max(found.placed, of.targets[t].placed);
    }
    if (of.reads[move]) {
      found.kept = std::max(found.kept, std::min(of.sources[source].bytes, of.targets[t].bytes));
    }
  }
  return found;
}

/// Share of what the copy of a weight takes, for the step or made again, and of the bytes of a
/// replica that prepare makes and microbatches read, as it is or to make copies.
double BoundProblem::weight_cost(const Copies& of, const Copies::Source& source,
                                 const Copied& copied, const Weights& weights) {
  const auto weight = [&](Unit unit) { return weights[static_cast<std::size_t>(unit)]; };
  const double held =
      source.held > 0.0 ? weight(Unit::state_byte) * source.held / of.in_microbatch : 0.0;
  if (copied.placed == 0.0) return held;
  const double again = weight(static_cast<Unit>(of.phase)) * copied.seconds;
  double least = kInfinity;
  for (const Retention r : of.retentions) {
    const bool step = r == Retention::step;
    const double once =
        weight(Unit::prepare) * copied.seconds + weight(Unit::state_byte) * copied.placed;
    const double copy = r == Retention::keep ? of.share * again
                        : step               ? once / of.readers
                                             : again / of.in_scope;
    least = std::min(least, copy + (step && !copied.as_it_is ? 0.0 : held));
  }
  return least;
}

double BoundProblem::cost_of(const Copies& of, const Copies::Source& source, const Copied& copied,
                             const Weights& weights) {
  const auto weight = [&](Unit unit) { return weights[static_cast<std::size_t>(unit)]; };
  double cost = 0.0;
  if (of.weight) {
    cost = weight_cost(of, source, copied, weights);
  } else {
    const bool once = of.phase == Phase::prepare || scope_of(of.phase) == Scope::finish;
    cost = copied.seconds * weight(once ? static_cast<Unit>(of.phase) : Unit::microbatch);
  }
  // Share of the bytes that are kept for a reader in backward.
  if (of.stashes) cost += weight(Unit::stash_byte) * copied.kept / of.in_backward;
  return cost;
}

Problem BoundProblem::with(const StageWeights& w, const CopyShares& shares) const {
  const Weights weights{w.prepare, w.forward,    w.backward,   w.reduce,
                        w.update,  w.state_byte, w.stash_byte, std::min(w.forward, w.backward)};
  Problem problem;
  for (const std::size_t size : sizes_) {
    problem.nodes.push_back({std::vector<double>(size, 0.0), {}});
  }
  const auto costs_of = [&](int node) -> std::vector<double>& {
    return problem.nodes[static_cast<std::size_t>(node)].costs;
  };
  for (const auto& [key, values] : linear_) {
    const double weight = weights[static_cast<std::size_t>(key.second)];
    std::vector<double>& costs = costs_of(key.first);
    for (std::size_t p = 0; p < values.size(); ++p) costs[p] += weight * values[p];
  }
  std::vector<double> distinct, shares_of;
  for (const Copies& of : copies_) {
    distinct.clear();
    shares_of.clear();
    for (const Copies::Target& target : of.targets) {
      shares_of.push_back(of.weight ? 1.0 : shares.of(view_, of.flow, of.reader, target.layout));
    }
    bool none = true;
    for (std::size_t s = 0; s < of.sources.size(); ++s) {
      for (const std::vector<int>& targets : of.columns) {
        distinct.push_back(cost_of(of, of.sources[s], copied(of, s, targets, shares_of), weights));
        none = none && distinct.back() == 0.0;
      }
    }
    if (none) continue;
    const auto row = [&](int r) {
      return distinct.data() + static_cast<std::size_t>(r) * of.columns.size();
    };
    if (of.from < 0) {
      std::vector<double>& costs = costs_of(of.to);
      for (std::size_t q = 0; q < of.column_of.size(); ++q) {
        costs[q] += row(of.row_of[of.row_of.size() == 1 ? 0 : q])[of.column_of[q]];
      }
      continue;
    }
    problem.edges.push_back({of.from, of.to, distinct, of.row_of, of.column_of});
  }
  return problem;
}

}  // namespace alpa::intra_op
