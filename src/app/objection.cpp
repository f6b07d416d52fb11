#include "objection.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "alpa/base/error.hpp"
#include "alpa/config/groups.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/simulate/price.hpp"

#include "methods_priced.hpp"
#include "planner.hpp"

namespace alpa {
namespace {

constexpr std::array kSmaller = {Method::zero1, Method::zero2, Method::zero3, Method::pipedream};

/// Whether the plan by hand under other settings fits as far as figures of its stages on some of
/// many equal layers say, which is no more than it needs; also where they say nothing.
bool may_fit(const RunConfig& config, const Target& target, MethodRequest request) {
  const auto folded = target.cluster ? folded_model(config) : std::nullopt;
  if (!folded) return true;
  request.line = folded->line;
  const Plan plan = plan_by_method(request, folded->graph);
  if (plan.schedule != PipelineKind::gpipe && plan.schedule != PipelineKind::one_f_one_b) {
    return true;
  }
  const std::int64_t microbatch = config.training.global_batch / plan.num_microbatches;
  const Graph graph = recomputing(folded->graph(microbatch), config.parallel.recompute);
  const ModelledPlan modelled = PlanModels(*target.cluster, folded->line).of(graph, plan);
  return !modelled.known || missing_bytes(plan, modelled.memory, target).value <= 0;
}

/// The largest arena of the plan by hand under other settings, if it fits.
std::optional<Bytes> arena_that_fits(const RunConfig& config, const Target& target) {
  try {
    const MethodRequest request{config.parallel, target.ranks, config.training.global_batch,
                                samples_of_group(config.model)};
    if (!may_fit(config, target, request)) return std::nullopt;
    const Plan plan = plan_by_method(request, graphs_of(config));
    const Graph graph = graph_of(config, plan);
    std::vector<Bytes> arenas;
    for (const StageMemory& stage : stage_memory(graph, plan, target.workspace)) {
      arenas.push_back(stage.arena);
    }
    if (missing_bytes(plan, arenas, target).value > 0) return std::nullopt;
    return *std::max_element(arenas.begin(), arenas.end());
  } catch (const Error&) {
    return std::nullopt;
  }
}

RunConfig with_method(const RunConfig& config, Method method) {
  RunConfig changed = config;
  ParallelConfig& parallel = changed.parallel;
  parallel.method = method;
  parallel.data = parallel.tensor = parallel.pipeline = std::nullopt;
  return changed;
}

class Proposals {
 public:
  Proposals(const RunConfig& config, const Target& target) : config_(config), target_(target) {}

  std::string text() {
    methods();
    microbatches();
    recomputation();
    depth();
    loosened();
    if (text_.empty()) batches();
    return text_;
  }

 private:
  bool propose(const std::string& change, const RunConfig& changed) {
    const auto arena = arena_that_fits(changed, target_);
    if (arena) {
      text_ += "  would fit: " + change + " (" + alpa::to_text(*arena) + " per rank)\n";
    }
    return arena.has_value();
  }

  void methods() {
    for (const Method method : kSmaller) {
      propose("parallel.method=" + std::string(name_of(method)), with_method(config_, method));
    }
  }

  /// More microbatches than are given, of the same method; for a search, of any by hand.
  void microbatches() {
    const bool automatic = config_.parallel.method == Method::automatic;
    for (std::int64_t b = 2; b <= config_.training.global_batch; b *= 2) {
      if (config_.training.global_batch % (b * samples_of_group(config_.model)) != 0) continue;
      RunConfig changed = config_;
      changed.parallel.microbatches = b;
      const std::string change = "parallel.microbatches=" + std::to_string(b);
      if (!automatic) {
        propose(change, changed);
        continue;
      }
      // the search may choose the schedule that keeps the fewest microbatches
      if (changed.parallel.schedule == PipelineSchedule::automatic) {
        changed.parallel.schedule = PipelineSchedule::one_forward_one_backward;
      }
      for (const Method method : kSmaller) {
        if (propose(change, with_method(changed, method))) return;
      }
    }
  }

