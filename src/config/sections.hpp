#pragma once

#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"

namespace alpa {

[[nodiscard]] Section<RunConfig> run_section(const std::vector<std::string>& device_folders);
[[nodiscard]] ValueType<ModelConfig> model_type();
[[nodiscard]] ValueType<std::vector<LayerConfig>> layers_type();
[[nodiscard]] ValueType<std::vector<std::pair<std::string, InputConfig>>> inputs_type();
[[nodiscard]] ValueType<std::vector<OutputConfig>> outputs_type();
[[nodiscard]] Section<DataConfig> data_section();
[[nodiscard]] Section<TrainingConfig> training_section();
[[nodiscard]] Section<OptimizerConfig> optimizer_section();
[[nodiscard]] Section<CheckpointConfig> checkpoint_section();
[[nodiscard]] Section<LoggingConfig> logging_section();
[[nodiscard]] Section<ParallelConfig> parallel_section();
/// `device_folders`: where devices that are only named are looked up, in this order.
[[nodiscard]] Section<ClusterConfig> cluster_section(
    const std::vector<std::string>& device_folders);
[[nodiscard]] Section<DeviceKindConfig> device_section();
/// Measured tables of a device kind and of a cluster.
[[nodiscard]] ValueType<KernelTablesConfig> kernel_tables_type();
[[nodiscard]] ValueType<std::vector<CollectiveTableConfig>> collective_tables_type();

/// Where the devices of a cluster file are looked up.
[[nodiscard]] std::vector<std::string> device_folders_for(const std::string& file);

/// Keys of one preset; the first line of each group of `--help model`.
[[nodiscard]] std::vector<KeyHelp> preset_help(Preset preset);
/// Operators of `model.layers` with their keys.
[[nodiscard]] std::vector<KeyHelp> layer_help();

}  // namespace alpa
