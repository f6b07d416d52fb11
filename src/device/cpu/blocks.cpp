#include "cpu/blocks.hpp"

#include <algorithm>
#include <cstring>

#include "alpa/base/error.hpp"

#include "cpu/convert.hpp"
#include "cpu/threads.hpp"

namespace alpa::cpu {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kInL2 = std::int64_t{1} << 16U;       ///< elements of a block, on one core
constexpr std::int64_t kOfProduct = std::int64_t{1} << 20U;  ///< of a product's, on all cores
constexpr std::int64_t kGrain = 16384;                       ///< elements worth a thread

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::byte* align(std::byte* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return memory + (kAlignment - address % kAlignment) % kAlignment;
}

bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

/// A box of a dense piece as runs of consecutive elements.
struct Runs {
  std::int64_t length = 1, count = 1;
  Shape extents;                      ///< of the loops over runs, outermost first
  std::vector<std::int64_t> strides;  ///< of those loops
  std::int64_t first = 0;

  /// Place of run i in the piece.
  [[nodiscard]] std::int64_t place(std::int64_t i) const {
    std::int64_t at = first;
    for (std::size_t d = extents.size(); d-- > 0;) {
      at += i % extents[d] * strides[d];
      i /= extents[d];
    }
    return at;
  }
};

Runs runs_of(const Box& whole, const Box& part) {
  Runs runs;
  std::int64_t stride = 1;
  bool dense = true;
  for (std::size_t d = whole.extent.size(); d-- > 0;) {
    runs.first += (part.offset[d] - whole.offset[d]) * stride;
    if (dense) {
      runs.length *= part.extent[d];
      dense = part.extent[d] == whole.extent[d];
    } else if (part.extent[d] != 1) {
      runs.extents.insert(runs.extents.begin(), part.extent[d]);
      runs.strides.insert(runs.strides.begin(), stride);
      runs.count *= part.extent[d];
    }
    stride *= whole.extent[d];
  }
  return runs;
}

/// Calls f(place in the piece, place in the dense copy, elements) for parts of the runs.
template <class F>
void for_each_part(const Runs& runs, int threads, const F& f) {
  if (runs.count == 1) {
    return parallel_for(threads, runs.length, kGrain, [&](std::int64_t begin, std::int64_t end) {
      f(runs.first + begin, begin, end - begin);
    });
  }
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, runs.length));
  parallel_for(threads, runs.count, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(runs.place(i), i * runs.length, runs.length);
  });
}

std::vector<Shape> fulls(std::span<const Piece> pieces) {
  std::vector<Shape> shapes;
  for (const Piece& piece : pieces) shapes.push_back(piece.full);
  return shapes;
}

}  // namespace

LowBlocks::LowBlocks(const Kernel& kernel, const Launch& launch, const SingleKernels& single,
                     int threads)
    : kernel_(kernel),
      launch_(launch),
      single_(single),
      threads_(threads),
      product_(std::holds_alternative<Einsum>(kernel)) {
  const ShardingRule rule = rule_of(kernel, fulls(launch.operands), fulls(launch.results));
  add_tensors(rule);
  choose_cuts(rule);
  for (Tensor& tensor : tensors_) {
    tensor.varies = std::any_of(cuts_.begin(), cuts_.end(),
                                [&](const Cut& cut) { return has(tensor.dims, cut.letter); });
    const Box part = box_in(tensor, ranges(0));
    tensor.buffered = tensor.low || runs_of(tensor.piece.box, part).count > 1;
    tensor.bytes = buffer_size(tensor);
  }
  if (!product_) workers_ = static_cast<int>(std::clamp<std::int64_t>(blocks(), 1, threads));
  inner_workspace_ = aligned(most_inner_workspace());
}

void LowBlocks::add_tensors(const ShardingRule& rule) {
  const auto add = [&](std::span<const Piece> pieces, const std::vector<Dims>& dims) {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      tensors_.push_back({pieces[i], dims[i], is_low(pieces[i].dtype)});
    }
  };
  add(launch_.operands, rule.operands);
  add(launch_.results, rule.results);
}

