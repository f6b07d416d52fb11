#include "alpa/report/plan_table.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/config/parallel_config.hpp"
#include "alpa/report/text.hpp"

namespace alpa {
namespace {

using Rows = std::vector<std::vector<std::string>>;

/// Names of indices that people split by hand; others go by their letter.
std::string letter_name(char letter) {
  switch (letter) {
    case 'b':
      return "batch";
    case 'h':
      return "heads";
    case 'f':
      return "feed-forward";
    case 'v':
      return "vocabulary";
    case 't':
      return "sequence";
    case 'e':
      return "hidden";
    case 'x':
      return "experts";
    default:
      return std::string(1, letter);
  }
}

std::string layers_text(const StagePlan& stage) {
  std::string text;
  for (const auto& [first, last] : stage.chunks) {
    if (!text.empty()) text += ',';
    text += std::to_string(first);
    if (last > first) text += '-' + std::to_string(last);
  }
  return text;
}

std::string mesh_text(const DeviceMesh& mesh) {
  std::string text;
  for (const int extent : mesh.extents) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text.empty() ? "1" : text;
}

/// One way to split an index: number of pieces and the axes, major first.
struct Split {
  int pieces = 1;
  std::string axes;
  friend auto operator<=>(const Split&, const Split&) = default;
};

Split split_of(const Strategy& strategy, const DeviceMesh& mesh, char letter) {
  Split split;
  for (const AxisUse& use : strategy.uses) {
    if (use.factor != letter) continue;
    split.pieces *= extent(mesh, use.axis);
    split.axes += std::to_string(use.axis);
  }
  return split;
}

std::set<Split> splits_of(const StagePlan& stage, const Graph& graph, char letter) {
  std::set<Split> found;
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward || !std::holds_alternative<Einsum>(op.kernel)) continue;
    if (!holds_layer(stage, op.layer) || op.rule.factor(letter) < 0) continue;
    const auto it = stage.strategies.find(op.name);
    if (it != stage.strategies.end()) found.insert(split_of(it->second, stage.mesh, letter));
  }
  return found;
}

/// Batch and what Megatron-style plans split, then what else some product of the plan splits.
std::string letters_to_show(const Plan& plan, const Graph& graph) {
  std::string letters = "b";
  for (const char letter : graph.parallel_letters) {
    if (letters.find(letter) == std::string::npos) letters += letter;
  }
  for (const StagePlan& stage : plan.stages) {
    for (const Operator& op : graph.operators) {
      if (op.phase != Phase::forward || !std::holds_alternative<Einsum>(op.kernel)) continue;
      const auto it = stage.strategies.find(op.name);
      if (it == stage.strategies.end()) continue;
      for (const AxisUse& use : it->second.uses) {
        if (use.factor != '\0' && letters.find(use.factor) == std::string::npos) {
          letters += use.factor;
        }
      }
    }
  }
  return letters;
}

std::string heading(const Plan& plan, const Graph& graph) {
  std::string text = "plan: " + plan.method + ", " + std::to_string(plan.world_size) +
                     (plan.world_size == 1 ? " rank, " : " ranks, ") +
                     std::to_string(plan.stages.size()) +
                     (plan.stages.size() == 1 ? " stage, " : " stages, ");
  if (plan.stages.size() > 1) {
    text += "schedule " + to_string(plan.schedule);
    if (plan.schedule == PipelineKind::one_f_one_b) {
      text += " (warm-up";
      for (const int depth : plan.warm_up) text += ' ' + std::to_string(depth);
      text += ')';
    }
    text += ", ";
  }
  return text + std::to_string(plan.num_microbatches) +
         (plan.num_microbatches == 1 ? " microbatch of " : " microbatches of ") +
         std::to_string(graph.microbatch_size) +
         (graph.microbatch_size == 1 ? " sample\n" : " samples\n");
}

std::string idle_text(const Plan& plan) {
  std::vector<int> idle;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    if (seat_of(plan, rank).stage < 0) idle.push_back(rank);
  }
  return idle.empty() ? "" : "idle ranks: " + ranks_text(idle) + "\n";
}

}  // namespace

std::string recompute_text(const Plan& plan, const StagePlan& stage) {
  std::string text;
  if (plan.recompute.empty()) return "-";
  for (const Recompute choice : {Recompute::attention, Recompute::full}) {
    std::vector<int> layers;
    for (const auto& [first, last] : stage.chunks) {
      for (int l = first; l <= last; ++l) {
        if (plan.recompute[static_cast<std::size_t>(l)] == choice) layers.push_back(l);
      }
    }
    if (layers.empty()) continue;
    text += (text.empty() ? "" : ", ") + std::string(name_of(choice)) + " " + ranks_text(layers);
  }
  return text.empty() ? "-" : text;
}

