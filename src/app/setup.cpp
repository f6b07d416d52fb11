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

std::vector<std::filesystem::path> paths_of(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

const TransformerConfig* transformer(const RunConfig& config) {
  return std::get_if<TransformerConfig>(&config.model.shape);
}

const TransformerConfig& token_model(const RunConfig& config) {
  const TransformerConfig* shape = transformer(config);
  if (shape == nullptr) {
    throw UserError(
        "data.source: the source gives tokens, the model takes features; expected "
        "synthetic data of kind classes or regression");
  }
  return *shape;
}

BatchOptions batch_options(const RunConfig& config) {
  BatchOptions batches;
  batches.global_batch = config.training.global_batch;
  batches.seed = static_cast<std::uint64_t>(config.training.seed);
  batches.evaluation_samples = config.training.evaluate.samples.value_or(0);
  return batches;
}

Dataset windows_of(const RunConfig& config, Tokens tokens) {
  WindowOptions windows;
  windows.sequence = token_model(config).sequence;
  windows.held_out = config.data.held_out;
  windows.shuffle = config.data.shuffle;
  return token_dataset(std::move(tokens), windows, batch_options(config));
}

Dataset synthetic(const RunConfig& config) {
  const SyntheticData& data = config.data.synthetic;
  switch (data.kind) {
    case SyntheticKind::classes:
      return synthetic_classes(data.features.value(), data.classes.value(), batch_options(config));
    case SyntheticKind::regression:
      return synthetic_regression(data.features.value(), data.classes.value(),
                                  batch_options(config));
    case SyntheticKind::tokens:
      return synthetic_tokens(data.sequence.value(), data.vocabulary.value(),
                              batch_options(config));
  }
  check_failed("known kind", SourceLine::here());
}

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
  if (config.data.source == DataSource::images) {
    refuse("data.source: images is not in this version; expected text, tokens, hdf5 or synthetic");
  }
  if (config.checkpoint.init_from) {
    refuse(
        "checkpoint.init_from is not in this version; expected none (--resume DIR goes on from "
        "a checkpoint)");
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

void prepare_data(const RunConfig& config, const std::filesystem::path& run_directory) {
  if (config.data.source != DataSource::text) return;
  keep_text_as_tokens(paths_of(config.data.text), run_directory / "tokens.h5");
}

void check_data_paths(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (data.source == DataSource::text) (void)files_of(paths_of(data.text));
  if (data.source == DataSource::tokens) (void)files_of(paths_of(data.tokens.files));
  if (data.source == DataSource::hdf5) (void)files_of(paths_of(data.hdf5.files));
}

Dataset open_dataset(const RunConfig& config, const std::filesystem::path& run_directory) {
  const DataConfig& data = config.data;
  switch (data.source) {
    case DataSource::text: {
      if (token_model(config).vocabulary < 256) {
        throw UserError("model.vocabulary: found " +
                        std::to_string(token_model(config).vocabulary) +
                        ", expected at least 256 for text read byte by byte");
      }
      return windows_of(config, read_hdf5_tokens(run_directory / "tokens.h5", "tokens", 256));
    }
    case DataSource::tokens: {
      const auto width =
          data.tokens.dtype == TokenType::uint16 ? TokenWidth::bits16 : TokenWidth::bits32;
      return windows_of(config, read_raw_tokens(paths_of(data.tokens.files), width,
                                                token_model(config).vocabulary));
    }
    case DataSource::hdf5:
      if (data.hdf5.files.size() != 1) {
        throw UserError("data.hdf5.files: found " + std::to_string(data.hdf5.files.size()) +
                        " files, expected one");
      }
      return windows_of(config, read_hdf5_tokens(data.hdf5.files[0], data.hdf5.dataset,
                                                 token_model(config).vocabulary));
    case DataSource::synthetic:
      return synthetic(config);
    case DataSource::images:
      break;
  }
  check_failed("a source that refuse_absent lets through", SourceLine::here());
}

std::int64_t id_limit(const RunConfig& config) {
  if (const TransformerConfig* shape = transformer(config)) return shape->vocabulary;
  const SyntheticData& data = config.data.synthetic;
  return data.kind == SyntheticKind::classes ? data.classes.value_or(0) : 0;
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
