#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "alpa/config/cluster_config.hpp"
#include "alpa/config/model_config.hpp"
#include "alpa/config/parallel_config.hpp"
#include "alpa/config/training_config.hpp"

namespace alpa {

enum class DeviceChoice : std::uint8_t { automatic, cpu, cuda, debug, reference };

/// Discover the cluster that the ranks run on.
struct DetectCluster {
  friend bool operator==(const DetectCluster&, const DetectCluster&) = default;
};
struct ClusterFile {
  std::string path;
  friend bool operator==(const ClusterFile&, const ClusterFile&) = default;
};

/// Everything a run file says, defaults filled in. Values are well formed and agree with each
/// other; whether the program can do what they ask is for the modules that would do it.
struct RunConfig {
  ModelConfig model;
  DataConfig data;
  TrainingConfig training;
  OptimizerConfig optimizer;
  ParallelConfig parallel;
  std::variant<DetectCluster, ClusterFile, ClusterConfig> cluster;
  DeviceChoice device = DeviceChoice::automatic;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  std::string output = "runs/run";  ///< runs/<file stem> unless given
  friend bool operator==(const RunConfig&, const RunConfig&) = default;
};

/// Height, width and channels of the images that the data gives, as far as the configuration tells:
/// of synthetic ones, of files with data.images.shape (by default what the model takes).
[[nodiscard]] std::optional<std::array<std::int64_t, 3>> image_shape(const RunConfig& config);

/// Numbers of a sample for models of `features`: of synthetic data, of an image.
[[nodiscard]] std::optional<std::int64_t> num_features(const RunConfig& config);

/// Reads a run file and `key=value` arguments on top of it. Values are YAML (`data.text=[a, b]`);
/// elements of lists are named by index (`data.text.0=a`); a later argument wins.
/// Precedence: default < preset < size < file < argument. Reads no other file except those of
/// devices that an inline `cluster` names.
/// @throws UserError: ExitCode::input_missing if the file cannot be read, else
///         ExitCode::configuration with every mistake of file and arguments
[[nodiscard]] RunConfig load_run_config(const std::string& path,
                                        const std::vector<std::string>& arguments = {});

/// The same from text; `file` is named in messages and gives the default of `output`.
[[nodiscard]] RunConfig parse_run_config(std::string_view text, const std::string& file,
                                         const std::vector<std::string>& arguments = {});

/// All keys as YAML that parse_run_config reads back equal. The same config gives the same bytes.
[[nodiscard]] std::string print_config(const RunConfig& config);

/// Table of keys, types, defaults and meaning of a section (`optimizer`, `model`, `cluster`, …), or
/// the list of sections for an empty name.
/// @throws UserError (ExitCode::usage) for an unknown section, with the nearest
[[nodiscard]] std::string help_text(std::string_view section);

[[nodiscard]] std::span<const EnumName<DeviceChoice>> names_of(DeviceChoice);

}  // namespace alpa
