#include "alpa/simulate/price.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/lowering/table.hpp"
#include "alpa/lowering/traffic.hpp"

#include "instruction_time.hpp"
#include "message_costs.hpp"
#include "table_run.hpp"

namespace alpa {
namespace {

/// What one rank's program takes.
struct RankPrice {
  StageTimes times;
  StageTimes collectives;  ///< the part of `times` that they take
  std::map<int, ChunkTimes> chunks;
  Seconds norm;
};

Seconds& part_of(StageTimes& times, StepPhase phase) {
  switch (phase) {
    case StepPhase::prepare:
      return times.prepare;
    case StepPhase::forward:
      return times.forward;
    case StepPhase::backward:
      return times.backward;
    case StepPhase::reduce:
      return times.reduce;
    case StepPhase::update:
      return times.update;
    case StepPhase::transfer:
      break;
  }
  check_failed("kernels and collectives have a phase of work", SourceLine::here());
}

class RankPricing {
 public:
  /// @param times for how many instructions each one stands; null: for itself
  RankPricing(const Program& program, const std::vector<std::vector<int>>* times,
              const ClusterSpec& cluster, const StagePlan& stage)
      : program_(program),
        times_(times),
        cluster_(cluster),
        costs_(cluster, stage.ranks, stage.mesh) {
    for (const auto& group : program.groups) {
      const bool here =
          std::includes(stage.ranks.begin(), stage.ranks.end(), group.begin(), group.end());
      axes_.push_back(here ? axes_of_group(stage, group) : std::vector<MeshAxis>{});
    }
  }

  RankPrice run() {
    for (std::size_t s = 0; s < program_.segments.size(); ++s) {  // once a microbatch or step
      segment_ = &program_.segments[s];
      for (std::size_t i = 0; i < segment_->instructions.size(); ++i) {
        add(segment_->instructions[i], times_ == nullptr ? 1 : (*times_)[s][i]);
      }
    }
    return price_;
  }

 private:
  void add(const Instruction& i, int times) {
    if (const auto* run = std::get_if<RunKernel>(&i.action)) {
      const KernelWork work = work_of(*run);
      add(costs_.kernel(work.kind, work.dtype, work.flops, work.moved) * times, i.phase);
    } else if (const auto* c = std::get_if<Collective>(&i.action)) {
      add(*c, i.phase, times);
    }
  }

  void add(const Collective& c, StepPhase phase, int times) {
    if (is_world_reduction(c, program_)) {
      price_.norm += world_reduction_time(cluster_, program_.world_size, c.in.size);
      return;
    }
    const Seconds time = collective_time(c, axes_[c.group.index()], costs_) * times;
    add(time, phase);
    part_of(price_.collectives, phase) += time;
  }

  void add(Seconds time, StepPhase phase) {
    part_of(price_.times, phase) += time;
    if (segment_->chunk < 0) return;
    ChunkTimes& chunk = price_.chunks[segment_->chunk];
    (phase == StepPhase::forward ? chunk.forward
     : segment_->weights         ? chunk.weights
                                 : chunk.backward) += time;
  }

  const Program& program_;
  const std::vector<std::vector<int>>* times_;
  const ClusterSpec& cluster_;
  MeshCosts costs_;
  std::vector<std::vector<MeshAxis>> axes_;  ///< of each group
  RankPrice price_;
  const Segment* segment_ = nullptr;  ///< that is added
};

std::vector<SharedCores> shared_cores(const ClusterSpec& cluster, const Plan& plan) {
  std::vector<SharedCores> shared;
  for (std::size_t h = 0; h < cluster.hosts.size(); ++h) {
    const Host& host = cluster.hosts[h];
    if (host.shared_cores <= 0.0) continue;
    SharedCores cores{{}, {}, host.shared_cores, host.devices};
    for (std::size_t s = 0; s < plan.stages.size(); ++s) {
      const auto& ranks = plan.stages[s].ranks;
      const auto here = std::count_if(ranks.begin(), ranks.end(), [&](int rank) {
        return host_of(cluster, rank) == static_cast<int>(h);
      });
      if (here == 0) continue;
      cores.stages.push_back(static_cast<int>(s));
      cores.devices.push_back(static_cast<int>(here));
    }
    shared.push_back(std::move(cores));
  }
  return shared;
}

class PlanPricing {
 public:
  PlanPricing(const Graph& graph, const Plan& plan, const ClusterSpec& cluster,
              const WorkspaceSize& workspace, const LayerLine* line)
      : plan_(plan),
        cluster_(cluster),
        workspace_(workspace),
        line_(line),
        placed_(graph, plan),
        messages_(traffic(placed_)),
        message_costs_(cluster, messages_) {}

  std::optional<PlanPrice> run() {
    if (!price_stages()) return std::nullopt;
    price_transfers();
    price_pipeline();
    price_once();
    price_.step_time =
        price_.pipeline + price_.prepare + price_.reduce + price_.norm + price_.update;
    return std::move(price_);
  }

