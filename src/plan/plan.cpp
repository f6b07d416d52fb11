#include "alpa/plan/plan.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/config/parallel_config.hpp"

namespace alpa {
namespace {

std::string name_of_stage(std::size_t s) { return "stages[" + std::to_string(s) + "]"; }

/// Devices of a mesh, or anything above `most` if there are more: extents come from files.
std::int64_t devices_up_to(const DeviceMesh& mesh, std::int64_t most) {
  std::int64_t devices = 1;
  for (const int n : mesh.extents) {
    devices *= n;
    if (devices > most) break;
  }
  return devices;
}

void check_stages(const Plan& plan) {
  std::set<int> used;
  if (plan.stages.empty()) throw PlanError("plan: it has no stages");
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    const std::string where = name_of_stage(s);
    const auto ranks = static_cast<std::int64_t>(stage.ranks.size());
    if (ranks != devices_up_to(stage.mesh, ranks)) {
      throw PlanError(where + ".ranks: found " + std::to_string(ranks) +
                      " ranks, expected as many as the logical mesh has devices");
    }
    if (!std::is_sorted(stage.ranks.begin(), stage.ranks.end())) {
      throw PlanError(where + ".ranks: expected ascending ranks");
    }
    for (const int rank : stage.ranks) {
      if (rank < 0 || rank >= plan.world_size || !used.insert(rank).second) {
        throw PlanError(where + ".ranks: rank " + std::to_string(rank) +
                        " is used twice or is not below " + std::to_string(plan.world_size));
      }
    }
  }
}

/// As many chunks as the schedule has, the same number on each stage.
void check_chunk_counts(const Plan& plan) {
  const bool interleaved = plan.schedule == PipelineKind::interleaved;
  const std::size_t first = plan.stages.front().chunks.size();
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const std::size_t found = plan.stages[s].chunks.size();
    const std::string what = name_of_stage(s) + ".chunks: found " + std::to_string(found);
    if (!interleaved && found != 1) {
      throw PlanError(what + ", expected 1: schedule " + to_string(plan.schedule) +
                      " holds one chunk a stage");
    }
    if (interleaved && found < 2) {
      throw PlanError(what + ", expected at least 2: schedule interleaved holds several a stage");
    }
    if (interleaved && found != first) {
      throw PlanError(what + ", expected " + std::to_string(first) + " as on stages[0]");
    }
  }
}

/// Chunks go round the stages in the order of the layers.
void check_layers(const Plan& plan, const Graph& graph) {
  check_chunk_counts(plan);
  int next_layer = 0;
  for (std::size_t round = 0; round < plan.stages.front().chunks.size(); ++round) {
    for (std::size_t s = 0; s < plan.stages.size(); ++s) {
      const auto [first, last] = plan.stages[s].chunks[round];
      if (first != next_layer || last < first || last >= graph.num_layers) {
        throw PlanError(name_of_stage(s) + ".chunks: found layers " + std::to_string(first) +
                        " to " + std::to_string(last) + ", expected a run that starts at " +
                        std::to_string(next_layer) + " and ends below " +
                        std::to_string(graph.num_layers));
      }
      next_layer = last + 1;
    }
  }
  if (next_layer != graph.num_layers) {
    throw PlanError("plan: its stages hold layers 0 to " + std::to_string(next_layer - 1) +
                    ", the model has " + std::to_string(graph.num_layers));
  }
}

void check_recompute(const Plan& plan, const Graph& graph) {
  const auto chosen = [&](const std::vector<Recompute>& all, std::size_t layer) {
    return all.empty() ? Recompute::none : all[layer];
  };
  for (std::size_t l = 0; l < static_cast<std::size_t>(graph.num_layers); ++l) {
    const bool known = plan.recompute.empty() || l < plan.recompute.size();
    if (known && chosen(plan.recompute, l) == chosen(graph.recompute, l)) continue;
    throw PlanError("recompute: layer " + std::to_string(l) + ": found " +
                    (known ? std::string(name_of(chosen(plan.recompute, l))) : "nothing") +
                    ", the graph is made for " + std::string(name_of(chosen(graph.recompute, l))));
  }
}

void check_strategies(const Plan& plan, const Graph& graph) {
  for (const Operator& op : graph.operators) {
    if (op.copy_of.valid()) continue;  // as the operator it repeats
    const auto s = static_cast<std::size_t>(stage_of_layer(plan, op.layer));
    const StagePlan& stage = plan.stages[s];
    const auto chosen = stage.strategies.find(op.name);
    if (chosen == stage.strategies.end()) {
      throw PlanError(name_of_stage(s) + ": operator " + op.name + " has no strategy");
    }
    const auto result = apply_strategy(op.rule, chosen->second, stage.mesh);
    if (!result.layout) {
      throw PlanError(name_of_stage(s) + ": operator " + op.name + ": strategy '" +
                      to_string(chosen->second) + "': " + result.reason);
    }
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      const Role role = graph.tensor(op.results[r]).role;
      const bool stored = role == Role::parameter || role == Role::optimizer_state;
      if (stored && !result.layout->results[r].partial_axes.empty()) {
        throw PlanError(name_of_stage(s) + ": operator " + op.name +
                        ": state cannot be stored as partial sums");
      }
    }
  }
}

