#include <cstring>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

void copy_element(const Piece& to, std::int64_t to_place, const Piece& from,
                  std::int64_t from_place) {
  const std::int64_t size = size_of(to.dtype);
  std::memcpy(to.data + to_place * size, from.data + from_place * size,
              static_cast<std::size_t>(size));
}

/// Index within the pieces' box of `index` of the whole dimension.
std::int64_t local_index(const LetterSize& size, std::int64_t index) {
  ALPA_CHECK(index >= size.offset && index < size.offset + size.extent);
  return index - size.offset;
}

}  // namespace

void run(const Select& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &operand = launch.operands[0], &result = launch.results[0];
  ALPA_CHECK(operand.dtype == result.dtype);
  const Dims rest = without(kernel.operand, kernel.letter);
  Letters sizes;
  sizes.add(kernel.operand, operand);
  sizes.add(rest, result);

  // The selected letter is the outermost loop; the other loops run at its one index.
  Loops loops = loops_over(kernel.letter + rest, sizes);
  std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                element_of(rest, loops, sizes)};
  places[0].base += places[0].strides[0] * local_index(sizes.at(kernel.letter), kernel.index);
  loops.extents[0] = 1;
  for_each(loops, places, [&](auto at) { copy_element(result, at[1], operand, at[0]); });
}

void run(const Stack& kernel, const Launch& launch) {
  ALPA_CHECK(launch.results.size() == 1);
  const Piece& result = launch.results[0];
  const Dims rest = without(kernel.result, kernel.letter);
  Letters sizes;
  sizes.add(kernel.result, result);
  // One operand per index of the letter, which is whole.
  ALPA_CHECK(sizes.extent(kernel.letter) == sizes.at(kernel.letter).full);
  ALPA_CHECK(sizes.extent(kernel.letter) == static_cast<std::int64_t>(launch.operands.size()));

  for (std::size_t i = 0; i < launch.operands.size(); ++i) {
    const Piece& operand = launch.operands[i];
    ALPA_CHECK(operand.dtype == result.dtype);
    sizes.add(rest, operand);
    Loops loops = loops_over(kernel.letter + rest, sizes);
    std::vector<Affine> places = {element_of(rest, loops, sizes),
                                  element_of(kernel.result, loops, sizes)};
    places[1].base += places[1].strides[0] * static_cast<std::int64_t>(i);
    loops.extents[0] = 1;
    for_each(loops, places, [&](auto at) { copy_element(result, at[1], operand, at[0]); });
  }
}

void run(const View& /*kernel*/, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &from = launch.operands[0], &to = launch.results[0];
  ALPA_CHECK(from.dtype == to.dtype);
  const std::int64_t elements = num_elements(from.box.extent);
  ALPA_CHECK(elements == num_elements(to.box.extent));
  std::memmove(to.data, from.data, static_cast<std::size_t>(elements * size_of(from.dtype)));
}

namespace {

/// Place in a piece of the element at `index` of the whole tensor.
std::int64_t place_of(const Piece& piece, const std::vector<std::int64_t>& index) {
  std::int64_t place = 0;
  for (std::size_t d = 0; d < index.size(); ++d) {
    place = place * piece.box.extent[d] + index[d] - piece.box.offset[d];
  }
  return place;
}

/// Number of trailing dimensions that one contiguous run of the common box can cover: the innermost
/// ones while both pieces hold exactly the common part, and one more.
std::size_t dimensions_of_run(const Box& common, const Box& a, const Box& b) {
  const std::size_t rank = common.extent.size();
  std::size_t covered = 0;
  while (covered < rank) {
    const std::size_t d = rank - 1 - covered;
    ++covered;
    if (common.extent[d] != a.extent[d] || common.extent[d] != b.extent[d]) break;
  }
  return covered;
}

}  // namespace

void run(const CopyBox& /*kernel*/, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &from = launch.operands[0], &to = launch.results[0];
  ALPA_CHECK(from.dtype == to.dtype && from.full == to.full);
  const Box common = intersect(from.box, to.box);
  if (is_empty(common)) return;

  const std::size_t outer = common.extent.size() - dimensions_of_run(common, from.box, to.box);
  std::int64_t run_bytes = size_of(from.dtype);
  for (std::size_t d = outer; d < common.extent.size(); ++d) run_bytes *= common.extent[d];
  std::vector<std::int64_t> index = common.offset;
  while (true) {
    std::memmove(to.data + place_of(to, index) * size_of(to.dtype),
                 from.data + place_of(from, index) * size_of(from.dtype),
                 static_cast<std::size_t>(run_bytes));
    std::size_t d = outer;
    while (d > 0) {
      --d;
      if (++index[d] < common.offset[d] + common.extent[d]) break;
      index[d] = common.offset[d];
      if (d == 0) return;
    }
    if (outer == 0) return;
  }
}

}  // namespace alpa::reference
