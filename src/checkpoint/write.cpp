#include "alpa/checkpoint/write.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/checkpoint/load.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/sha256.hpp"

#include "manifest.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporary = ".tmp";

fs::path temporary_of(const fs::path& checkpoints, std::int64_t step) {
  return checkpoints / (checkpoint_name(step) + kTemporary);
}

std::string rank_file_name(int rank) {
  const std::string digits = std::to_string(rank);
  return "rank_" + std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits + ".h5";
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);  // removes links, never what they lead to
  if (error) throw SystemError(io_message("cannot remove", path, error.value()));
}

std::vector<std::byte> state_image(const CheckpointInfo& info,
                                   const std::vector<StateFile>& files) {
  std::vector<H5VirtualDataset> whole;
  whole.reserve(info.tensors.size());
  for (const StateTensor& tensor : info.tensors) {
    whole.push_back({{escape_name(tensor.name), tensor.shape, storage_type(tensor.dtype)}, {}});
  }
  for (const StateFile& file : files) {
    const auto names = dataset_names(info.tensors, file.pieces);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const StatePiece& piece = file.pieces[i];
      whole[static_cast<std::size_t>(piece.tensor)].parts.push_back(
          {file.name, names[i], piece.box});
    }
  }
  H5Attributes attributes = {{"step", std::to_string(info.step)}, {"model", info.model}};
  for (const auto& [key, value] : info.run_state) attributes.emplace_back("state." + key, value);
  return hdf5_of_virtual_datasets(whole, attributes);
}

StateFile record_of(const std::string& name, std::span<const std::byte> content) {
  return {name, content.size(), sha256_of(content), {}};
}

/// Removes files that an earlier attempt at this step left among the new ones.
void remove_strangers(const fs::path& folder, const std::vector<StateFile>& files) {
  std::set<std::string> known;
  for (const StateFile& file : files) known.insert(file.name);
  std::vector<fs::path> strangers;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!known.contains(entry->path().filename().string())) strangers.push_back(entry->path());
  }
  if (error) throw SystemError(io_message("cannot read folder", folder, error.value()));
  for (const fs::path& stranger : strangers) remove_tree(stranger);
}

/// The rank that publishes must see what the others wrote.
void check_present(const fs::path& folder, const std::vector<StateFile>& files) {
  for (const StateFile& file : files) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(folder / file.name, error);
    if (!error && size == file.size) continue;
    throw SystemError(
        printable((folder / file.name).string()) + " " +
        (error ? "is not seen by the rank that publishes"
               : "has " + std::to_string(size) + " bytes, expected " + std::to_string(file.size)) +
        ": the run directory must be on a file system that all hosts share (output=DIR)");
  }
}

/// Gives the finished folder its name. If that name is taken (a damaged checkpoint that a restart
/// skipped), both change places in one step, so that neither is ever missing.
void put_in_place(const fs::path& temporary, const fs::path& target, const IoHook& hook) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(target, error))) {
    rename_durably(temporary, target, hook);
    return;
  }
  const IoFault fault = hook ? hook("rename") : IoFault::none;
  if (fault == IoFault::no_space || fault == IoFault::io_error) {
    throw SystemError(
        io_message("cannot replace", target, fault == IoFault::no_space ? ENOSPC : EIO));
  }
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    sync_directory(target.parent_path(), hook);
    remove_tree(temporary);
    return;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    throw SystemError(io_message("cannot replace", target, errno));
  }
  fs::path aside = target;  // the file system cannot exchange names
  aside += std::string(".old") + kTemporary;
  remove_tree(aside);
  rename_durably(target, aside, hook);
  rename_durably(temporary, target, hook);
  remove_tree(aside);
}

/// Everything the manifest names is there in its size. Much cheaper than reading it.
bool looks_complete(const fs::path& directory) {
  try {
    const Checkpoint checkpoint = read_checkpoint(directory);
    return std::all_of(checkpoint.files.begin(), checkpoint.files.end(), [&](const auto& file) {
      std::error_code error;
      return fs::file_size(directory / file.name, error) == file.size && !error;
    });
  } catch (const UserError&) {
    return false;
  }
}

/// Renamed first: a folder that is being removed must not look like a checkpoint.
void remove_checkpoint(const fs::path& checkpoints, std::int64_t step, const IoHook& hook) {
  if (hook && hook("prune") != IoFault::none) {
    throw SystemError(io_message("cannot remove", checkpoints / checkpoint_name(step), EIO));
  }
  const fs::path doomed = checkpoints / (checkpoint_name(step) + ".old" + kTemporary);
  remove_tree(doomed);
  std::error_code error;
  fs::rename(checkpoints / checkpoint_name(step), doomed, error);
  if (error) throw SystemError(io_message("cannot rename", doomed, error.value()));
  remove_tree(doomed);
}

