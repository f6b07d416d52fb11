#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "alpa/device/device.hpp"

namespace alpa::kernels {

/// Where the pieces of one launch lie in the dimension of one letter.
struct LetterSize {
  std::int64_t offset = 0;  ///< first global index held
  std::int64_t extent = 0;  ///< indices held
  std::int64_t full = 0;    ///< size of the whole dimension
  friend bool operator==(const LetterSize&, const LetterSize&) = default;
};

/// The letters of one launch and their sizes, gathered from its pieces.
class Letters {
 public:
  /// Notes the sizes of a piece's dimensions.
  /// @pre one letter per dimension, and equal letters agree in offset, extent and full size
  void add(std::string_view dims, const Piece& piece);

  [[nodiscard]] const LetterSize& at(char letter) const;
  [[nodiscard]] std::int64_t extent(char letter) const { return at(letter).extent; }
  /// Elements of a dense piece with these dimensions.
  [[nodiscard]] std::int64_t elements(std::string_view dims) const;

 private:
  std::array<LetterSize, 256> sizes_{};
  std::array<bool, 256> known_{};
};

/// `dims` without `letter`; `dims` without any letter of `others`.
[[nodiscard]] Dims without(std::string_view dims, char letter);
[[nodiscard]] Dims without(std::string_view dims, std::string_view others);

/// A nest of loops, one per letter, outermost first.
struct Loops {
  Dims letters;
  Shape extents;
};
[[nodiscard]] Loops loops_over(std::string_view letters, const Letters& sizes);

/// A number that is affine in the loop indices: base + sum of stride[i] * index[i]. The place of an
/// element in a buffer is one, the global index of a letter is one, a random stream's index is one.
struct Affine {
  std::int64_t base = 0;
  std::vector<std::int64_t> strides;  ///< one per loop, 0 where the number does not depend on it
};

/// Place in a dense local piece of the element that the loops stand at; broadcast over other loops.
[[nodiscard]] Affine element_of(std::string_view dims, const Loops& loops, const Letters& sizes);

/// Global index of `letter`.
[[nodiscard]] Affine index_of(char letter, const Loops& loops, const Letters& sizes);

/// Row-major index in the whole tensor, with the global batch in the place of letter 'b'.
///
/// Example: dims "bt", full [2, 8], batch_origin 4: element (1, 3) has index (4 + 1) * 8 + 3.
[[nodiscard]] Affine global_index_of(std::string_view dims, const Loops& loops,
                                     const Letters& sizes, const Launch& launch);

/// Calls f(values), the values of the affine numbers, for every index of the nest in row-major
/// order.
template <class F>
void for_each(const Loops& loops, std::span<const Affine> numbers, const F& f) {
  const std::size_t rank = loops.extents.size();
  std::vector<std::int64_t> at;
  at.reserve(numbers.size());
  for (const Affine& number : numbers) at.push_back(number.base);
  const std::span<const std::int64_t> values(at);
  if (num_elements(loops.extents) == 0) return;
  if (rank == 0) return f(values);

  const auto advance = [&](std::size_t loop, std::int64_t by) {
    for (std::size_t i = 0; i < at.size(); ++i) at[i] += numbers[i].strides[loop] * by;
  };
  std::vector<std::int64_t> index(rank, 0);
  while (true) {
    for (std::int64_t i = 0; i < loops.extents[rank - 1]; ++i) {
      f(values);
      advance(rank - 1, 1);
    }
    advance(rank - 1, -loops.extents[rank - 1]);
    std::size_t loop =
        rank - 1;  // of the outer loops, step the innermost one that is not at its end
    while (true) {
      if (loop == 0) return;
      --loop;
      advance(loop, 1);
      if (++index[loop] < loops.extents[loop]) break;
      advance(loop, -loops.extents[loop]);
      index[loop] = 0;
    }
  }
}

}  // namespace alpa::kernels
