#include "alpa/checkpoint/load.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <system_error>

#include "alpa/base/error.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/hdf5.hpp"
#include "alpa/storage/sha256.hpp"

#include "manifest.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostDifferences = 20;

[[noreturn]] void invalid(const fs::path& path, const std::string& why) {
  throw UserError("checkpoint file " + printable(path.string()) + ": " + why, ExitCode::checkpoint);
}

void verify_file(const fs::path& path, const StateFile& file) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (!fs::exists(status)) invalid(path, "is missing");
  if (!fs::is_regular_file(status)) invalid(path, "is not a regular file");
  const std::uintmax_t size = fs::file_size(path, error);
  if (error || size != file.size) {
    invalid(path, "has " + std::to_string(size) + " bytes, expected " + std::to_string(file.size));
  }
  const std::string found = sha256_of_file(path);
  if (found != file.sha256) {
    invalid(path, "is damaged: its SHA-256 is " + found + ", expected " + file.sha256);
  }
}

/// A short statement of each way in which two lists of tensors differ.
std::vector<std::string> differences(const std::vector<StateTensor>& saved,
                                     const std::vector<StateTensor>& wanted) {
  std::map<std::string, const StateTensor*> by_name;
  for (const StateTensor& tensor : saved) by_name[tensor.name] = &tensor;
  const auto kind = [](const StateTensor& t) {
    return std::string(to_string(t.dtype)) + to_string(t.shape);
  };
  std::vector<std::string> found;
  for (const StateTensor& tensor : wanted) {
    const auto at = by_name.find(tensor.name);
    if (at == by_name.end()) {
      found.push_back("missing: " + tensor.name + " " + kind(tensor));
      continue;
    }
    if (kind(*at->second) != kind(tensor)) {
      found.push_back(tensor.name + ": saved as " + kind(*at->second) + ", the model has " +
                      kind(tensor));
    }
    by_name.erase(at);
  }
  for (const auto& [name, tensor] : by_name) {
    found.push_back("not in the model: " + name + " " + kind(*tensor));
  }
  return found;
}

/// Copies the dense box `part`, which lies inside `whole`, to its place in dense `whole`.
///
/// Example: part [0:2,1:2] into whole [0:2,0:3]: elements 0, 1 go to places 1, 4.
void paste(const std::byte* part_data, const Box& part, std::byte* whole_data, const Box& whole,
           std::size_t element) {
  const std::size_t rank = part.extent.size();
  const std::size_t row = element * static_cast<std::size_t>(rank == 0 ? 1 : part.extent[rank - 1]);
  const std::int64_t rows = rank == 0 ? 1 : num_elements(part.extent) / part.extent[rank - 1];
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t rest = r;
    std::int64_t place = 0;
    std::int64_t stride = 1;
    for (std::size_t d = rank; d-- > 0;) {
      const bool last = d + 1 == rank;
      const std::int64_t index = last ? 0 : rest % part.extent[d];
      if (!last) rest /= part.extent[d];
      place += (part.offset[d] - whole.offset[d] + index) * stride;
      stride *= whole.extent[d];
    }
    std::memcpy(whole_data + static_cast<std::size_t>(place) * element, part_data, row);
    part_data += row;
  }
}

/// Reads what `want` needs of one stored piece.
void load_overlap(const H5Reader& reader, const H5Dataset& dataset, const Box& stored,
                  const LoadPiece& want) {
  const Box common = intersect(stored, want.box);
  Box inside = common;
  for (std::size_t d = 0; d < inside.offset.size(); ++d) inside.offset[d] -= stored.offset[d];
  if (common == want.box) {
    reader.read(dataset, inside, want.destination.data());
    return;
  }
  const auto element = static_cast<std::size_t>(size_of(dataset.type));
  std::vector<std::byte> part(static_cast<std::size_t>(num_elements(common.extent)) * element);
  reader.read(dataset, inside, part.data());
  paste(part.data(), common, want.destination.data(), want.box, element);
}

using Wanted = std::map<std::int32_t, std::vector<const LoadPiece*>>;

/// Load pieces by tensor; their boxes and sizes are the caller's promise.
Wanted by_tensor(const Checkpoint& checkpoint, std::span<const LoadPiece> pieces) {
  std::map<std::string, std::int32_t> index;
  const auto& tensors = checkpoint.info.tensors;
  for (const StateTensor& tensor : tensors) {
    index.emplace(tensor.name, static_cast<std::int32_t>(index.size()));
  }
  Wanted wanted;
  for (const LoadPiece& piece : pieces) {
    const auto found = index.find(piece.tensor);
    if (found == index.end()) {
      invalid(checkpoint.directory, "has no tensor " + printable(piece.tensor));
    }
    const StateTensor& tensor = tensors[static_cast<std::size_t>(found->second)];
    ALPA_CHECK(contains(whole_box(tensor.shape), piece.box));
    ALPA_CHECK(static_cast<std::int64_t>(piece.destination.size()) ==
               num_elements(piece.box.extent) * size_of(tensor.dtype));
    if (!is_empty(piece.box)) wanted[found->second].push_back(&piece);
  }
  return wanted;
}