void prune(const fs::path& checkpoints, std::int64_t newest, int keep, const IoHook& hook) {
  int kept = 0;
  for (const std::int64_t step : steps_in(checkpoints)) {
    if (step > newest || kept >= std::max(2, keep)) {
      remove_checkpoint(checkpoints, step, hook);
    } else if (looks_complete(checkpoints / checkpoint_name(step))) {
      ++kept;
    }
  }
}

template <class Action>
void try_or_warn(std::vector<std::string>& warnings, Action action) {
  try {
    action();
  } catch (const SystemError& error) {
    warnings.emplace_back(error.what());
  }
}

}  // namespace

RankSnapshot::RankSnapshot(const std::vector<StateTensor>& tensors, std::vector<StatePiece> pieces,
                           int rank)
    : rank_(rank), pieces_(std::move(pieces)) {
  const auto names = dataset_names(tensors, pieces_);
  std::vector<H5Dataset> datasets;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const StateTensor& tensor = tensors[static_cast<std::size_t>(pieces_[i].tensor)];
    const Box& box = pieces_[i].box;
    ALPA_CHECK(!is_empty(box) && contains(whole_box(tensor.shape), box));
    datasets.push_back({names[i], box.extent, storage_type(tensor.dtype)});
    sizes_.push_back(static_cast<std::size_t>(num_elements(box.extent) * size_of(tensor.dtype)));
  }
  layout_ = lay_out_hdf5(datasets, {{"rank", std::to_string(rank)}});
}

std::span<std::byte> RankSnapshot::piece(std::size_t i) {
  return std::span(layout_.image).subspan(layout_.offset[i], sizes_[i]);
}

StateFile RankSnapshot::write(const fs::path& checkpoints, std::int64_t step,
                              const IoHook& hook) const {
  const IoFault fault = hook ? hook("stage") : IoFault::none;
  const fs::path folder = temporary_of(checkpoints, step);
  if (fault == IoFault::no_space || fault == IoFault::io_error) {
    throw SystemError(
        io_message("cannot create", folder, fault == IoFault::no_space ? ENOSPC : EIO));
  }
  make_directories(folder, ExitCode::io);
  StateFile record = record_of(rank_file_name(rank_), layout_.image);
  record.pieces = pieces_;
  write_file(folder / record.name, layout_.image, hook);
  return record;
}

Published publish_checkpoint(const fs::path& checkpoints, const CheckpointInfo& info,
                             std::vector<StateFile> files, int keep, const IoHook& hook) {
  const fs::path temporary = temporary_of(checkpoints, info.step);
  const fs::path target = checkpoints / checkpoint_name(info.step);
  try {
    check_coverage(info.tensors, files);
    make_directories(temporary, ExitCode::io);
    check_present(temporary, files);
    remove_strangers(temporary, files);
    const auto state = state_image(info, files);
    files.push_back(record_of(kStateName, state));
    write_file(temporary / kStateName, state, hook);
    const std::string manifest = manifest_text(info, files);
    write_file(temporary / kManifestName, std::as_bytes(std::span(manifest)), hook);
    sync_directory(temporary, hook);
    put_in_place(temporary, target, hook);
  } catch (const Error&) {
    abandon_checkpoint(checkpoints, info.step);
    throw;
  }
  Published published{target, {}};
  try_or_warn(published.warnings, [&] {
    replace_file(checkpoints / "latest", checkpoint_name(info.step) + "\n", hook);
  });
  try_or_warn(published.warnings, [&] { prune(checkpoints, info.step, keep, hook); });
  return published;
}

void abandon_checkpoint(const fs::path& checkpoints, std::int64_t step) {
  std::error_code error;
  fs::remove_all(temporary_of(checkpoints, step), error);
}

std::vector<std::string> remove_leftovers(const fs::path& checkpoints) {
  std::vector<std::string> removed;
  std::error_code error;
  for (fs::directory_iterator entry(checkpoints, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(kTemporary)) continue;
    const std::string stem = name.substr(0, name.find('.'));
    if (step_of(stem) >= 0 || name == std::string("latest") + kTemporary) removed.push_back(name);
  }
  for (const std::string& name : removed) remove_tree(checkpoints / name);
  return removed;
}

}  // namespace alpa
