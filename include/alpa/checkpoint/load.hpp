#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "alpa/checkpoint/state.hpp"

namespace alpa {

/// A checkpoint as its manifest describes it.
struct Checkpoint {
  std::filesystem::path directory;
  CheckpointInfo info;
  std::vector<StateFile> files;
};

/// Reads the manifest alone, which must match its own digest: for ranks that trust the rank that
/// verified. @throws UserError (76) with the file and what is wrong
[[nodiscard]] Checkpoint read_checkpoint(const std::filesystem::path& directory);

/// Reads the manifest and compares size and SHA-256 of every file with it.
/// @throws UserError (76) with the file and what is wrong
[[nodiscard]] Checkpoint verify_checkpoint(const std::filesystem::path& directory);

struct FoundCheckpoint {
  std::optional<Checkpoint> newest;   ///< none if there is no checkpoint at all
  std::vector<std::string> warnings;  ///< newer ones that are damaged, and why
};

/// The newest checkpoint in the folder that verifies. The hint `latest` is not believed.
/// @throws UserError (76) with every reason if there are checkpoints but none is valid
[[nodiscard]] FoundCheckpoint find_newest_valid(const std::filesystem::path& checkpoints);

/// Compares a checkpoint with the model that wants to load it.
/// @throws UserError (76) listing missing and surplus tensors, shapes and types that differ
void check_same_model(const Checkpoint& checkpoint, const std::string& model,
                      const std::vector<StateTensor>& tensors);

/// A box of a tensor to be read, dense and row-major, in the tensor's dtype.
struct LoadPiece {
  std::string tensor;
  Box box;
  std::span<std::byte> destination;
};

/// Assembles the boxes from the rank files, however many ranks wrote them. Never opens state.h5;
/// shapes come from the manifest that check_same_model compared with the model, and a file that
/// disagrees is refused.
/// @throws UserError (76)
void load_pieces(const Checkpoint& checkpoint, std::span<const LoadPiece> pieces);

}  // namespace alpa