void load_file(const Checkpoint& checkpoint, const StateFile& file, const Wanted& wanted) {
  const auto& tensors = checkpoint.info.tensors;
  const auto names = dataset_names(tensors, file.pieces);
  std::unique_ptr<const H5Reader> reader;  // opened only if something in it is wanted
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    const StatePiece& stored = file.pieces[i];
    const auto found = wanted.find(stored.tensor);
    if (found == wanted.end()) continue;
    const StateTensor& tensor = tensors[static_cast<std::size_t>(stored.tensor)];
    const H5Dataset dataset{names[i], stored.box.extent, storage_type(tensor.dtype)};
    for (const LoadPiece* want : found->second) {
      if (is_empty(intersect(stored.box, want->box))) continue;
      if (!reader) {
        reader = std::make_unique<H5Reader>(checkpoint.directory / file.name, ExitCode::checkpoint);
      }
      load_overlap(*reader, dataset, stored.box, *want);
    }
  }
}

}  // namespace

Checkpoint read_checkpoint(const fs::path& directory) {
  Checkpoint checkpoint;
  checkpoint.directory = directory;
  const fs::path path = directory / kManifestName;
  try {
    parse_manifest(read_file(path), checkpoint);
  } catch (const Error& error) {
    invalid(path, error.what());
  }
  std::set<std::string> names;
  for (const StateFile& file : checkpoint.files) names.insert(file.name);
  if (names.size() != checkpoint.files.size()) invalid(path, "names a file twice");
  const std::int64_t step = step_of(directory.lexically_normal().filename().string());
  if (step >= 0 && step != checkpoint.info.step) {
    invalid(path, "is of step " + std::to_string(checkpoint.info.step));
  }
  return checkpoint;
}

Checkpoint verify_checkpoint(const fs::path& directory) {
  Checkpoint checkpoint = read_checkpoint(directory);
  for (const StateFile& file : checkpoint.files) {
    try {
      verify_file(directory / file.name, file);
    } catch (const SystemError& error) {
      invalid(directory / file.name, error.what());
    }
  }
  return checkpoint;
}

FoundCheckpoint find_newest_valid(const fs::path& checkpoints) {
  FoundCheckpoint found;
  const auto steps = steps_in(checkpoints);
  for (const std::int64_t step : steps) {
    try {
      found.newest = verify_checkpoint(checkpoints / checkpoint_name(step));
      return found;
    } catch (const UserError& error) {
      found.warnings.push_back("skipped " + checkpoint_name(step) + ": " + error.what());
    }
  }
  if (steps.empty()) return found;
  std::string message = "none of the " + std::to_string(steps.size()) + " checkpoints in " +
                        printable(checkpoints.string()) + " is valid:";
  for (const std::string& warning : found.warnings) message += "\n  " + warning;
  throw UserError(message + "\nmove them away to start anew", ExitCode::checkpoint);
}

void check_same_model(const Checkpoint& checkpoint, const std::string& model,
                      const std::vector<StateTensor>& tensors) {
  const auto found = differences(checkpoint.info.tensors, tensors);
  if (found.empty() && checkpoint.info.model == model) return;
  std::string message =
      "checkpoint " + printable(checkpoint.directory.string()) + " is of another model:";
  if (found.empty()) {
    message += "\n  the tensors are the same, but its fingerprint is " +
               printable(checkpoint.info.model) + ", expected " + printable(model) +
               ": model options, data, seed, global batch or optimizer differ";
  }
  for (std::size_t i = 0; i < std::min(found.size(), kMostDifferences); ++i) {
    message += "\n  " + printable(found[i]);
  }
  if (found.size() > kMostDifferences) {
    message += "\n  and " + std::to_string(found.size() - kMostDifferences) + " more";
  }
  throw UserError(message + "\nnothing was loaded", ExitCode::checkpoint);
}

void load_pieces(const Checkpoint& checkpoint, std::span<const LoadPiece> pieces) {
  const Wanted wanted = by_tensor(checkpoint, pieces);
  for (const StateFile& file : checkpoint.files) load_file(checkpoint, file, wanted);
}

}  // namespace alpa
