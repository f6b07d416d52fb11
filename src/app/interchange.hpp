#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "alpa/checkpoint/load.hpp"
#include "alpa/checkpoint/safetensors.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/runtime/engine.hpp"

namespace alpa {

/// Names and shapes that others expect of the parameters of a preset: gpt as GPT-2's in Hugging
/// Face (linear layers [in, out], query, key and value in one), llama as Llama's there ([out, in],
/// each by itself); everything else, and models with a parameter that those do not have, under our
/// own names. In the order of the graph.
[[nodiscard]] std::vector<TensorInFile> tensors_in_file(Preset preset, const Graph& graph);

/// The same under our own names.
[[nodiscard]] std::vector<TensorInFile> own_tensors(const Graph& graph);

/// Writes the parameters of a checkpoint of this model, a tensor after the other.
/// @throws UserError (76) listing what the checkpoint lacks; SystemError (74)
void export_parameters(const Checkpoint& checkpoint, Preset preset, const Graph& graph,
                       const std::filesystem::path& file);

/// What checkpoint.init_from names: a safetensors file, a checkpoint, or a run directory, whose
/// newest valid one counts. @throws UserError (66, 76)
[[nodiscard]] std::string find_initial(const std::string& init_from,
                                       const std::function<void(const std::string&)>& warn);

/// Puts this rank's boxes of the parameters there into the engine, rounded to their dtype. `found`
/// is what find_initial returned.
/// @throws UserError (76) listing every tensor that is missing, surplus or of another shape;
/// nothing
///         is changed then
void load_initial(const std::string& found, Preset preset, const Graph& graph, Engine& engine);

/// The newest valid checkpoint of `--resume WHAT` (auto, none or a directory) and this run.
/// @throws UserError (66) if WHAT is a directory without one; (76) if there are only damaged ones
[[nodiscard]] std::optional<Checkpoint> find_checkpoint(
    const std::string& resume, const std::filesystem::path& run_directory,
    const std::function<void(const std::string&)>& warn);

}  // namespace alpa
