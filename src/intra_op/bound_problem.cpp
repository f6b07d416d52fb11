#include "bound_problem.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>

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

  /// Different layouts that a reader's option wants.
  [[nodiscard]] static std::vector<int> wanted(const Option& option,
                                               const std::vector<int>& operands) {
    std::vector<int> found;
    for (const int i : operands) {
      const int layout = option.operands[static_cast<std::size_t>(i)];
      if (std::find(found.begin(), found.end(), layout) == found.end()) found.push_back(layout);
    }
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

  /// Share of what a copy for the reader takes, by source and wanted layout.
  [[nodiscard]] double copy_cost(const Flow& flow, const Reader& reader, double share, int source,
                                 const std::vector<int>& layouts_wanted) const {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    double seconds = 0.0;
    std::int64_t bytes = 0;
    for (const int layout : layouts_wanted) {
      if (layout == source) continue;
      seconds = std::max(seconds, layouts.path(source, layout).seconds);
      bytes = std::max(bytes, placed_bytes(layouts.bytes(layout)));
    }
    if (seconds == 0.0) return 0.0;
    if (flow.weight) {
      double least = kInfinity;
      for (const Retention r : retentions_of(run_.graph.tensor(flow.tensor), constraints_)) {
        const bool step = r == Retention::step;
        const std::size_t beside =
            step ? flow.readers.size() : readers_in(flow, scope_of(reader.phase));
        const double all = step ? weight(Phase::prepare) * seconds +
                                      weights_.state_byte * static_cast<double>(bytes)
                                : weight(reader.phase) * seconds;
        const double kept_too = r == Retention::keep ? share * weight(reader.phase) * seconds
                                                     : all / static_cast<double>(beside);
        least = std::min(least, kept_too);
      }
      return least;
    }
    const bool once = reader.phase == Phase::prepare || scope_of(reader.phase) == Scope::finish;
    const double each =
        once ? weight(reader.phase) : std::min(weight(Phase::forward), weight(Phase::backward));
    return share * each * seconds;
  }

  /// Share of the bytes that are kept for a reader in backward.
  [[nodiscard]] double stash_cost(const Flow& flow, const Reader& reader, int source,
                                  const std::vector<int>& layouts_wanted) const {
    if (scope_of(flow.made_in) != Scope::forward || scope_of(reader.phase) != Scope::backward) {
      return 0.0;
    }
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    std::int64_t most = 0;
    for (const int layout : layouts_wanted) {
      if (layout != source && !layouts.path(source, layout).reads) continue;
      most = std::max(most, std::min(layouts.bytes(source), layouts.bytes(layout)));
    }
    const auto beside = static_cast<double>(readers_in(flow, Scope::backward));
    return weights_.stash_byte * static_cast<double>(most) / beside;
  }

  void connect(const Flow& flow, const Reader& reader, double share) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    std::vector<int> sources;
    if (flow.source == Flow::Source::stored) {
      sources.push_back(layouts.number(replicated(tensor.shape.size())));
    } else {
      for (const Option& option : options(flow.maker)) {
        sources.push_back(option.results[static_cast<std::size_t>(flow.result)]);
      }
    }
    std::vector<std::vector<int>> lists;
    for (const Option& option : options(reader.op)) {
      lists.push_back(wanted(option, reader.operands));
    }
    // Options that agree about the tensor cost the same.
    std::map<int, std::size_t> rows;
    std::map<std::vector<int>, std::size_t> columns;
    for (const int source : sources) rows.try_emplace(source, rows.size());
    for (const auto& list : lists) columns.try_emplace(list, columns.size());
    std::vector<double> distinct(rows.size() * columns.size());
    for (const auto& [source, row] : rows) {
      for (const auto& [list, column] : columns) {
        distinct[row * columns.size() + column] =
            copy_cost(flow, reader, share, source, list) + stash_cost(flow, reader, source, list);
      }
    }
    if (std::all_of(distinct.begin(), distinct.end(), [](double c) { return c == 0.0; })) return;
    std::vector<std::size_t> column_of;
    for (const auto& list : lists) column_of.push_back(columns.at(list));
    std::vector<double> costs;
    costs.reserve(sources.size() * lists.size());
    for (const int source : sources) {
      const double* row = distinct.data() + rows.at(source) * columns.size();
      for (const std::size_t column : column_of) costs.push_back(row[column]);
    }
    if (flow.source == Flow::Source::stored || node(flow.maker) == node(reader.op)) {
      for (std::size_t q = 0; q < lists.size(); ++q) {
        cost(reader.op, q) += costs[sources.size() == 1 ? q : q * lists.size() + q];
      }
      return;
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
