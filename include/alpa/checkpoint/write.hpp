#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "alpa/checkpoint/state.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/hdf5.hpp"

namespace alpa {

/// Writing a checkpoint, without MPI:
///   1. every rank fills its RankSnapshot (copies into an HDF5 file image laid out once),
///   2. every rank calls write(), on any thread, while training goes on,
///   3. the caller gathers the records (to_text) on one rank, which calls publish_checkpoint; if
///   any
///      rank failed it calls abandon_checkpoint instead.
/// Until step 3's rename nothing has the name of a checkpoint. `hook` sees, in this order, "stage",
/// then "write" and "fsync" of each file, "rename", and "prune" for each folder removed.
class RankSnapshot {
 public:
  /// Boxes this rank saves; over all ranks they must cover each tensor exactly once.
  RankSnapshot(const std::vector<StateTensor>& tensors, std::vector<StatePiece> pieces, int rank);

  /// Where piece i belongs: dense, row-major, in the tensor's dtype. May not be aligned.
  [[nodiscard]] std::span<std::byte> piece(std::size_t i);

  /// Writes and syncs <checkpoints>/step_….tmp/rank_….h5.
  /// @throws SystemError (74) with path and errno, no half file left
  [[nodiscard]] StateFile write(const std::filesystem::path& checkpoints, std::int64_t step,
                                const IoHook& hook = {}) const;

 private:
  int rank_;
  std::vector<StatePiece> pieces_;
  std::vector<std::size_t> sizes_;
  H5Layout layout_;
};

struct Published {
  std::filesystem::path directory;
  /// What failed after the checkpoint was safe: the hint `latest`, or removing old checkpoints.
  std::vector<std::string> warnings;
};

/// Adds state.h5 and the manifest, makes the checkpoint visible under its name and removes older
/// ones beyond the newest `keep` that are complete (at least 2), and later ones, which belong to a
/// future that was given up. Returns once the checkpoint survives a power cut.
/// @throws SystemError (74) also if a rank's file is not seen here; nothing is left of the new
/// checkpoint and the earlier ones are intact
[[nodiscard]] Published publish_checkpoint(const std::filesystem::path& checkpoints,
                                           const CheckpointInfo& info, std::vector<StateFile> files,
                                           int keep, const IoHook& hook = {});

/// Removes what the ranks wrote of a checkpoint that will not be published.
void abandon_checkpoint(const std::filesystem::path& checkpoints, std::int64_t step);

/// Removes what killed processes left behind. Call at the start, under the run directory's lock.
/// Returns the names removed.
std::vector<std::string> remove_leftovers(const std::filesystem::path& checkpoints);

}  // namespace alpa
