#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "alpa/checkpoint/load.hpp"
#include "alpa/checkpoint/write.hpp"

namespace alpa {

/// Tensors of every type and rank, one of them with a name made to escape.
inline std::vector<StateTensor> example_tensors() {
  return {{"layers.0.weight", {6, 10}, DType::f32},
          {"layers.0.bias", {7}, DType::f64},
          {"layers.0.query", {4, 3, 5}, DType::f32},
          {"count", {}, DType::i32},
          {"half", {9, 2}, DType::bf16},
          {"../../evil\n%d", {5}, DType::f64}};
}

/// Byte `i` of the whole tensor in the state after `step`: any mixture of steps, tensors or places
/// shows.
inline std::byte state_byte(std::size_t tensor, std::size_t i, std::int64_t step) {
  const std::uint64_t mixed =
      (i + 1) * 0x9E3779B97F4A7C15ULL + tensor * 1000003 + static_cast<std::uint64_t>(step) * 7919;
  return static_cast<std::byte>(mixed >> 40U);
}

/// Dense bytes of one box of the state.
inline std::vector<std::byte> state_box(const std::vector<StateTensor>& tensors, std::size_t tensor,
                                        const Box& box, std::int64_t step) {
  const Shape& shape = tensors[tensor].shape;
  const auto element = static_cast<std::size_t>(size_of(tensors[tensor].dtype));
  std::vector<std::byte> bytes;
  for (std::int64_t i = 0; i < num_elements(box.extent); ++i) {
    std::int64_t rest = i;
    std::int64_t place = 0;
    std::int64_t stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      place += (box.offset[d] + rest % box.extent[d]) * stride;
      rest /= box.extent[d];
      stride *= shape[d];
    }
    for (std::size_t b = 0; b < element; ++b) {
      bytes.push_back(state_byte(tensor, static_cast<std::size_t>(place) * element + b, step));
    }
  }
  return bytes;
}

/// Pieces of rank r of `ranks`: tensor t is split in dimension t mod rank; the tensor after is
/// whole on one rank. Some ranks hold nothing of a tensor.
inline std::vector<StatePiece> pieces_of_rank(const std::vector<StateTensor>& tensors, int rank,
                                              int ranks) {
  std::vector<StatePiece> pieces;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    Box box = whole_box(tensors[t].shape);
    if (t % 2 == 1 || box.extent.empty()) {
      if (static_cast<int>(t) % ranks != rank) continue;
    } else {
      const std::size_t d = t / 2 % box.extent.size();
      const std::int64_t n = box.extent[d];
      box.offset[d] = n * rank / ranks;
      box.extent[d] = n * (rank + 1) / ranks - box.offset[d];
    }
    if (!is_empty(box)) pieces.push_back({static_cast<std::int32_t>(t), box});
  }
  return pieces;
}

inline CheckpointInfo example_info(std::int64_t step) {
  return {.step = step,
          .model = "abc",
          .run_state = {{"loss scale", "1.0e+00"}, {"note", "two\nlines"}, {"empty", ""}},
          .tensors = example_tensors()};
}

/// Writes the files of all ranks, one after the other.
inline std::vector<StateFile> write_ranks(const std::filesystem::path& folder, std::int64_t step,
                                          int ranks, const IoHook& hook = {}) {
  const auto tensors = example_tensors();
  std::vector<StateFile> files;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto pieces = pieces_of_rank(tensors, rank, ranks);
    RankSnapshot snapshot(tensors, pieces, rank);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const auto bytes =
          state_box(tensors, static_cast<std::size_t>(pieces[i].tensor), pieces[i].box, step);
      std::memcpy(snapshot.piece(i).data(), bytes.data(), bytes.size());
    }
    const StateFile record = snapshot.write(folder, step, hook);
    files.push_back(state_file_from_text(to_text(record)));
  }
  return files;
}

inline Published save(const std::filesystem::path& folder, std::int64_t step, int ranks,
                      int keep = 2, const IoHook& hook = {}) {
  auto files = write_ranks(folder, step, ranks, hook);
  return publish_checkpoint(folder, example_info(step), std::move(files), keep, hook);
}

/// Loads the state as `ranks` ranks would and compares every byte with that after `step`.
inline bool holds_state(const Checkpoint& checkpoint, std::int64_t step, int ranks) {
  const auto tensors = example_tensors();
  check_same_model(checkpoint, "abc", tensors);
  bool equal = checkpoint.info == example_info(step);
  for (int rank = 0; rank < ranks; ++rank) {
    const auto pieces = pieces_of_rank(tensors, rank, ranks);
    std::vector<std::vector<std::byte>> expected;
    std::vector<std::vector<std::byte>> found;
    for (const StatePiece& piece : pieces) {
      expected.push_back(
          state_box(tensors, static_cast<std::size_t>(piece.tensor), piece.box, step));
      found.emplace_back(expected.back().size(), std::byte{0xEE});
    }
    std::vector<LoadPiece> wanted;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      wanted.push_back(
          {tensors[static_cast<std::size_t>(pieces[i].tensor)].name, pieces[i].box, found[i]});
    }
    load_pieces(checkpoint, wanted);
    equal = equal && expected == found;
  }
  return equal;
}

}  // namespace alpa
