#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "alpa/checkpoint/load.hpp"
#include "alpa/checkpoint/state.hpp"

namespace alpa {

inline constexpr const char* kManifestName = "manifest.txt";
inline constexpr const char* kStateName = "state.h5";

/// The manifest of a checkpoint: lines of words, the last the SHA-256 of all before it.
///
///     alpa-checkpoint 1
///     step 1000
///     model 3f2a…
///     state data.position 32000
///     tensor layers.0.weight f32 512,2048
///     file rank_00000.h5 4196352 9c1d…
///     piece 0 0,0 256,2048
///     end 77ab…
///
/// Pieces follow their file: index of the tensor, offset, extent ("-" for a scalar).
[[nodiscard]] std::string manifest_text(const CheckpointInfo& info,
                                        const std::vector<StateFile>& files);

/// Fills info and files of `checkpoint` from the text. @throws UserError (76) saying what is wrong
void parse_manifest(std::string_view text, Checkpoint& checkpoint);

/// Dataset of each piece in its rank file: the escaped name of the tensor, '@' and the number of
/// earlier pieces of that tensor in the file.
[[nodiscard]] std::vector<std::string> dataset_names(const std::vector<StateTensor>& tensors,
                                                     const std::vector<StatePiece>& pieces);

/// Number in "step_00001000"; -1 for any other name.
[[nodiscard]] std::int64_t step_of(const std::string& name);

/// Steps of the checkpoint folders present, newest first. Links are not counted.
[[nodiscard]] std::vector<std::int64_t> steps_in(const std::filesystem::path& checkpoints);

}  // namespace alpa