  /// More recomputation by the same method; a search has tried it unless it was told not to.
  void recomputation() {
    const ParallelConfig& given = config_.parallel;
    if (given.method == Method::automatic && !given.recompute) return;
    for (const Recompute choice : {Recompute::attention, Recompute::full}) {
      if (given.recompute.value_or(Recompute::none) >= choice) continue;
      RunConfig changed = config_;
      changed.parallel.recompute = choice;
      const std::string change = "parallel.recompute=" + std::string(name_of(choice));
      if (given.method != Method::automatic) {
        propose(change, changed);
        continue;
      }
      for (const Method method : kSmaller) {
        if (propose(change, with_method(changed, method))) return;
      }
    }
  }

  /// Less warm-up by the same method.
  void depth() {
    RunConfig changed = config_;
    if (!changed.parallel.warm_up || changed.parallel.method == Method::automatic) return;
    changed.parallel.warm_up.reset();
    propose("parallel.warm_up=auto", changed);
  }

  /// Whether some plan by hand fits without one of the constraints.
  void loosened() {
    const auto without = [&](const std::string& key, const auto& reset) {
      RunConfig changed = config_;
      reset(changed.parallel);
      if (changed.parallel == config_.parallel) return;
      for (const Method method : kSmaller) {
        if (propose(key, with_method(changed, method))) return;
      }
    };
    without("parallel.stages=auto", [](ParallelConfig& p) { p.stages.reset(); });
    without("parallel.warm_up=auto", [](ParallelConfig& p) { p.warm_up.reset(); });
    without("parallel.logical_mesh=auto", [](ParallelConfig& p) { p.logical_mesh.reset(); });
    without("parallel.layouts={}", [](ParallelConfig& p) { p.layouts.clear(); });
  }

  void batches() {
    for (std::int64_t batch = config_.training.global_batch / 2; batch >= 1; batch /= 2) {
      if (batch % samples_of_group(config_.model) != 0) continue;
      for (const Method method : kSmaller) {
        RunConfig changed = with_method(config_, method);
        changed.training.global_batch = batch;
        changed.parallel.microbatches.reset();
        const std::string change = "training.global_batch=" + std::to_string(batch) +
                                   " parallel.method=" + std::string(name_of(method));
        if (propose(change, changed)) return;
      }
    }
  }

  const RunConfig& config_;
  const Target& target_;
  std::string text_;
};

}  // namespace

std::string memory_objection(const RunConfig& config, const Target& target, const Plan& plan,
                             const StageNeeds& needs) {
  if (missing_bytes(plan, needs.arenas, target).value == 0) return "";
  std::size_t worst = 0;
  const auto missing = [&](std::size_t s) {
    return needs.arenas[s] - capacity_of(target, plan.stages[s]);
  };
  for (std::size_t s = 1; s < needs.arenas.size(); ++s) {
    if (missing(s) > missing(worst)) worst = s;
  }
  const Bytes need = needs.arenas[worst];
  std::string text = "no plan fits: rank " + std::to_string(plan.stages[worst].ranks.back()) +
                     " needs " + to_text(need) + ", it has " + to_text(need - missing(worst)) +
                     ", " + to_text(missing(worst)) + " too little\n";
  if (config.parallel.method == Method::automatic) {
    text += "  the plan that needs least: " + plan.method + ", " +
            std::to_string(plan.stages.size()) + (plan.stages.size() == 1 ? " stage" : " stages") +
            ", microbatches of " +
            std::to_string(config.training.global_batch / plan.num_microbatches) + "\n";
  }
  for (int c = 0; c < kNumMemoryClasses; ++c) {
    text += "  " + to_string(static_cast<MemoryClass>(c)) + " " +
            to_text(needs.totals[worst].memory[static_cast<std::size_t>(c)]) + "\n";
  }
  const std::string fits = Proposals(config, target).text();
  return text + (fits.empty() ? "  none of the methods by hand fits: use more ranks, a smaller "
                                "model or training.global_batch\n"
                              : fits);
}

}  // namespace alpa
