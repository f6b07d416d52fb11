#include "explain.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "alpa/graph/kernel_work.hpp"
#include "alpa/graph/text.hpp"
#include "alpa/intra_op/stage_model.hpp"
#include "alpa/lowering/table.hpp"
#include "alpa/report/text.hpp"
#include "alpa/sharding/redistribution.hpp"
#include "alpa/simulate/move_time.hpp"

#include "constraints.hpp"
#include "deadline.hpp"

namespace alpa {
namespace {

constexpr std::size_t kExcluded = 20;  ///< operators whose next best strategy is looked for

/// What one operator does in a step, on the stage's last device.
struct OperatorCost {
  const Operator* op = nullptr;
  Seconds kernels, moves;
  std::string kinds;  ///< of the moves to its operands
};

/// Equal decisions of equal layers.
struct Line {
  std::size_t stage = 0;
  OperatorCost first;
  int count = 0;
  std::set<int> layers;
  Seconds kernels, moves;
};

/// "layers.3.attention.qkv" -> "layers.*.attention.qkv"
std::string without_layer(const std::string& name) {
  const std::string head = "layers.";
  if (!name.starts_with(head)) return name;
  std::size_t end = head.size();
  while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) ++end;
  return end == head.size() ? name : head + "*" + name.substr(end);
}

class StageCosts {
 public:
  StageCosts(const Planned& planned, std::size_t s, const ClusterSpec& cluster)
      : graph_(planned.graph),
        stage_(planned.plan.stages[s]),
        microbatches_(planned.plan.num_microbatches),
        costs_(cluster, stage_.ranks, stage_.mesh) {
    for (const Operator& op : graph_.operators) {
      if (!holds_layer(stage_, op.layer)) continue;
      const OperatorLayout layout = layout_of(op);
      costs_of_operators_.push_back(cost_of(op, layout));
      for (std::size_t r = 0; r < op.results.size(); ++r) made_[op.results[r]] = layout.results[r];
    }
  }

  [[nodiscard]] const std::vector<OperatorCost>& operators() const { return costs_of_operators_; }
  [[nodiscard]] const MeshCosts& costs() const { return costs_; }
  [[nodiscard]] OperatorLayout layout_of(const Operator& op) const {
    return *apply_strategy(op.rule, strategy(op), stage_.mesh).layout;
  }
  [[nodiscard]] const Strategy& strategy(const Operator& op) const {
    return strategy_of(stage_, graph_, op);
  }

 private:
  OperatorCost cost_of(const Operator& op, const OperatorLayout& layout) {
    const bool often = op.phase == Phase::forward || op.phase == Phase::backward;
    const double times = often ? microbatches_ : 1;
    OperatorCost cost{&op, kernel_time_of(op, layout) * times, {0.0}, ""};
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      add_moves(op.operands[i], layout.operands[i], times, cost);
    }
    return cost;
  }

  [[nodiscard]] KernelPiece piece(TensorId t, const ShardingSpec& spec) const {
    const Tensor& tensor = graph_.tensor(t);
    const int last = num_devices(stage_.mesh) - 1;
    return {tensor.dtype, local_box(tensor.shape, spec, stage_.mesh, last).extent};
  }

  [[nodiscard]] Seconds kernel_time_of(const Operator& op, const OperatorLayout& layout) const {
    std::vector<KernelPiece> in, out;
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      in.push_back(piece(op.operands[i], layout.operands[i]));
    }
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      out.push_back(piece(op.results[r], layout.results[r]));
    }
    if (in.empty() && out.empty()) return {0.0};
    const Flops flops = flops_of(op).value > 0 ? flops_of_pieces(op.rule, in, out) : Flops{0.0};
    const KernelWork work = alpa::work_of(op.kernel, in, out, flops);
    return costs_.kernel(work.kind, work.dtype, work.flops, work.moved);
  }

  void add_moves(TensorId t, const ShardingSpec& wanted, double times, OperatorCost& cost) {
    const Tensor& tensor = graph_.tensor(t);
    const auto made = made_.find(t);
    const bool scalar = tensor.role == Role::step_scalar || tensor.role == Role::global_scalar;
    if (made == made_.end() || scalar) return;
    const bool is_new = delivered_.emplace(t, to_string(wanted)).second;
    if (!is_new) return;  // paid by the first that wants it so
    for (const Move& move :
         redistribution(tensor.shape, tensor.dtype, made->second, wanted, stage_.mesh)) {
      cost.moves += move_time(tensor.shape, tensor.dtype, move, costs_) * times;
      if (move.kind == Move::Kind::slice || move.kind == Move::Kind::to_partial) continue;
      cost.kinds += (cost.kinds.empty() ? "" : ", ") + to_string(move.kind);
    }
  }

  const Graph& graph_;
  const StagePlan& stage_;
  int microbatches_;
  MeshCosts costs_;
  std::map<TensorId, ShardingSpec> made_;
  std::set<std::pair<TensorId, std::string>> delivered_;
  std::vector<OperatorCost> costs_of_operators_;
};

