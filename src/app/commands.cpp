#include "commands.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "alpa/base/error.hpp"
#include "alpa/checkpoint/load.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/storage/file.hpp"

#include "plan_report.hpp"
#include "setup.hpp"
#include "version.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  if (text.empty() || text.back() != '\n') std::fputc('\n', stdout);
}

void verify_command(const std::string& directory) {
  const Checkpoint checkpoint = verify_checkpoint(directory);
  std::int64_t elements = 0;
  for (const StateTensor& t : checkpoint.info.tensors) elements += num_elements(t.shape);
  print(directory + ": step " + std::to_string(checkpoint.info.step) + ", " +
        std::to_string(checkpoint.info.tensors.size()) + " tensors, " + std::to_string(elements) +
        " elements, " + std::to_string(checkpoint.files.size()) + " files: valid");
}

/// The cluster that a plan is made for: its size and what a device holds.
struct Target {
  int ranks = 1;
  Bytes capacity;
};

Target target_of(const Options& options, const RunConfig& config, int ranks) {
  const auto cluster = options.cluster ? load_cluster(*options.cluster) : cluster_of(config);
  if (!cluster) return {ranks, capacity_of_rank(config, ranks)};
  const ClusterFigures figures = figures_of(*cluster);
  return {figures.devices, config.parallel.memory_limit.value_or(figures.capacity)};
}

/// Makes and prices in bytes the plan for the target. With `run_directory`, writes plan.yaml there.
void plan_command(const Options& options, const RunConfig& config, int ranks, bool write) {
  const Target target = target_of(options, config, ranks);
  const Plan plan = choose_plan(config, target.ranks, options.plan);
  const Graph graph = build_graph(config, config.training.global_batch / plan.num_microbatches);
  const bool elsewhere = options.cluster.has_value();
  const int threads = threads_of_rank(ranks);
  const auto device = make_device(config, threads);
  const WorkspaceSize workspace = elsewhere ? no_workspace : workspace_of(*device);
  std::vector<ProgramTotals> all;
  std::vector<Bytes> arenas;
  for (int rank = 0; rank < target.ranks; ++rank) {
    const RankPrograms programs = lower(graph, plan, rank, workspace);
    all.push_back(totals(programs.step));
    arenas.push_back(programs.step.arena);
  }
  const std::string objection = memory_objection(config, plan, all, arenas, target.capacity);
  if (!objection.empty()) throw UserError(objection, ExitCode::no_plan);
  const std::vector<std::string> hosts(static_cast<std::size_t>(target.ranks), host_name());
  print(start_text(config, graph, plan, all, *device, threads, hosts));
  if (!write) return;
  make_directories(config.output);
  const fs::path file = fs::path(config.output) / "plan.yaml";
  replace_file(
      file, to_yaml(plan, graph, plan_figures(config, plan, all, arenas, target.capacity, hosts)));
  replace_file(fs::path(config.output) / "config.yaml", print_config(config));
  print("wrote " + file.string());
}

}  // namespace

bool is_command(const Options& options) {
  return options.version || options.help || options.verify || options.print_config ||
         options.check || options.plan_only;
}

void run_command(const Options& options, int ranks) {
  if (options.version) {
    print(version_text());
    return;
  }
  if (options.help) {
    print(options.help_section.empty() ? usage() : help_text(options.help_section));
    return;
  }
  if (options.verify) {
    verify_command(*options.verify);
    return;
  }
  const RunConfig config = load_run_config(options.config, options.overrides);
  if (options.print_config) {
    print(print_config(config));
    return;
  }
  refuse_absent(config);
  if (options.check) {
    check_data_paths(config);
    plan_command(options, config, ranks, false);
    print("the configuration is fine");
    return;
  }
  plan_command(options, config, ranks, true);
}

}  // namespace alpa
