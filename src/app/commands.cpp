#include "commands.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "alpa/base/error.hpp"
#include "alpa/checkpoint/load.hpp"
#include "alpa/cluster/cluster_file.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/report/text.hpp"
#include "alpa/storage/file.hpp"

#include "plan_report.hpp"
#include "pricing.hpp"
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
  std::optional<ClusterSpec> cluster;
};

Target target_of(const Options& options, const RunConfig& config, int ranks) {
  const auto cluster = options.cluster ? load_cluster(*options.cluster) : cluster_of(config);
  if (!cluster) return {ranks, capacity_of_rank(config, ranks), std::nullopt};
  const ClusterFigures figures = figures_of(*cluster);
  return {figures.devices, config.parallel.memory_limit.value_or(figures.capacity),
          cluster_spec(*cluster, config.training.precision == Precision::tf32)};
}

/// --compare and --simulate need times, which only a cluster file gives.
void check_times_known(const Options& options, const Target& target) {
  if (!options.compare && !options.simulate) return;
  const std::string option = options.compare ? "--compare" : "--simulate";
  if (!target.cluster) {
    throw UserError(option +
                        ": the speed of this machine is not measured in this version: name a "
                        "cluster with --cluster FILE",
                    ExitCode::usage);
  }
  if (!target.cluster->axes.empty()) {
    throw UserError(option +
                        ": the cluster has mesh_axes, which price a logical mesh and no links; "
                        "expected hosts with links",
                    ExitCode::usage);
  }
}

/// Host of every rank: the cluster's, numbered, or this one.
std::vector<std::string> host_names(const Target& target, const std::string& here) {
  std::vector<std::string> names;
  for (int rank = 0; rank < target.ranks; ++rank) {
    names.push_back(target.cluster ? "host " + std::to_string(host_of(*target.cluster, rank))
                                   : here);
  }
  return names;
}

std::string predicted_text(const PredictedFigures& predicted) {
  return "predicted: " + to_text(predicted.step_time) + " a step, " +
         with_prefix(predicted.samples_per_second) + " samples/s, " +
         with_prefix(predicted.model_flops_per_second_per_device) +
         "FLOP/s per device, no kernel in " +
         std::to_string(static_cast<int>(100 * predicted.bubble + 0.5)) + " % of the time\n";
}

void write_plan(const RunConfig& config, const Options& options, const PricedPlan& priced,
                const PlanFigures& figures) {
  const fs::path folder(config.output);
  make_directories(folder);
  replace_file(folder / "plan.yaml", to_yaml(priced.plan, priced.graph, figures));
  replace_file(folder / "config.yaml", print_config(config));
  print("wrote " + (folder / "plan.yaml").string());
  if (!options.simulate) return;
  replace_file(folder / "trace.json", chrome_trace(priced));
  print("wrote " + (folder / "trace.json").string());
}

/// Makes and prices the plan for the target; writes plan.yaml unless only checking.
void plan_command(const Options& options, const RunConfig& config, int ranks, bool write) {
  const Target target = target_of(options, config, ranks);
  check_times_known(options, target);
  const bool elsewhere = target.cluster.has_value();
  const int threads = threads_of_rank(ranks);
  const auto device = make_device(config, threads);
  const PricedPlan priced = price_plan(config, choose_plan(config, target.ranks, options.plan),
                                       elsewhere ? no_workspace : workspace_of(*device),
                                       target.cluster, options.simulate);
  const std::string objection =
      memory_objection(config, priced.plan, priced.totals, priced.arenas, target.capacity);
  if (!objection.empty()) throw UserError(objection, ExitCode::no_plan);
  const std::vector<std::string> hosts = host_names(target, host_name());
  const std::string where = elsewhere ? target.cluster->kinds.front().name : device->name();
  print(start_text(config, priced.graph, priced.plan, priced.totals, where, elsewhere ? 0 : threads,
                   hosts));
  PlanFigures figures =
      plan_figures(config, priced.plan, priced.totals, priced.arenas, target.capacity, hosts);
  figures.predicted = predicted_figures(config, priced);
  if (figures.predicted) print(predicted_text(*figures.predicted));
  if (options.compare) {
    figures.compared = compare_methods(config, *target.cluster, target.capacity);
    print(compare_table(figures.compared));
  }
  if (write) write_plan(config, options, priced, figures);
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
