#include "drafts.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

constexpr int kRoundsSeen = 4;  ///< microbatches per stage after which 1F1B repeats itself

/// Who shares the cores of which hosts.
std::vector<SharedCores> shared_cores(const ClusterSpec& cluster, const Draft& draft) {
  std::vector<SharedCores> all;
  int begin = 0;
  for (const Host& host : cluster.hosts) {
    const int end = begin + host.devices;
    if (host.shared_cores > 0.0) {
      SharedCores shared{{}, {}, host.shared_cores, host.devices};
      for (std::size_t s = 0; s < draft.stages.size(); ++s) {
        const int first = std::max(begin, draft.stages[s].first_device);
        const int last =
            std::min(end, draft.stages[s].first_device + num_devices(draft.stages[s].mesh));
        if (first >= last) continue;
        shared.stages.push_back(static_cast<int>(s));
        shared.devices.push_back(last - first);
      }
      all.push_back(std::move(shared));
    }
    begin = end;
  }
  return all;
}

/// How much faster than measured each stage runs while all work.
std::vector<double> speeds_together(const std::vector<SharedCores>& shared, std::size_t stages) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  std::vector<double> fast(stages, kNone);
  for (const SharedCores& host : shared) {
    const int busy = std::accumulate(host.devices.begin(), host.devices.end(), 0);
    const double total = host.total;
    const double speed = std::max(1.0, std::min(total / host.cores, total / std::max(1, busy)));
    for (const int s : host.stages) {
      double& stage = fast[static_cast<std::size_t>(s)];
      stage = std::min(stage, speed);
    }
  }
  for (double& speed : fast) speed = speed == kNone ? 1.0 : speed;
  return fast;
}

}  // namespace

int in_flight(const Draft& draft, std::size_t s) {
  if (draft.schedule == PipelineKind::gpipe) return draft.microbatches;
  return std::min(draft.warm_up[s], draft.microbatches);
}

std::string key_of(const Draft& draft) {
  std::string key = std::to_string(draft.microbatches) + " " + to_string(draft.schedule);
  for (const int depth : draft.warm_up) key += " " + std::to_string(depth);
  for (const DraftStage& stage : draft.stages) {
    key += " | " + std::to_string(stage.first_layer) + "-" + std::to_string(stage.last_layer) +
           " @" + std::to_string(stage.first_device);
    for (const int n : stage.mesh.extents) key += " x" + std::to_string(n);
  }
  return key;
}

Plan assemble(const Draft& draft, const std::vector<const StageAnswer*>& answers,
              const Graph& graph, const ClusterSpec& cluster) {
  ALPA_CHECK(answers.size() == draft.stages.size());
  Plan plan;
  plan.method = "auto";
  plan.world_size = num_devices(cluster);
  plan.num_microbatches = draft.microbatches;
  plan.schedule = draft.schedule;
  plan.warm_up = draft.warm_up;
  plan.recompute = graph.recompute;
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    const DraftStage& from = draft.stages[s];
    StagePlan stage;
    stage.chunks = {{from.first_layer, from.last_layer}};
    stage.mesh = from.mesh;
    for (int d = 0; d < num_devices(from.mesh); ++d) stage.ranks.push_back(from.first_device + d);
    stage.strategies = answers[s]->strategies;
    stage.retention = answers[s]->retention;
    plan.stages.push_back(std::move(stage));
  }
  return plan;
}

std::vector<Recompute> recompute_of(const std::vector<const StageAnswer*>& answers, int layers) {
  std::vector<Recompute> recompute(static_cast<std::size_t>(layers), Recompute::none);
  bool nothing = true;
  for (const StageAnswer* answer : answers) {
    for (const ChosenLayers& part : answer->parts) {
      std::fill(recompute.begin() + part.first, recompute.begin() + part.last + 1, part.recompute);
      nothing = nothing && part.recompute == Recompute::none;
    }
  }
  if (nothing) recompute.clear();
  return recompute;
}

TableShape table_shape(const Draft& draft) {
  return {draft.schedule, draft.warm_up, draft.microbatches};
}

Draft draft_of(const Plan& plan) {
  Draft draft;
  draft.microbatches = plan.num_microbatches;
  draft.schedule = plan.schedule;
  draft.warm_up = plan.warm_up;
  if (draft.schedule == PipelineKind::one_f_one_b && draft.warm_up.empty()) {
    draft.warm_up = least_warm_up(static_cast<int>(plan.stages.size()));
  }
  for (const StagePlan& stage : plan.stages) {
    draft.stages.push_back(
        {stage.chunks.front().first, stage.chunks.front().second, stage.ranks.front(), stage.mesh});
  }
  return draft;
}

Draft draft_of(const FoldedPlan& folded) {
  Draft draft = draft_of(folded.plan);
  for (DraftStage& stage : draft.stages) {
    stage.first_layer = folded.line.layer_of(stage.first_layer);
    stage.last_layer = folded.line.layer_of(stage.last_layer);
  }
  return draft;
}

std::vector<int> submesh_sizes(const ClusterSpec& cluster, int first_device) {
  std::vector<int> sizes;
  bool first_of_host = false;
  int begin = 0;
  for (const Host& host : cluster.hosts) {
    const int end = begin + host.devices;
    first_of_host = first_of_host || first_device == begin;
    if (first_device >= begin && first_device < end) {
      for (int n = 1; first_device + n <= end; ++n) sizes.push_back(n);
    } else if (first_device < begin && first_of_host) {
      sizes.push_back(end - first_device);
    }
    begin = end;
  }
  return sizes;
}

std::vector<DeviceMesh> logical_meshes(int devices, const std::optional<std::vector<int>>& only) {
  if (only) {
    DeviceMesh mesh{*only};
    if (num_devices(mesh) == devices) return {std::move(mesh)};
    return {};
  }
  std::vector<DeviceMesh> meshes{{{devices}}};
  for (int a = 2; a * 2 <= devices; ++a) {
    if (devices % a == 0) meshes.push_back({{a, devices / a}});
  }
  return meshes;
}

std::vector<int> divisors(std::int64_t number) {
  std::vector<int> all;
  for (int d = 1; d <= number; ++d) {
    if (number % d == 0) all.push_back(d);
  }
  return all;
}

double modelled_price(const ClusterSpec& cluster, const Draft& draft,
                      const std::vector<StageTimes>& stages,
                      const std::vector<StageTransfer>& transfers) {
  const std::vector<SharedCores> shared = shared_cores(cluster, draft);
  const std::vector<double> fast = speeds_together(shared, stages.size());
  StageTimes most;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const double slow = 1.0 / fast[s];
    most.prepare = std::max(most.prepare, stages[s].prepare * slow);
    most.reduce = std::max(most.reduce, stages[s].reduce * slow);
    most.update = std::max(most.update, stages[s].update * slow);
  }
  const auto of = [&](int microbatches) {
    return makespan(draft.schedule, draft.warm_up, microbatches, stages, transfers, shared);
  };
  // A long pipeline goes on as it has begun.
  const int enough = kRoundsSeen * static_cast<int>(stages.size());
  Seconds pipeline{0.0};
  if (draft.schedule == PipelineKind::one_f_one_b && draft.microbatches > 2 * enough) {
    const Seconds seen = of(2 * enough);
    const Seconds each = (seen - of(enough)) * (1.0 / enough);
    pipeline = seen + each * static_cast<double>(draft.microbatches - 2 * enough);
  } else {
    pipeline = of(draft.microbatches);
  }
  return (pipeline + most.prepare + most.reduce + most.update).value;
}

}  // namespace alpa
