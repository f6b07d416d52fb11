#include "setup.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sched.h>
#include <set>
#include <sstream>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"

#include "world.hpp"

namespace alpa {
namespace {

/// Bytes of memory that processes of this host may still take.
std::int64_t available_memory() {
  std::int64_t available = std::int64_t{1} << 62U;
  std::ifstream meminfo("/proc/meminfo");
  std::string word;
  while (meminfo >> word) {
    if (word != "MemAvailable:") continue;
    std::int64_t kib = 0;
    meminfo >> kib;
    available = kib * 1024;
  }
  std::int64_t limit = 0;
  std::int64_t used = 0;
  std::ifstream limit_file("/sys/fs/cgroup/memory.max");
  std::ifstream used_file("/sys/fs/cgroup/memory.current");
  if (limit_file >> limit && used_file >> used) available = std::min(available, limit - used);
  return available;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace

RunConfig share_config(const Options& options, Communicator& world) {
  std::string text;
  if (world.rank() == 0) {
    const RunConfig config = load_run_config(options.config, options.overrides);
    refuse_absent(config);
    text = print_config(config);
  }
  text = broadcast_text(world, text);
  return parse_run_config(text, options.config);
}

void refuse_absent(const RunConfig& config) {
  const auto refuse = [](const std::string& text) { throw UserError(text); };
  if (config.device == DeviceChoice::cuda) {
    refuse("device: cuda is not in this version; expected auto, cpu, debug or reference");
  }
  if (config.training.precision == Precision::tf32) {
    refuse(
        "training.precision: tf32 is a mode of GPUs, which are not in this version; expected fp64, "
        "fp32, bf16 or fp16");
  }
  if (config.training.profile) {
    refuse("training.profile is not in this version; expected none");
  }
}

std::string resume_key(const RunConfig& config) {
  RunConfig same = config;
  const RunConfig defaults;
  same.parallel = defaults.parallel;
  same.cluster = defaults.cluster;
  same.device = defaults.device;
  same.checkpoint = defaults.checkpoint;
  same.logging = defaults.logging;
  same.output = defaults.output;
  same.training.steps = defaults.training.steps;
  same.training.evaluate = defaults.training.evaluate;
  same.training.watchdog = defaults.training.watchdog;
  same.training.time_limit = defaults.training.time_limit;
  same.training.profile = defaults.training.profile;
  same.training.skip_nonfinite = defaults.training.skip_nonfinite;
  same.training.loss_scale = defaults.training.loss_scale;
  same.optimizer.learning_rate = defaults.optimizer.learning_rate;
  same.optimizer.schedule = defaults.optimizer.schedule;
  return print_config(same);
}

std::string differing_lines(const std::string& found, const std::string& expected) {
  const auto lines = [](const std::string& text) {
    std::vector<std::string> list;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) list.push_back(line);
    return list;
  };
  const auto a = lines(found);
  const auto b = lines(expected);
  const std::set<std::string> in_a(a.begin(), a.end());
  const std::set<std::string> in_b(b.begin(), b.end());
  std::string text;
  for (const auto& line : a) {
    if (!in_b.contains(line)) text += "\n  found    " + line;
  }
  for (const auto& line : b) {
    if (!in_a.contains(line)) text += "\n  expected " + line;
  }
  return text;
}

int threads_of_rank(int ranks_of_host) {
  if (const char* given = std::getenv("OMP_NUM_THREADS")) {
    const int threads = std::atoi(given);
    if (threads >= 1) return threads;
  }
  return std::max(1, usable_cores() / ranks_of_host);
}

std::unique_ptr<Device> make_device(const RunConfig& config, int threads) {
  switch (config.device) {
    case DeviceChoice::automatic:
    case DeviceChoice::cpu:
      return make_cpu_device(threads);
    case DeviceChoice::debug:
      return make_debug_device();
    case DeviceChoice::reference:
      return make_reference_device();
    case DeviceChoice::cuda:
      break;
  }
  check_failed("a device that refuse_absent lets through", SourceLine::here());
}

WorkspaceSize workspace_of(const Device& device) {
  return [&device](const Kernel& kernel, const std::vector<Operand>& operands,
                   const std::vector<Operand>& results) {
    std::vector<Piece> in;
    std::vector<Piece> out;
    for (const Operand& o : operands) in.push_back({nullptr, o.dtype, o.box, o.full});
    for (const Operand& o : results) out.push_back({nullptr, o.dtype, o.box, o.full});
    Launch launch;
    launch.operands = in;
    launch.results = out;
    return device.workspace_size(kernel, launch);
  };
}

std::optional<ClusterConfig> cluster_of(const RunConfig& config) {
  if (const auto* file = std::get_if<ClusterFile>(&config.cluster)) return load_cluster(file->path);
  if (const auto* content = std::get_if<ClusterConfig>(&config.cluster)) return *content;
  return std::nullopt;
}

Bytes capacity_of_rank(const RunConfig& config, int ranks_of_host) {
  if (config.parallel.memory_limit) return *config.parallel.memory_limit;
  return {static_cast<std::int64_t>(0.9 * static_cast<double>(available_memory()) / ranks_of_host)};
}

}  // namespace alpa