/// Decisions about what the model does not have are mistakes, not remarks.
void check_names(const Plan& plan, const Graph& graph) {
  std::set<std::string> operators, tensors;
  for (const Operator& op : graph.operators) {
    if (!op.copy_of.valid()) operators.insert(op.name);
  }
  for (const Tensor& tensor : graph.tensors) tensors.insert(tensor.name);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    for (const auto& [name, strategy] : plan.stages[s].strategies) {
      if (operators.contains(name)) continue;
      throw PlanError(name_of_stage(s) + ".operators: the model has no operator " + name);
    }
    for (const auto& [name, retention] : plan.stages[s].retention) {
      if (tensors.contains(name)) continue;
      throw PlanError(name_of_stage(s) + ".retention: the model has no tensor " + name);
    }
  }
}

void check_arrivals(const Plan& plan, const Graph& graph) {
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    for (const auto& [name, spec] : plan.stages[s].arrivals) {
      const auto t = graph.find_tensor(name);
      const std::string where = name_of_stage(s) + ".arrivals: " + name;
      if (!t) throw PlanError(where + ": the model has no such tensor");
      const Shape& shape = graph.tensor(*t).shape;
      if (spec.dim_axes.size() != shape.size() || !spec.partial_axes.empty() ||
          !fits(shape, spec, plan.stages[s].mesh)) {
        throw PlanError(where + ": layout " + to_string(spec) + " does not fit shape " +
                        to_string(shape));
      }
    }
  }
}

void check_schedule(const Plan& plan) {
  if (plan.num_microbatches < 1) throw PlanError("microbatches: expected at least 1");
  const bool fixed =
      plan.schedule == PipelineKind::interleaved || plan.schedule == PipelineKind::zero_bubble;
  if (fixed && !plan.warm_up.empty()) {
    throw PlanError("schedule.warm_up: that of " + to_string(plan.schedule) +
                    " follows from stages and chunks");
  }
  if (plan.schedule != PipelineKind::one_f_one_b || plan.warm_up.empty()) return;
  const auto stages = static_cast<int>(plan.stages.size());
  if (static_cast<int>(plan.warm_up.size()) != stages) {
    throw PlanError("schedule.warm_up: expected one number for each of " + std::to_string(stages) +
                    " stages");
  }
  for (int s = 0; s < stages; ++s) {
    const auto i = static_cast<std::size_t>(s);
    if (plan.warm_up[i] < stages - s || (s > 0 && plan.warm_up[i] > plan.warm_up[i - 1])) {
      throw PlanError("schedule.warm_up[" + std::to_string(s) + "]: found " +
                      std::to_string(plan.warm_up[i]) + ", expected at least " +
                      std::to_string(stages - s) + " and no more than the stage before");
    }
  }
}

}  // namespace

std::string to_string(Retention retention) {
  switch (retention) {
    case Retention::step:
      return "step";
    case Retention::keep:
      return "keep";
    case Retention::repeat:
      return "repeat";
  }
  check_failed("known retention", SourceLine::here());
}

std::string to_string(PipelineKind kind) {
  switch (kind) {
    case PipelineKind::gpipe:
      return "gpipe";
    case PipelineKind::one_f_one_b:
      return "1f1b";
    case PipelineKind::interleaved:
      return "interleaved";
    case PipelineKind::zero_bubble:
      return "zero_bubble";
  }
  check_failed("known schedule", SourceLine::here());
}

Seat seat_of(const Plan& plan, int rank) {
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const auto& ranks = plan.stages[s].ranks;
    const auto it = std::find(ranks.begin(), ranks.end(), rank);
    if (it != ranks.end()) return {static_cast<int>(s), static_cast<int>(it - ranks.begin())};
  }
  return {};
}

bool holds_layer(const StagePlan& stage, int layer) {
  return std::any_of(stage.chunks.begin(), stage.chunks.end(), [&](const auto& chunk) {
    return chunk.first <= layer && layer <= chunk.second;
  });
}

int stage_of_layer(const Plan& plan, int layer) {
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    if (holds_layer(plan.stages[s], layer)) return static_cast<int>(s);
  }
  throw PlanError("plan: no stage holds layer " + std::to_string(layer));
}

int chunk_of_layer(const Plan& plan, int layer) {
  const int stage = stage_of_layer(plan, layer);
  const auto& chunks = plan.stages[static_cast<std::size_t>(stage)].chunks;
  const auto it = std::find_if(chunks.begin(), chunks.end(),
                               [&](const auto& chunk) { return layer <= chunk.second; });
  const int round = static_cast<int>(it - chunks.begin());
  return round * static_cast<int>(plan.stages.size()) + stage;
}

int chunks_per_stage(const Plan& plan) {
  return static_cast<int>(plan.stages.front().chunks.size());
}

const Strategy& strategy_of(const StagePlan& stage, const Graph& graph, const Operator& op) {
  return stage.strategies.at(graph.original(op).name);
}

Retention retention_of(const StagePlan& stage, const Tensor& tensor) {
  const auto it = stage.retention.find(tensor.name);
  if (it != stage.retention.end()) return it->second;
  const bool parameter = tensor.role == Role::parameter || tensor.role == Role::replica;
  return parameter ? Retention::step : Retention::keep;
}

void validate(const Plan& plan, const Graph& graph) {
  check_recompute(plan, graph);
  check_stages(plan);
  check_layers(plan, graph);
  check_schedule(plan);
  check_strategies(plan, graph);
  check_names(plan, graph);
  check_arrivals(plan, graph);
}

}  // namespace alpa
