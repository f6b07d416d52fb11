#include "kept_plan.hpp"

#include "alpa/model/build_graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/probe/probe.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// Empty if the plan is still the right one.
std::string objection(const RunConfig& config, const Target& target, const Profile& profile,
                      const Plan& plan, const fs::path& run_directory) {
  if (plan.world_size != target.ranks) {
    return "the plan of the run before is for " + std::to_string(plan.world_size) +
           " ranks, found " + std::to_string(target.ranks);
  }
  const fs::path file = run_directory / "config.yaml";
  const RunConfig before = parse_run_config(read_file(file), file.string());
  if (before.parallel != config.parallel || before.cluster != config.cluster) {
    return "the run before had other settings of parallel or cluster";
  }
  const fs::path measured = run_directory / "profile.yaml";
  if (std::holds_alternative<DetectCluster>(config.cluster) && fs::exists(measured)) {
    const auto devices = load_profile(measured);
    if (!devices || devices->name != profile.key) {
      return "the plan of the run before is for other devices or another build";
    }
  }
  const bool divides =
      plan.num_microbatches >= 1 &&
      config.training.global_batch % (plan.num_microbatches * samples_of_group(config.model)) == 0;
  if (!divides ||
      plan.graph_fingerprint !=
          fingerprint(build_graph(config, config.training.global_batch / plan.num_microbatches))) {
    return "the plan of the run before is for another model, batch or build";
  }
  return "";
}

}  // namespace

KeptPlan plan_of_run_before(const RunConfig& config, const Target& target, const Profile& profile,
                            const fs::path& run_directory) {
  const fs::path stored = run_directory / "plan.yaml";
  if (!fs::exists(stored) || !fs::exists(run_directory / "config.yaml")) return {};
  const std::string text = read_file(stored);
  const std::string reason =
      objection(config, target, profile, parse_plan(text, stored.string()), run_directory);
  return reason.empty() ? KeptPlan{text, ""} : KeptPlan{"", reason};
}

}  // namespace alpa