std::string layouts_text(const OperatorLayout& layout) {
  std::string text;
  for (const auto& spec : layout.operands) text += to_string(spec) + " ";
  text += "->";
  for (const auto& spec : layout.results) text += " " + to_string(spec);
  return text;
}

std::vector<Line> lines_of(const std::vector<StageCosts>& stages) {
  std::vector<Line> lines;
  std::map<std::string, std::size_t> known;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    for (const OperatorCost& cost : stages[s].operators()) {
      const std::string key = std::to_string(s) + without_layer(cost.op->name) +
                              to_string(stages[s].strategy(*cost.op)) +
                              layouts_text(stages[s].layout_of(*cost.op)) + cost.kinds;
      const auto [it, is_new] = known.try_emplace(key, lines.size());
      if (is_new) lines.push_back({s, cost, 0, {}, {0.0}, {0.0}});
      Line& line = lines[it->second];
      ++line.count;
      line.layers.insert(cost.op->layer);
      line.kernels += cost.kernels;
      line.moves += cost.moves;
    }
  }
  return lines;
}

std::string name_of(const Line& line) {
  return line.count == 1 ? line.first.op->name : without_layer(line.first.op->name);
}

std::string summary_text(const Planned& planned) {
  std::string text = "how each stage is split:\n";
  for (std::size_t s = 0; s < planned.plan.stages.size(); ++s) {
    text += "  stage " + std::to_string(s) + ":";
    const auto summary = summary_of(planned.plan.stages[s], planned.graph);
    for (const auto& [what, how] : summary) {
      text += (text.back() == ':' ? " " : ", ") + what + " " + how;
    }
    if (summary.empty()) text += " nothing";
    text += "\n";
  }
  return text;
}

std::string decisions_text(const std::vector<Line>& lines, const std::vector<StageCosts>& stages) {
  std::vector<std::vector<std::string>> rows{
      {"operator", "stage", "phase", "layers", "strategy", "kernels", "moves"}};
  std::vector<std::string> ends{"  layouts of operands -> results, moves"};
  for (const Line& line : lines) {
    const Operator& op = *line.first.op;
    rows.push_back({name_of(line), std::to_string(line.stage), std::string(to_string(op.phase)),
                    ranks_text({line.layers.begin(), line.layers.end()}),
                    to_string(stages[line.stage].strategy(op)), to_text(line.kernels),
                    line.moves.value > 0 ? to_text(line.moves) : "-"});
    ends.push_back("  " + layouts_text(stages[line.stage].layout_of(op)) +
                   (line.first.kinds.empty() ? "" : "  " + line.first.kinds));
  }
  std::istringstream table(text_table(rows));
  std::string text = "every operator; times of a step, on one device, equal layers together:\n";
  std::string row;
  for (std::size_t i = 0; std::getline(table, row); ++i) text += row + ends[i] + "\n";
  return text;
}

/// "+1.2 ms (3.4 %)"
std::string difference_text(Seconds with, Seconds without) {
  const double difference = with.value - without.value;
  char share[32];
  std::snprintf(share, sizeof share, " (%.3g %%)", 100.0 * difference / without.value);
  return (difference < 0 ? "-" : "+") + to_text(Seconds{std::abs(difference)}) + share;
}

/// Finds what the step takes when one operator must do otherwise.
class Alternatives {
 public:
  Alternatives(const RunConfig& config, const Target& target, const Planned& planned)
      : target_(target),
        planned_(planned),
        given_(constraints_of(config, planned.graph, target.ranks).stage.strategies) {}

  struct Found {
    Strategy strategy;
    Seconds step_time;
  };

