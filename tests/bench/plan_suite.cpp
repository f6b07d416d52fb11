// Plans configurations for clusters and says what that took and gave:
//
//   plan_suite CONFIG CLUSTER [CONFIG CLUSTER ...] [--megatron-grid] [--no-search] [key=value ...]
//
// For each pair, with what the configuration fixes as `auto` takes it: time of each phase of the
// search, peak memory of the process so far, price, lower bound, gap, the plan. --megatron-grid
// also prices every plan of Megatron with ZeRO-1: all data x tensor x pipeline degrees that make
// the cluster's devices, all numbers of microbatches, equal numbers of layers a stage, 1F1B.
#include <chrono>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/inter_op/search.hpp"
#include "alpa/model/build_graph.hpp"

#include "bench/megatron_grid.hpp"
#include "constraints.hpp"
#include "target.hpp"

namespace alpa {
namespace {

struct Arguments {
  std::vector<std::string> files, overrides;
  bool grid = false;
  bool search = true;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double peak_mebibytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

/// ", full in 2 of 3 layers"; nothing where nothing is computed again.
std::string computed_again(const Plan& plan, std::pair<int, int> layers) {
  std::string text;
  for (const Recompute choice : {Recompute::attention, Recompute::full}) {
    int count = 0;
    for (int l = layers.first; l <= layers.second && !plan.recompute.empty(); ++l) {
      count += plan.recompute[static_cast<std::size_t>(l)] == choice ? 1 : 0;
    }
    if (count == 0) continue;
    text += ", " + std::string(name_of(choice)) + " in " + std::to_string(count) + " of " +
            std::to_string(layers.second - layers.first + 1) + " layers";
  }
  return text;
}

void print_plan(const Plan& plan, const PlanPrice& price) {
  std::string depth;
  for (const int forwards : plan.warm_up) depth += " " + std::to_string(forwards);
  std::printf("  plan   %zu stages, %s%s%s, %d microbatches\n", plan.stages.size(),
              to_string(plan.schedule).c_str(), depth.empty() ? "" : ", warm-up", depth.c_str(),
              plan.num_microbatches);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    std::string mesh;
    for (const int extent : stage.mesh.extents) {
      mesh += (mesh.empty() ? "" : "x") + std::to_string(extent);
    }
    const StageTimes& times = price.stages[s];
    std::printf(
        "         layers %d-%d on %zu devices as %s: forward %s, backward %s, arena %s%s\n",
        stage.chunks.front().first, stage.chunks.back().second, stage.ranks.size(), mesh.c_str(),
        to_text(times.forward).c_str(), to_text(times.backward).c_str(),
        to_text(price.arenas[s]).c_str(),
        computed_again(plan, {stage.chunks.front().first, stage.chunks.back().second}).c_str());
  }
  std::printf("  time   pipeline %s (bubble %.1f %%), prepare %s, reduce %s, norm %s, update %s\n",
              to_text(price.pipeline).c_str(), 100.0 * price.bubble, to_text(price.prepare).c_str(),
              to_text(price.reduce).c_str(), to_text(price.norm).c_str(),
              to_text(price.update).c_str());
}

std::optional<Seconds> run_search(const RunConfig& config, const Target& target) {
  const SearchRequest request = search_request(config, target);
  const Graph whole = build_graph(config, config.training.global_batch);
  std::printf("  graph  %zu operators, %d layers\n", whole.operators.size(), whole.num_layers);
  const auto start = std::chrono::steady_clock::now();
  const double cpu = cpu_seconds();
  const SearchResult result = search(request);
  std::printf("  auto   %.2f s, %.2f s of all cores, %.0f MiB, %s; %d problems, %d distinct\n",
              seconds_since(start), cpu_seconds() - cpu, peak_mebibytes(), result.stopped.c_str(),
              result.ilp_problems, result.distinct_subproblems);
  for (const auto& [phase, seconds] : result.phases) {
    std::printf("         %8.2f s  %s\n", seconds.value, phase.c_str());
  }
  if (!result.plan) {
    std::printf(
        "  no plan fits%s\n",
        result.least_memory ? ("; the least needs " + to_text(*result.least_memory)).c_str() : "");
    return std::nullopt;
  }
  std::printf("  price  %.6g s, lower bound %.6g s, gap %.2f %%\n", result.price.step_time.value,
              result.lower_bound, 100.0 * result.gap());
  print_plan(*result.plan, result.price);
  return result.price.step_time;
}

void run_grid(const RunConfig& config, const ClusterSpec& cluster, std::optional<Seconds> found) {
  const auto start = std::chrono::steady_clock::now();
  const GridResult grid = best_of_megatron_grid(config, cluster);
  std::printf("  megatron grid: %d plans, %d priced, the others bounded, %d fit; %.1f s\n",
              grid.plans, grid.priced, grid.fit, seconds_since(start));
  if (!grid.best) {
    std::printf("  none fits: the nearest is short of %s\n",
                grid.least_missing ? to_text(*grid.least_missing).c_str() : "devices");
    return;
  }
  const GridPoint& best = *grid.best;
  std::printf("  grid   %.6g s: data %d x tensor %d x pipeline %d, %d microbatches, zero1\n",
              best.price.step_time.value, best.data, best.tensor, best.pipeline, best.microbatches);
  print_plan(best.plan, best.price);
  if (found) std::printf("  auto / grid = %.4f\n", found->value / best.price.step_time.value);
}

Arguments read_arguments(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    if (word == "--megatron-grid")
      arguments.grid = true;
    else if (word == "--no-search")
      arguments.search = false;
    else if (word.find('=') != std::string::npos)
      arguments.overrides.push_back(word);
    else
      arguments.files.push_back(word);
  }
  return arguments;
}

int run(int count, char** values) {
  const Arguments arguments = read_arguments(count, values);
  if (arguments.files.empty() || arguments.files.size() % 2 != 0) {
    std::fprintf(stderr,
                 "usage: plan_suite CONFIG CLUSTER [CONFIG CLUSTER ...] [--megatron-grid] "
                 "[--no-search] [key=value ...]\n");
    return 64;
  }
  for (std::size_t i = 0; i < arguments.files.size(); i += 2) {
    const RunConfig config = load_run_config(arguments.files[i], arguments.overrides);
    const Target target = target_of(config, load_cluster(arguments.files[i + 1]));
    std::printf("%s on %s\n", arguments.files[i].c_str(), target.cluster->name.c_str());
    const auto found = arguments.search ? run_search(config, target) : std::nullopt;
    if (arguments.grid) run_grid(config, *target.cluster, found);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) {
  try {
    return alpa::run(argc, argv);
  } catch (const alpa::Error& error) {
    std::fprintf(stderr, "plan_suite: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
