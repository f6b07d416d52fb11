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

class Builder {
 public:
  Builder(const RunContext& run, const Uses& uses, const StageConstraints& constraints,
          const StageWeights& w, const CopyShares& shares, bool joined)
      : run_(run),
        uses_(uses),
        constraints_(constraints),
        weights_(w),
        shares_(shares),
        joined_(joined),
        of_phase_{w.prepare, w.forward, w.backward, w.reduce, w.update},
        node_of_(nodes_of(run)) {}

  Problem run() {
    for (const int o : run_.view.ops) add_operator(o);
    for (const SharedSum& sum : run_.view.sums) {
      for (std::size_t p = 0; p < options(sum.op).size(); ++p) {
        cost(sum.op, p) += weight(op(sum.op).phase) * sum_seconds(options(sum.op)[p], sum, 0);
      }
    }
    for (std::size_t f = 0; f < run_.view.flows.size(); ++f) add_flow(f);
    return std::move(problem_);
  }

 private:
  [[nodiscard]] const Operator& op(int o) const {
    return run_.graph.operators[static_cast<std::size_t>(o)];
  }
  [[nodiscard]] const Options& options(int o) const {
    return run_.options.options(static_cast<std::size_t>(o));
  }
  [[nodiscard]] double weight(Phase phase) const {
    return of_phase_[static_cast<std::size_t>(phase)];
  }
  [[nodiscard]] int node(int o) const { return node_of_[static_cast<std::size_t>(o)]; }
  double& cost(int o, std::size_t option) {
    return problem_.nodes[static_cast<std::size_t>(node(o))].costs[option];
  }