/// Letters to cut along, the first one first: those that every large tensor has; for a product then
/// those of its larger operand.
Dims LowBlocks::cut_order(const ShardingRule& rule) const {
  std::int64_t largest = 0;
  for (const Tensor& t : tensors_) largest = std::max(largest, t.low ? elements(t) : 0);
  const auto in_all_large = [&](char letter) {
    return std::all_of(tensors_.begin(), tensors_.end(), [&](const Tensor& t) {
      return !t.low || 8 * elements(t) < largest || has(t.dims, letter);
    });
  };
  const auto may_be_cut = [&](char letter) {
    const Factor& factor = rule.factors[static_cast<std::size_t>(rule.factor(letter))];
    return !factor.whole && !factor.even &&
           std::all_of(rule.results.begin(), rule.results.end(),
                       [&](const Dims& dims) { return has(dims, letter); });
  };
  Dims everywhere, in_largest;
  const auto larger =
      std::max_element(tensors_.begin(), tensors_.begin() + std::ssize(launch_.operands),
                       [&](const Tensor& a, const Tensor& b) { return elements(a) < elements(b); });
  for (const char letter : rule.results.at(0)) {
    if (!may_be_cut(letter)) continue;
    if (in_all_large(letter))
      everywhere += letter;
    else if (!launch_.operands.empty() && has(larger->dims, letter))
      in_largest += letter;
  }
  return product_ || everywhere.empty() ? everywhere + in_largest : everywhere;
}

void LowBlocks::choose_cuts(const ShardingRule& rule) {
  const std::int64_t all = low_elements();
  std::int64_t most = product_ ? kOfProduct : kInL2;
  if (!product_ && all > 4 * kGrain) most = std::min(most, all / (2 * threads_));
  const auto extent_of = [&](char letter) {
    for (const Tensor& t : tensors_) {
      if (has(t.dims, letter)) return t.piece.box.extent[t.dims.find(letter)];
    }
    return std::int64_t{1};
  };
  for (const char letter : cut_order(rule)) {
    const std::int64_t extent = extent_of(letter);
    if (extent < 2) continue;
    if (low_elements() <= most) break;
    cuts_.push_back({letter, extent, 1});
    const std::int64_t one = low_elements();
    cuts_.back().block = 2;
    const std::int64_t each = low_elements() - one;
    const std::int64_t wanted = each > 0 ? 1 + std::max<std::int64_t>(0, most - one) / each : 1;
    const std::int64_t block = std::min(wanted, extent);
    cuts_.back().block = block > 16 ? block / 16 * 16 : block;
  }
}

/// In a block; of what is not cut all.
std::int64_t LowBlocks::elements(const Tensor& tensor) const {
  std::int64_t count = num_elements(tensor.piece.box.extent);
  for (const Cut& cut : cuts_) {
    if (has(tensor.dims, cut.letter) && cut.extent > 0) count = count / cut.extent * cut.block;
  }
  return count;
}

/// Of the low tensors that a block has a part of.
std::int64_t LowBlocks::low_elements() const {
  std::int64_t sum = 0;
  for (const Tensor& t : tensors_) {
    const bool varies = std::any_of(cuts_.begin(), cuts_.end(),
                                    [&](const Cut& cut) { return has(t.dims, cut.letter); });
    if (t.low && (varies || cuts_.empty())) sum += elements(t);
  }
  return sum;
}

std::int64_t LowBlocks::blocks() const {
  std::int64_t count = 1;
  for (const Cut& cut : cuts_) count *= cut.count();
  return count;
}

LowBlocks::Ranges LowBlocks::ranges(std::int64_t block) const {
  Ranges all(cuts_.size());
  for (std::size_t i = cuts_.size(); i-- > 0;) {
    const Cut& cut = cuts_[i];
    const std::int64_t begin = block % cut.count() * cut.block;
    block /= cut.count();
    all[i] = {begin, std::min(cut.block, cut.extent - begin)};
  }
  return all;
}

Box LowBlocks::box_in(const Tensor& tensor, const Ranges& ranges) const {
  Box box = tensor.piece.box;
  for (std::size_t i = 0; i < cuts_.size(); ++i) {
    const std::size_t d = tensor.dims.find(cuts_[i].letter);
    if (d == Dims::npos) continue;
    box.offset[d] += ranges[i].begin;
    box.extent[d] = ranges[i].length;
  }
  return box;
}

std::int64_t LowBlocks::buffer_size(const Tensor& tensor) const {
  if (!tensor.buffered) return 0;
  const DType type = tensor.low ? DType::f32 : tensor.piece.dtype;
  return aligned(bytes_of(box_in(tensor, ranges(0)).extent, type).value);
}

std::int64_t LowBlocks::shared_size() const {
  std::int64_t bytes = 0;
  for (const Tensor& t : tensors_) bytes += t.varies ? 0 : t.bytes;
  return bytes;
}

std::int64_t LowBlocks::worker_size() const {
  std::int64_t bytes = inner_workspace_;
  for (const Tensor& t : tensors_) bytes += t.varies ? t.bytes : 0;
  return bytes;
}

