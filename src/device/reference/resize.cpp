#include <algorithm>
#include <cstring>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

/// Dimensions of a piece around `place`: so many blocks, each of `extent` runs of `run` bytes.
struct Blocks {
  std::int64_t count = 1, extent = 1, run = 1;
};

Blocks blocks_of(const Piece& piece, std::size_t place) {
  Blocks blocks{1, piece.box.extent.at(place), size_of(piece.dtype)};
  for (std::size_t d = 0; d < place; ++d) blocks.count *= piece.box.extent[d];
  for (std::size_t d = place + 1; d < piece.box.extent.size(); ++d) {
    blocks.run *= piece.box.extent[d];
  }
  return blocks;
}

/// Copies `extent` runs of every block from index `from_begin` to index `to_begin`.
void copy_blocks(const Piece& from, std::int64_t from_begin, const Piece& to, std::int64_t to_begin,
                 std::int64_t extent, std::size_t place) {
  const Blocks source = blocks_of(from, place), target = blocks_of(to, place);
  ALPA_CHECK(from.dtype == to.dtype && source.count == target.count && source.run == target.run);
  ALPA_CHECK(from_begin + extent <= source.extent && to_begin + extent <= target.extent);
  for (std::int64_t b = 0; b < source.count; ++b) {
    std::memcpy(to.data + (b * target.extent + to_begin) * target.run,
                from.data + (b * source.extent + from_begin) * source.run,
                static_cast<std::size_t>(extent * source.run));
  }
}

}  // namespace

void run(const Concatenate& kernel, const Launch& launch) {
  ALPA_CHECK(launch.results.size() == 1);
  const std::size_t place = kernel.result.find(kernel.letter);
  std::int64_t begin = 0;
  for (const Piece& operand : launch.operands) {
    const std::int64_t extent = operand.box.extent.at(place);
    copy_blocks(operand, 0, launch.results[0], begin, extent, place);
    begin += extent;
  }
  ALPA_CHECK(begin == launch.results[0].box.extent.at(place));
}

void run(const Slice& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const std::size_t place = kernel.operand.find(kernel.letter);
  copy_blocks(launch.operands[0], kernel.begin, launch.results[0], 0, kernel.extent, place);
}

namespace {

/// Calls f(place in the small image, place in the large one) for each element of the latter.
template <class F>
void for_each_pixel(const Piece& small, const Piece& large, std::int64_t factor, const F& f) {
  const Shape &s = small.box.extent, &l = large.box.extent;
  ALPA_CHECK(s[0] == l[0] && s[3] == l[3] && l[1] == factor * s[1] && l[2] == factor * s[2]);
  std::int64_t to = 0;
  for (std::int64_t b = 0; b < l[0]; ++b) {
    for (std::int64_t h = 0; h < l[1]; ++h) {
      for (std::int64_t w = 0; w < l[2]; ++w) {
        const std::int64_t from = ((b * s[1] + h / factor) * s[2] + w / factor) * s[3];
        for (std::int64_t c = 0; c < l[3]; ++c) f(from + c, to++);
      }
    }
  }
}

}  // namespace

void run(const Upsample& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &x = launch.operands[0], &y = launch.results[0];
  for_each_pixel(x, y, kernel.factor,
                 [&](std::int64_t from, std::int64_t to) { store(y, to, load(x, from)); });
}

void run(const UpsampleGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &dy = launch.operands[0], &dx = launch.results[0];
  std::vector<double> sums(static_cast<std::size_t>(num_elements(dx.box.extent)));
  for_each_pixel(dx, dy, kernel.factor, [&](std::int64_t to, std::int64_t from) {
    sums[static_cast<std::size_t>(to)] += load(dy, from);
  });
  for (std::size_t i = 0; i < sums.size(); ++i) store(dx, static_cast<std::int64_t>(i), sums[i]);
}

}  // namespace alpa::reference
