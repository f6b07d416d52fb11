#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "alpa/config/run_config.hpp"
#include "alpa/data/dataset.hpp"
#include "alpa/graph/graph.hpp"

namespace alpa {

/// Writes text as tokens beside the run, where the source is text. One rank calls it first.
void prepare_data(const RunConfig& config, const std::filesystem::path& run_directory);

/// Checks that what the data section names is there and readable. @throws UserError (66)
void check_data_paths(const RunConfig& config);

/// The data, which has a field for every input of the graph.
/// @throws UserError (65, 66) for data that is bad or missing, (78) if it does not fit the model
[[nodiscard]] Dataset open_dataset(const RunConfig& config, const Graph& graph,
                                   const std::filesystem::path& run_directory);

/// Below what the elements of an integer input must be, by its name: rows of the table that it is
/// looked up in, scores that it picks from. Inputs that nothing indexes with are not in it.
[[nodiscard]] std::map<std::string, std::int64_t> id_limits(const Graph& graph);

}  // namespace alpa