  [[nodiscard]] std::optional<Found> without_choice(const Line& line,
                                                    const MeshCosts& costs) const {
    const Operator& excluded = *line.first.op;
    const StagePlan& stage = planned_.plan.stages[line.stage];
    StageConstraints constraints;
    constraints.strategies = [&](const Operator& op,
                                 const DeviceMesh& mesh) -> std::optional<std::vector<Strategy>> {
      auto allowed = given_ ? given_(op, mesh) : std::nullopt;
      if (op.name != excluded.name) return allowed;
      if (!allowed) allowed = all_strategies(op.rule, mesh);
      std::erase(*allowed, stage.strategies.at(op.name));
      return allowed;
    };
    const Plan& plan = planned_.plan;
    const StageModel model(planned_.graph, costs, plan.num_microbatches, constraints);
    const auto answer = model.solve(question(line));
    if (!answer) return std::nullopt;
    Plan changed = plan;
    StagePlan& decided = changed.stages[line.stage];
    for (const auto& [name, strategy] : answer->strategies) decided.strategies[name] = strategy;
    const int chunk = chunk_of_layer(plan, excluded.layer);
    std::erase_if(decided.retention, [&](const auto& kept) {
      const int layer = planned_.graph.tensor(*planned_.graph.find_tensor(kept.first)).layer;
      return !holds_layer(stage, layer) || chunk_of_layer(plan, layer) == chunk;
    });
    for (const auto& [name, kept] : answer->retention) decided.retention[name] = kept;
    decided.arrivals.clear();
    const PlanPrice it = price(planned_.graph, changed, *target_.cluster, target_.workspace);
    return Found{answer->strategies.at(excluded.name), it.step_time};
  }

 private:
  /// About the operator's chunk, which gets its share of the stage's memory.
  [[nodiscard]] StageQuestion question(const Line& line) const {
    const Plan& plan = planned_.plan;
    const auto& chunks = plan.stages[line.stage].chunks;
    StageQuestion question;
    std::tie(question.first_layer, question.last_layer) =
        *std::find_if(chunks.begin(), chunks.end(),
                      [&](const auto& chunk) { return line.first.op->layer <= chunk.second; });
    question.weights.forward = question.weights.backward = plan.num_microbatches;
    question.memory = {capacity_of(target_, plan.stages[line.stage]).value /
                       static_cast<std::int64_t>(chunks.size())};
    question.in_flight = in_flight(table_of(plan), chunk_of_layer(plan, line.first.op->layer));
    return question;
  }

  const Target& target_;
  const Planned& planned_;
  AllowedStrategies given_;
};

std::string alternatives_text(const RunConfig& config, const Target& target, const Planned& planned,
                              const std::vector<StageCosts>& stages, std::vector<Line> lines) {
  // What is computed again has no choice of its own.
  std::erase_if(lines, [](const Line& line) { return line.first.op->copy_of.valid(); });
  std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    return a.kernels + a.moves > b.kernels + b.moves;
  });
  lines.resize(std::min(lines.size(), kExcluded));
  const Deadline deadline(config.parallel.search.seconds);
  const Alternatives alternatives(config, target, planned);
  std::vector<std::vector<std::string>> rows{
      {"operator", "stage", "chosen", "next best", "step time with it"}};
  for (const Line& line : lines) {
    if (deadline.token().stop_requested()) break;
    const Operator& op = *line.first.op;
    const auto other = alternatives.without_choice(line, stages[line.stage].costs());
    rows.push_back({op.name, std::to_string(line.stage),
                    to_string(planned.plan.stages[line.stage].strategies.at(op.name)),
                    other ? to_string(other->strategy) : "none",
                    other ? difference_text(other->step_time, planned.price->step_time) : "-"});
  }
  const bool interleaved = planned.plan.schedule == PipelineKind::interleaved;
  std::string text = "the " + std::to_string(rows.size() - 1) +
                     " costliest operators, each without its chosen strategy, the rest of its " +
                     (interleaved ? "chunk" : "stage") + " decided again:\n" + text_table(rows);
  if (rows.size() - 1 < lines.size()) text += "stopped by parallel.search.seconds\n";
  return text;
}

}  // namespace

std::string explain(const RunConfig& config, const Target& target, const Planned& planned) {
  std::vector<StageCosts> stages;
  for (std::size_t s = 0; s < planned.plan.stages.size(); ++s) {
    stages.emplace_back(planned, s, *target.cluster);
  }
  const std::vector<Line> lines = lines_of(stages);
  return summary_text(planned) + "\n" + decisions_text(lines, stages) + "\n" +
         alternatives_text(config, target, planned, stages, lines);
}

}  // namespace alpa
