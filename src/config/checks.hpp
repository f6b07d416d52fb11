#pragma once

#include <string>

#include "alpa/config/run_config.hpp"

namespace alpa {

inline constexpr std::int64_t kMostDevices = 1 << 14;  ///< of a cluster

/// Checks over several keys. `root` holds the values as written, for their places; a check whose
/// keys were already reported is skipped.
void check_run(const RunConfig& config, const YamlNode& root, ConfigErrors& errors);
/// The sizes and kinds that the data takes over from the model or the format.
void fill_data_defaults(RunConfig& config, const YamlNode& root);
/// `prefix` is the path of the cluster in `root`: empty, or `cluster`.
void check_cluster(const ClusterConfig& cluster, const YamlNode& root, const std::string& prefix,
                   ConfigErrors& errors);
void check_device(const DeviceKindConfig& device, const YamlNode& root, const std::string& prefix,
                  ConfigErrors& errors);
/// Measured tables: work and (of collectives) time rise, no table is there twice. `path`: of the
/// value of `kernels` or `collectives`.
void check_kernel_tables(const KernelTablesConfig& tables, const YamlNode& root,
                         const std::string& path, ConfigErrors& errors);
void check_collective_tables(const std::vector<CollectiveTableConfig>& tables, const YamlNode& root,
                             const std::string& path, ConfigErrors& errors);
/// Names and inputs of `model.layers`, and how many layers it stands for.
void check_layers(const CustomConfig& model, const YamlNode& root, ConfigErrors& errors);

/// The value at a dotted path with indices (`hosts[0].device`), or the innermost value around it
/// that is written.
[[nodiscard]] const YamlNode& written_at(const YamlNode& root, std::string_view path);
/// Is there a value at that very path?
[[nodiscard]] bool is_written(const YamlNode& root, std::string_view path);

/// Reports mistakes that take several values to see.
struct CrossCheck {
  const YamlNode& root;
  ConfigErrors& errors;

  /// None of these was reported already.
  [[nodiscard]] bool sound(const std::vector<std::string>& paths) const;
  /// At the value of `path`, or at what should hold it.
  void refuse(const std::string& path, const std::string& found, const std::string& expected) const;
};

/// Whether the data is complete and the model takes it.
void check_data(const CrossCheck& check, const RunConfig& config);

}  // namespace alpa
