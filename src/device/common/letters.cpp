#include "common/letters.hpp"

#include "alpa/base/error.hpp"

namespace alpa::kernels {

void Letters::add(std::string_view dims, const Piece& piece) {
  ALPA_CHECK(piece.box.extent.size() == dims.size());
  ALPA_CHECK(piece.box.offset.size() == dims.size());
  ALPA_CHECK(piece.full.size() == dims.size());
  for (std::size_t d = 0; d < dims.size(); ++d) {
    const auto letter = static_cast<unsigned char>(dims[d]);
    const LetterSize size{piece.box.offset[d], piece.box.extent[d], piece.full[d]};
    ALPA_CHECK(size.offset >= 0 && size.extent >= 0 && size.offset + size.extent <= size.full);
    ALPA_CHECK(!known_.at(letter) || sizes_.at(letter) == size);
    known_.at(letter) = true;
    sizes_.at(letter) = size;
  }
}

const LetterSize& Letters::at(char letter) const {
  ALPA_CHECK(known_.at(static_cast<unsigned char>(letter)));
  return sizes_.at(static_cast<unsigned char>(letter));
}

std::int64_t Letters::elements(std::string_view dims) const {
  std::int64_t product = 1;
  for (const char letter : dims) product *= extent(letter);
  return product;
}

Dims without(std::string_view dims, char letter) { return without(dims, {&letter, 1}); }

Dims without(std::string_view dims, std::string_view others) {
  Dims rest;
  for (const char letter : dims) {
    if (others.find(letter) == std::string_view::npos) rest += letter;
  }
  return rest;
}

Loops loops_over(std::string_view letters, const Letters& sizes) {
  Loops loops{Dims(letters), {}};
  for (const char letter : letters) loops.extents.push_back(sizes.extent(letter));
  return loops;
}

namespace {

/// Adds `stride` to the loop of `letter`.
void set_stride(Affine& number, char letter, std::int64_t stride, const Loops& loops) {
  const std::size_t loop = loops.letters.find(letter);
  ALPA_CHECK(loop != Dims::npos);
  number.strides[loop] += stride;
}

Affine constant(const Loops& loops) {
  return {0, std::vector<std::int64_t>(loops.letters.size(), 0)};
}

}  // namespace

Affine element_of(std::string_view dims, const Loops& loops, const Letters& sizes) {
  Affine place = constant(loops);
  std::int64_t stride = 1;
  for (std::size_t d = dims.size(); d-- > 0;) {
    set_stride(place, dims[d], stride, loops);
    stride *= sizes.extent(dims[d]);
  }
  return place;
}

Affine index_of(char letter, const Loops& loops, const Letters& sizes) {
  Affine index = constant(loops);
  index.base = sizes.at(letter).offset;
  set_stride(index, letter, 1, loops);
  return index;
}

Affine global_index_of(std::string_view dims, const Loops& loops, const Letters& sizes,
                       const Launch& launch) {
  Affine index = constant(loops);
  std::int64_t stride = 1;
  for (std::size_t d = dims.size(); d-- > 0;) {
    const LetterSize& size = sizes.at(dims[d]);
    const bool batch = dims[d] == 'b';
    index.base += stride * (size.offset + (batch ? launch.batch_origin : 0));
    set_stride(index, dims[d], stride, loops);
    stride *= batch && launch.batch_size > 0 ? launch.batch_size : size.full;
  }
  return index;
}

}  // namespace alpa::kernels