std::string recompute_text(const Plan& plan) {
  std::string text;
  for (const Recompute choice : {Recompute::full, Recompute::attention}) {
    const auto layers = std::count(plan.recompute.begin(), plan.recompute.end(), choice);
    if (layers == 0) continue;
    const std::string of_all = " of " + std::to_string(plan.recompute.size()) + " layers";
    text += (text.empty() ? "" : ", ") + std::string(name_of(choice)) + " in " +
            std::to_string(layers) + (text.empty() ? of_all : "");
  }
  return text;
}

namespace {

Rows stage_rows(const Plan& plan, const Graph& graph) {
  const std::string letters = letters_to_show(plan, graph);
  Rows rows = {{"stage", "layers", "ranks", "mesh"}};
  for (const char letter : letters) rows[0].push_back(letter_name(letter));
  if (!plan.recompute.empty()) rows[0].push_back("recomputed");
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    rows.push_back(
        {std::to_string(s), layers_text(stage), ranks_text(stage.ranks), mesh_text(stage.mesh)});
    for (const char letter : letters) rows.back().push_back(split_text(stage, graph, letter));
    if (!plan.recompute.empty()) rows.back().push_back(recompute_text(plan, stage));
  }
  return rows;
}

double largest(const StagePlan& stage, std::span<const ProgramTotals> ranks,
               const std::function<double(const ProgramTotals&)>& value) {
  double most = 0.0;
  for (const int rank : stage.ranks) {
    most = std::max(most, value(ranks[static_cast<std::size_t>(rank)]));
  }
  return most;
}

std::string bytes_text(double bytes) {
  return bytes == 0.0 ? "-" : to_text(Bytes{static_cast<std::int64_t>(bytes)});
}

Rows memory_rows(const Plan& plan, std::span<const ProgramTotals> ranks) {
  Rows rows = {{"memory per device"}};
  for (int c = 0; c < kNumMemoryClasses; ++c) {
    rows[0].push_back(to_string(static_cast<MemoryClass>(c)));
  }
  rows[0].emplace_back("total");
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    rows.push_back({"stage " + std::to_string(s)});
    for (std::size_t c = 0; c < kNumMemoryClasses; ++c) {
      rows.back().push_back(bytes_text(largest(plan.stages[s], ranks, [&](const auto& totals) {
        return static_cast<double>(totals.memory.at(c).value);
      })));
    }
    rows.back().push_back(bytes_text(largest(plan.stages[s], ranks, [](const auto& totals) {
      Bytes sum;
      for (const Bytes b : totals.memory) sum += b;
      return static_cast<double>(sum.value);
    })));
  }
  return rows;
}

template <class Number>
double value_of(const std::vector<std::pair<std::string, Number>>& values, const std::string& key) {
  for (const auto& [name, value] : values) {
    if (name == key) return static_cast<double>(value);
  }
  return 0.0;
}

Rows work_rows(const Plan& plan, std::span<const ProgramTotals> ranks) {
  std::set<std::string> kinds;
  for (const ProgramTotals& totals : ranks) {
    for (const auto& [kind, bytes] : totals.bytes_sent) kinds.insert(kind);
  }
  Rows rows = {{"a step, per device", "FLOPs"}};
  for (const std::string& kind : kinds) rows[0].push_back(kind);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    const double flops = largest(stage, ranks, [](const auto& totals) { return totals.flops; });
    rows.push_back({"stage " + std::to_string(s), with_prefix(flops)});
    for (const std::string& kind : kinds) {
      const double bytes = largest(
          stage, ranks, [&](const auto& totals) { return value_of(totals.bytes_sent, kind); });
      const double calls =
          largest(stage, ranks, [&](const auto& totals) { return value_of(totals.counts, kind); });
      rows.back().push_back(calls == 0.0 ? "-"
                                         : to_text(Bytes{static_cast<std::int64_t>(bytes)}) +
                                               " in " + with_prefix(calls));
    }
  }
  return rows;
}

}  // namespace

std::string split_text(const StagePlan& stage, const Graph& graph, char letter) {
  const std::set<Split> found = splits_of(stage, graph, letter);
  if (found.empty()) return "-";
  const Split& least = *found.begin();
  const Split& most = *found.rbegin();
  if (most.pieces == 1) return "-";
  if (least.pieces != most.pieces) {
    return std::to_string(least.pieces) + ".." + std::to_string(most.pieces);
  }
  const std::string pieces = std::to_string(most.pieces);
  return found.size() == 1 ? pieces + "@" + most.axes : pieces;
}

std::string plan_table(const Plan& plan, const Graph& graph, std::span<const ProgramTotals> ranks) {
  ALPA_CHECK(ranks.size() == static_cast<std::size_t>(plan.world_size));
  std::string again = recompute_text(plan);
  if (!again.empty()) again = "recomputed: " + again + "\n";
  return heading(plan, graph) + again + idle_text(plan) + "\n" +
         text_table(stage_rows(plan, graph)) + "\n" + text_table(memory_rows(plan, ranks)) + "\n" +
         text_table(work_rows(plan, ranks));
}

}  // namespace alpa