/// The most that a block's kernel needs, of whole blocks and those at the ends.
std::int64_t LowBlocks::most_inner_workspace() const {
  std::int64_t most = 0;
  for (std::size_t which = 0; which < (std::size_t{1} << cuts_.size()); ++which) {
    Ranges at = ranges(0);
    for (std::size_t i = 0; i < cuts_.size(); ++i) {
      const Cut& cut = cuts_[i];
      const std::int64_t last = (cut.count() - 1) * cut.block;
      if ((which >> i & 1U) != 0) at[i] = {last, cut.extent - last};
    }
    std::vector<Piece> pieces;
    for (const Tensor& t : tensors_) {
      pieces.push_back({nullptr, t.low ? DType::f32 : t.piece.dtype, box_in(t, at), t.piece.full});
    }
    Launch inner = launch_;
    inner.operands = std::span<const Piece>(pieces).first(launch_.operands.size());
    inner.results = std::span<const Piece>(pieces).subspan(launch_.operands.size());
    most = std::max(most, single_.workspace(kernel_, inner, inner_threads()).value);
  }
  return most;
}

Bytes LowBlocks::workspace() const {
  return {shared_size() + workers_ * worker_size() + kAlignment};
}

/// Copies a part of the piece to a dense one, f32 if it is of a low type.
void LowBlocks::bring(const Tensor& tensor, const Box& part, std::byte* to, int threads) const {
  const Piece& piece = tensor.piece;
  const std::int64_t size = size_of(piece.dtype);
  for_each_part(
      runs_of(piece.box, part), threads, [&](std::int64_t from, std::int64_t at, std::int64_t n) {
        if (tensor.low)
          single_.convert.widen(piece.dtype, piece.data + from * size,
                                reinterpret_cast<float*>(to) + at, n);
        else
          std::memcpy(to + at * size, piece.data + from * size, static_cast<std::size_t>(n * size));
      });
}

void LowBlocks::put_back(const Tensor& tensor, const Box& part, const std::byte* from,
                         int threads) const {
  const Piece& piece = tensor.piece;
  const std::int64_t size = size_of(piece.dtype);
  for_each_part(
      runs_of(piece.box, part), threads, [&](std::int64_t to, std::int64_t at, std::int64_t n) {
        if (tensor.low)
          single_.convert.narrow(piece.dtype, reinterpret_cast<const float*>(from) + at,
                                 piece.data + to * size, n);
        else
          std::memcpy(piece.data + to * size, from + at * size, static_cast<std::size_t>(n * size));
      });
}

void LowBlocks::run_block(std::int64_t block, std::byte* shared, std::byte* mine) const {
  const Ranges at = ranges(block);
  const std::size_t operands = launch_.operands.size();
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& t = tensors_[i];
    Piece part{nullptr, t.low ? DType::f32 : t.piece.dtype, box_in(t, at), t.piece.full};
    if (t.buffered) {
      std::byte*& memory = t.varies ? mine : shared;
      part.data = memory;
      memory += t.bytes;
      if (i < operands && t.varies) bring(t, part.box, part.data, inner_threads());
    } else {
      part.data = t.piece.data + runs_of(t.piece.box, part.box).first * size_of(part.dtype);
    }
    pieces.push_back(part);
  }
  Launch inner = launch_;
  inner.operands = std::span<const Piece>(pieces).first(operands);
  inner.results = std::span<const Piece>(pieces).subspan(operands);
  inner.workspace = {mine, static_cast<std::size_t>(inner_workspace_)};
  single_.run(kernel_, inner, inner_threads());
  for (std::size_t i = operands; i < tensors_.size(); ++i) {
    if (tensors_[i].buffered) {
      put_back(tensors_[i], pieces[i].box, pieces[i].data, inner_threads());
    }
  }
}

void LowBlocks::run() const {
  ALPA_CHECK(static_cast<std::int64_t>(launch_.workspace.size()) >= workspace().value);
  std::byte* const shared = align(launch_.workspace.data());
  std::byte* next = shared;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& t = tensors_[i];
    if (t.varies || !t.buffered) continue;
    if (i < launch_.operands.size()) bring(t, t.piece.box, next, threads_);
    next += t.bytes;
  }
  const std::int64_t per_worker = worker_size();
  parallel_for(workers_, workers_, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker) {
      const std::int64_t end = blocks() * (worker + 1) / workers_;
      for (std::int64_t block = blocks() * worker / workers_; block < end; ++block) {
        run_block(block, shared, next + worker * per_worker);
      }
    }
  });
}

}  // namespace alpa::cpu