  void add_operator(int o) {
    const Operator& each = op(o);
    const bool copy = each.copy_of.valid();
    std::vector<double> costs;
    for (const Option& option : options(o)) {
      double seconds = option.sum_seconds.empty() ? weight(each.phase) * option.seconds : 0.0;
      for (std::size_t r = 0; r < each.results.size(); ++r) {
        if (run_.graph.tensor(each.results[r]).role != Role::optimizer_state) continue;
        const std::int64_t bytes = run_.options.layouts(each.results[r]).bytes(option.results[r]);
        seconds += weights_.state_byte * static_cast<double>(placed_bytes(bytes));
      }
      costs.push_back(seconds);
    }
    if (copy) {  // one choice for both
      for (std::size_t p = 0; p < costs.size(); ++p) cost(o, p) += costs[p];
    } else {
      problem_.nodes.push_back({std::move(costs), {}});
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
    const double share = 1.0 / static_cast<double>(flow.readers.size() + (flow.sent ? 1 : 0));
    if (flow.sent && flow.source == Flow::Source::made && !flow.weight) send(flow, share);
    for (std::size_t r = 0; r < flow.readers.size(); ++r) connect(f, r, share);
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

  void hold_state(const Flow& flow) {
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    const bool stored = tensor.role == Role::parameter || tensor.role == Role::accumulator;
    if (flow.total || (!stored && !is_held_for_update(flow))) return;
    const LayoutTable& layouts = run_.options.layouts(flow.tensor);
    for (std::size_t p = 0; p < options(flow.maker).size(); ++p) {
      const int source = options(flow.maker)[p].results[static_cast<std::size_t>(flow.result)];
      cost(flow.maker, p) +=
          weights_.state_byte * static_cast<double>(placed_bytes(layouts.bytes(source)));
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
    auto& costs = problem_.nodes[static_cast<std::size_t>(node(flow.readers.front().op))].costs;
    for (double& c : costs) c += weights_.stash_byte * static_cast<double>(least);
  }

  /// What it takes to bring it, from each layout in which it may be made, into one that other
  /// layers can take, or whole to another stage.
  void send(const Flow& flow, double share) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const double each = std::min(weight(Phase::forward), weight(Phase::backward)) * share;
    const bool microbatch = flow.made_in == Phase::forward || flow.made_in == Phase::backward;
    if (!microbatch) return;
    std::map<int, double> known;
    for (std::size_t p = 0; p < options(flow.maker).size(); ++p) {
      const int source = options(flow.maker)[p].results[static_cast<std::size_t>(flow.result)];
      if (layouts.whole(source) == source) continue;
      const auto [it, is_new] = known.try_emplace(source);
      double& dearest = it->second;
      if (!is_new) {
        cost(flow.maker, p) += each * dearest;
        continue;
      }
      for (const auto& [reader, operand] : uses_.readers[flow.tensor.index()]) {
        if (run_.view.holds(op(reader).layer)) continue;
        std::set<int> taken;
        for (const Option& option : options(reader)) {
          taken.insert(option.operands[static_cast<std::size_t>(operand)]);
        }
        double least = kInfinity;
        for (const int layout : taken) {
          least = std::min(least, seconds_of(layouts, source, layout));
        }
        dearest = std::max(dearest, least);
      }
      dearest = std::min(dearest, seconds_of(layouts, source, layouts.whole(source)));
      cost(flow.maker, p) += each * dearest;
    }
  }

  /// What copies of a tensor for one of its readers may cost.
  struct Copying {
    const Flow& flow;
    const Reader& reader;
    double share = 1.0;
    std::vector<Retention> retentions;  ///< of a weight
    double in_scope = 0.0;              ///< readers in the reader's scope
    double in_forward = 0.0, in_backward = 0.0;
    std::size_t flow_number = 0, reader_number = 0;
  };

  /// Share of the bytes of a replica that prepare makes and microbatches read, as it is or to make
  /// copies.
  [[nodiscard]] double held_cost(const Copying& of, bool by_name, std::int64_t bytes) const {
    const Scope scope = scope_of(of.reader.phase);
    const bool microbatch = scope == Scope::forward || scope == Scope::backward;
    const bool replica = run_.graph.tensor(of.flow.tensor).role == Role::replica;
    if (of.flow.source != Flow::Source::made || !replica || !microbatch || by_name) return 0.0;
    return weights_.state_byte * static_cast<double>(placed_bytes(bytes)) /
           (of.in_forward + of.in_backward);
  }

  /// Share of what the copy of a weight takes, for the step or made again.
  /// @param held what it takes to have the source in microbatches  @param as_it_is wanted, too
  [[nodiscard]] double weight_cost(const Copying& of, double seconds, std::int64_t bytes,
                                   double held, bool as_it_is) const {
    if (bytes == 0) return held;
    const Phase phase = of.reader.phase;
    double least = kInfinity;
    for (const Retention r : of.retentions) {
      const bool step = r == Retention::step;
      const double beside = step ? static_cast<double>(of.flow.readers.size()) : of.in_scope;
      const double all =
          step ? weight(Phase::prepare) * seconds + weights_.state_byte * static_cast<double>(bytes)
               : weight(phase) * seconds;
      const double copy = r == Retention::keep ? of.share * weight(phase) * seconds : all / beside;
      least = std::min(least, copy + (step && !as_it_is ? 0.0 : held));
    }
    return least;
  }

  /// Of a copy that is no weight's, by its reader's share of the seconds.
  [[nodiscard]] double copy_cost(const Copying& of, double seconds) const {
    const Phase phase = of.reader.phase;
    const bool once = phase == Phase::prepare || scope_of(phase) == Scope::finish;
    return seconds *
           (once ? weight(phase) : std::min(weight(Phase::forward), weight(Phase::backward)));
  }

  /// Costs by source and by list of wanted layouts, row-major.
  [[nodiscard]] std::vector<double> copy_costs(const Copying& of, const std::vector<int>& sources,
                                               const std::vector<LayoutList>& lists) const {
    LayoutTable& layouts = run_.options.layouts(of.flow.tensor);
    Numbering targets;
    for (const LayoutList& list : lists) {
      for (const int layout : list) targets.add(layout);
    }
    const auto paths = layouts.paths(sources, targets.values());
    const auto source_bytes = layouts.bytes(sources);
    const auto target_bytes = layouts.bytes(targets.values());
    const bool stashes =
        scope_of(of.flow.made_in) == Scope::forward && scope_of(of.reader.phase) == Scope::backward;
    std::vector<double> shares;
    for (const int layout : targets.values()) {
      shares.push_back(
          of.flow.weight ? 1.0 : shares_.of(run_.view, of.flow_number, of.reader_number, layout));
    }
    std::vector<double> costs;
    costs.reserve(sources.size() * lists.size());
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const bool by_name =
          made_by_name(run_.graph, of.flow, layouts.whole(sources[s]) != sources[s]);
      for (const LayoutList& list : lists) {
        bool as_it_is = false;
        double seconds = 0.0;
        std::int64_t copied = 0;
        std::int64_t kept = 0;
        for (const int layout : list) {
          const std::size_t t = targets.at(layout);
          const PathPrice& path = paths[s * targets.size() + t];
          as_it_is = as_it_is || layout == sources[s];
          if (layout != sources[s]) {
            const double all = joined_ ? layouts.least_seconds(sources[s], layout) : path.seconds;
            seconds = std::max(seconds, shares[t] * all);
            copied = std::max(copied, placed_bytes(target_bytes[t]));
            if (!path.reads) continue;
          }
          kept = std::max(kept, std::min(source_bytes[s], target_bytes[t]));
        }
        double cost = of.flow.weight
                          ? weight_cost(of, seconds, copied,
                                        held_cost(of, by_name, source_bytes[s]), as_it_is)
                          : copy_cost(of, seconds);
        // Share of the bytes that are kept for a reader in backward.
        if (stashes) cost += weights_.stash_byte * static_cast<double>(kept) / of.in_backward;
        costs.push_back(cost);
      }
    }
    return costs;
  }

  void connect(std::size_t f, std::size_t r, double share) {
    const Flow& flow = run_.view.flows[f];
    const Reader& reader = flow.readers[r];
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    // Options that agree about the tensor cost the same.
    Numbering rows;
    std::vector<std::size_t> row_of;
    if (flow.source == Flow::Source::stored) {
      row_of.push_back(rows.add(layouts.number(replicated(tensor.shape.size()))));
    } else {
      for (const Option& option : options(flow.maker)) {
        row_of.push_back(rows.add(option.results[static_cast<std::size_t>(flow.result)]));
      }
    }
    std::vector<LayoutList> lists;
    std::vector<std::size_t> column_of;
    for (const Option& option : options(reader.op)) {
      LayoutList list = wanted(option, reader.operands);
      const auto found = std::find(lists.begin(), lists.end(), list);
      column_of.push_back(static_cast<std::size_t>(found - lists.begin()));
      if (found == lists.end()) lists.push_back(std::move(list));
    }
    const Copying of{flow,
                     reader,
                     share,
                     retentions_of(tensor, constraints_),
                     static_cast<double>(readers_in(flow, scope_of(reader.phase))),
                     static_cast<double>(readers_in(flow, Scope::forward)),
                     static_cast<double>(readers_in(flow, Scope::backward)),
                     f,
                     r};
    const std::vector<double> distinct = copy_costs(of, rows.values(), lists);
    if (std::all_of(distinct.begin(), distinct.end(), [](double c) { return c == 0.0; })) return;
    const auto cost_of = [&](std::size_t p, std::size_t q) {
      return distinct[row_of[p] * lists.size() + column_of[q]];
    };
    if (flow.source == Flow::Source::stored || node(flow.maker) == node(reader.op)) {
      for (std::size_t q = 0; q < column_of.size(); ++q) {
        cost(reader.op, q) += cost_of(row_of.size() == 1 ? 0 : q, q);
      }
      return;
    }
    std::vector<double> costs;
    costs.reserve(row_of.size() * column_of.size());
    for (std::size_t p = 0; p < row_of.size(); ++p) {
      for (std::size_t q = 0; q < column_of.size(); ++q) costs.push_back(cost_of(p, q));
    }
    problem_.edges.push_back({node(flow.maker), node(reader.op), std::move(costs)});
  }

  const RunContext& run_;
  const Uses& uses_;
  const StageConstraints& constraints_;
  StageWeights weights_;
  const CopyShares& shares_;
  bool joined_;
  std::array<double, 5> of_phase_;
  std::vector<int> node_of_;
  Problem problem_;
};

}  // namespace

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

Problem bound_problem(const RunContext& run, const Uses& uses, const StageConstraints& constraints,
                      const StageWeights& weights, const CopyShares& shares, bool joined) {
  return Builder(run, uses, constraints, weights, shares, joined).run();
}

}  // namespace alpa::intra_op