 private:
  [[nodiscard]] bool price_stages() {
    std::vector<int> last;
    for (const StagePlan& stage : plan_.stages) last.push_back(stage.ranks.back());
    const auto steps = count_steps(placed_, last, workspace_, false, line_);
    if (!steps) return false;
    price_.chunks.resize(table_.stage_of_chunk.size());
    for (std::size_t s = 0; s < steps->size(); ++s) {
      const CountedStep& step = (*steps)[s];
      const RankPrice rank =
          RankPricing(step.program, &step.times, cluster_, plan_.stages[s]).run();
      price_.stages.push_back(rank.times);
      for (const auto& [chunk, times] : rank.chunks) {
        price_.chunks[static_cast<std::size_t>(chunk)] = times;
      }
      const StageTimes& c = rank.collectives;
      price_.collectives.push_back((c.forward + c.backward) *
                                       static_cast<double>(plan_.num_microbatches) +
                                   c.prepare + c.reduce + c.update);
      price_.norm = std::max(price_.norm, rank.norm);
      price_.arenas.push_back(step.arena);
      price_.totals.push_back(step.totals);
    }
    return true;
  }

  void price_transfers() {
    for (const bool backward : {false, true}) {
      const Phase phase = backward ? Phase::backward : Phase::forward;
      for (const auto& [chunks, time] : transfer_times(messages_, phase, message_costs_)) {
        price_.transfers.push_back({chunks.first, chunks.second, backward, time});
      }
    }
  }

  void price_pipeline() {
    const TableRun run = run_table(table_, price_.chunks, price_.transfers, shared_);
    price_.pipeline = {run.makespan};
    double busy = 0.0;
    for (const double stage : run.busy) busy += stage;
    const double all = run.makespan * static_cast<double>(run.busy.size());
    price_.bubble = all > 0.0 && std::isfinite(all) ? 1.0 - busy / all : 0.0;
  }

  /// Work that all stages do at once, and the messages before it.
  [[nodiscard]] Seconds longest(Seconds StageTimes::* part, Phase phase) const {
    const std::vector<double> fast = speeds(std::vector<bool>(price_.stages.size(), true), shared_);
    Seconds work{0.0};
    for (std::size_t s = 0; s < fast.size(); ++s) {
      work = std::max(work, price_.stages[s].*part * (1.0 / fast[s]));
    }
    Seconds sent{0.0};
    for (const auto& [stages, time] : transfer_times(messages_, phase, message_costs_)) {
      sent = std::max(sent, time);
    }
    return work + sent;
  }

  void price_once() {
    price_.prepare = longest(&StageTimes::prepare, Phase::prepare);
    price_.reduce = longest(&StageTimes::reduce, Phase::reduce);
    price_.update = longest(&StageTimes::update, Phase::update);
  }

  const Plan& plan_;
  const ClusterSpec& cluster_;
  const WorkspaceSize& workspace_;
  const LayerLine* line_;
  const Schedule table_ = table_of(plan_);
  PlacedPlan placed_;
  std::vector<StageMessage> messages_;
  MessageCosts message_costs_;
  std::vector<SharedCores> shared_ = shared_cores(cluster_, plan_);
  PlanPrice price_;
};

}  // namespace

PlanPrice price(const Graph& graph, const Plan& plan, const ClusterSpec& cluster,
                const WorkspaceSize& workspace) {
  return PlanPricing(graph, plan, cluster, workspace, nullptr).run().value();
}

std::optional<PlanPrice> price(const Graph& graph, const LayerLine& line, const Plan& plan,
                               const ClusterSpec& cluster, const WorkspaceSize& workspace) {
  return PlanPricing(graph, plan, cluster, workspace, &line).run();
}

StageTimes stage_times(const Program& program, const ClusterSpec& cluster, const StagePlan& stage) {
  return RankPricing(program, nullptr, cluster, stage).run().times;
}

std::vector<StageMemory> stage_memory(const Graph& graph, const Plan& plan,
                                      const WorkspaceSize& workspace) {
  return stage_memory(graph, LayerLine(graph.num_layers), plan, workspace).value();
}

std::optional<std::vector<StageMemory>> stage_memory(const Graph& graph, const LayerLine& line,
                                                     const Plan& plan,
                                                     const WorkspaceSize& workspace) {
  std::vector<int> ranks;
  std::vector<std::size_t> stage_of;
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    for (int index = 0; index < num_devices(stage.mesh); ++index) {
      const std::vector<int> place = coordinates(stage.mesh, index);
      bool corner = true;
      for (std::size_t a = 0; a < place.size(); ++a) {
        corner = corner && (place[a] == 0 || place[a] == stage.mesh.extents[a] - 1);
      }
      if (!corner) continue;
      ranks.push_back(stage.ranks[static_cast<std::size_t>(index)]);
      stage_of.push_back(s);
    }
  }
  const auto steps = count_steps(PlacedPlan(graph, plan), ranks, workspace, true, &line);
  if (!steps) return std::nullopt;
  std::vector<StageMemory> found(plan.stages.size());
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    StageMemory& most = found[stage_of[i]];
    const CountedStep& step = (*steps)[i];
    if (step.arena >= most.arena) most = {step.arena, step.totals.memory};
  }
  return found;
}

}  // namespace alpa
