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

class Builder {
 public:
  Builder(const RunContext& run, const Uses& uses, const StageConstraints& constraints,
          const StageWeights& w)
      : run_(run),
        uses_(uses),
        constraints_(constraints),
        weights_(w),
        of_phase_{w.prepare, w.forward, w.backward, w.reduce, w.update},
        node_of_(run.graph.operators.size(), -1) {}

  Problem run() {
    for (const int o : run_.view.ops) add_operator(o);
    for (const SharedSum& sum : run_.view.sums) {
      for (std::size_t p = 0; p < options(sum.op).size(); ++p) {
        cost(sum.op, p) += weight(op(sum.op).phase) * sum_seconds(options(sum.op)[p], sum, 0);
      }
    }
    for (const Flow& flow : run_.view.flows) add_flow(flow);
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
    node_of_[static_cast<std::size_t>(o)] =
        copy ? node(each.copy_of.value) : static_cast<int>(problem_.nodes.size());
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

  /// Layouts that a reader's option wants.
  [[nodiscard]] static LayoutList wanted(const Option& option, const std::vector<int>& operands) {
    LayoutList found;
    for (const int i : operands) found.add(option.operands[static_cast<std::size_t>(i)]);
    return found;
  }

  void add_flow(const Flow& flow) {
    if (flow.source == Flow::Source::input || flow.leader >= 0) return;
    if (flow.source == Flow::Source::arrives) {
      hold_arrived(flow);
      return;
    }
    if (flow.source == Flow::Source::made) hold_state(flow);
    const double share = 1.0 / static_cast<double>(flow.readers.size() + (flow.sent ? 1 : 0));
    if (flow.sent && flow.source == Flow::Source::made && !flow.weight) send(flow, share);
    for (const Reader& reader : flow.readers) connect(flow, reader, share);
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
          least = std::min(least, layouts.path(source, layout).seconds);
        }
        dearest = std::max(dearest, least);
      }
      dearest = std::min(dearest, layouts.path(source, layouts.whole(source)).seconds);
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
    double in_backward = 0.0;           ///< and those in backward
  };

  /// Share of what the copy takes.
  [[nodiscard]] double copy_cost(const Copying& of, double seconds, std::int64_t bytes) const {
    if (seconds == 0.0) return 0.0;
    const Phase phase = of.reader.phase;
    if (of.flow.weight) {
      double least = kInfinity;
      for (const Retention r : of.retentions) {
        const bool step = r == Retention::step;
        const double beside = step ? static_cast<double>(of.flow.readers.size()) : of.in_scope;
        const double all = step ? weight(Phase::prepare) * seconds +
                                      weights_.state_byte * static_cast<double>(bytes)
                                : weight(phase) * seconds;
        const double kept_too =
            r == Retention::keep ? of.share * weight(phase) * seconds : all / beside;
        least = std::min(least, kept_too);
      }
      return least;
    }
    const bool once = phase == Phase::prepare || scope_of(phase) == Scope::finish;
    const double each =
        once ? weight(phase) : std::min(weight(Phase::forward), weight(Phase::backward));
    return of.share * each * seconds;
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
    std::vector<double> costs;
    costs.reserve(sources.size() * lists.size());
    for (std::size_t s = 0; s < sources.size(); ++s) {
      for (const LayoutList& list : lists) {
        double seconds = 0.0;
        std::int64_t copied = 0;
        std::int64_t kept = 0;
        for (const int layout : list) {
          const std::size_t t = targets.at(layout);
          const PathPrice& path = paths[s * targets.size() + t];
          if (layout != sources[s]) {
            seconds = std::max(seconds, path.seconds);
            copied = std::max(copied, placed_bytes(target_bytes[t]));
            if (!path.reads) continue;
          }
          kept = std::max(kept, std::min(source_bytes[s], target_bytes[t]));
        }
        double cost = copy_cost(of, seconds, copied);
        // Share of the bytes that are kept for a reader in backward.
        if (stashes) cost += weights_.stash_byte * static_cast<double>(kept) / of.in_backward;
        costs.push_back(cost);
      }
    }
    return costs;
  }

  void connect(const Flow& flow, const Reader& reader, double share) {
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
                     static_cast<double>(readers_in(flow, Scope::backward))};
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
  std::array<double, 5> of_phase_;
  std::vector<int> node_of_;
  Problem problem_;
};

}  // namespace

Problem bound_problem(const RunContext& run, const Uses& uses, const StageConstraints& constraints,
                      const StageWeights& weights) {
  return Builder(run, uses, constraints, weights).run();
}

}  // namespace alpa::intra_op
