#include "working_set.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/base/low_precision.hpp"

namespace alpa::probe_detail {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20U;
/// Of values, results, states, numbers, choices, wide, wide results, singles and single results.
constexpr std::array<std::int64_t, 9> kSizes = {64 * kMiB, 32 * kMiB, 48 * kMiB, kMiB,     kMiB,
                                                16 * kMiB, 16 * kMiB, 16 * kMiB, 16 * kMiB};
/// Choices are below, so that each is one: experts of a router, pixels of an image.
constexpr int kChoices = 4;
/// Small operands and results return to the same place after so many bytes: past the caches of a
/// core, within those of a processor. Large ones and states go round all of the ring, past any.
constexpr std::int64_t kRound = 12 * kMiB;
constexpr std::int64_t kLarge = 3 * kMiB;

std::int64_t aligned(std::int64_t size) { return (size + 63) / 64 * 64; }

template <class T, class Convert>
std::vector<std::byte> pattern(std::int64_t bytes, double base, double step, const Convert& convert,
                               int different = 256) {
  std::vector<std::byte> memory(static_cast<std::size_t>(bytes));
  auto* values = reinterpret_cast<T*>(memory.data());
  for (std::size_t i = 0; i < memory.size() / sizeof(T); ++i) {
    values[i] =
        convert(base + step * static_cast<double>(i * 31 % static_cast<std::size_t>(different)));
  }
  return memory;
}

std::vector<std::byte> ordinary_numbers(DType type) {
  constexpr double kBase = 0.5, kStep = 0.003;
  switch (type) {
    case DType::f64:
      return pattern<double>(kMiB, kBase, kStep, [](double x) { return x; });
    case DType::f32:
      return pattern<float>(kMiB, kBase, kStep, [](double x) { return static_cast<float>(x); });
    case DType::bf16:
      return pattern<std::uint16_t>(kMiB, kBase, kStep,
                                    [](double x) { return to_bf16(static_cast<float>(x)); });
    case DType::f16:
      return pattern<std::uint16_t>(kMiB, kBase, kStep,
                                    [](double x) { return to_f16(static_cast<float>(x)); });
    case DType::i32:
      return pattern<std::int32_t>(kMiB, 0.0, 1.0,
                                   [](double x) { return static_cast<std::int32_t>(x); });
  }
  check_failed("known dtype", SourceLine::here());
}

std::vector<std::byte> small_numbers() {
  return pattern<std::int32_t>(
      kMiB, 0.0, 1.0, [](double x) { return static_cast<std::int32_t>(x); }, kChoices);
}

}  // namespace

WorkingSet::WorkingSet(Device& device, DType dtype, Bytes most) : device_(device), dtype_(dtype) {
  std::int64_t all = 0;
  for (const std::int64_t size : kSizes) all += size;
  const double share = std::min(1.0, static_cast<double>(most.value) / static_cast<double>(all));
  for (std::size_t u = 0; u < kUses; ++u) {
    Ring& ring = rings_[u];
    ring.size = static_cast<std::int64_t>(share * static_cast<double>(kSizes[u])) / 64 * 64;
    ring.memory = device_.allocate({ring.size});
    fill(static_cast<Use>(u));
  }
}

WorkingSet::~WorkingSet() {
  for (const Ring& ring : rings_) device_.release(ring.memory);
  if (workspace_ != nullptr) device_.release(workspace_);
}

DType WorkingSet::type_of(Use use) const {
  switch (use) {
    case Use::values:
    case Use::results:
      return dtype_;
    case Use::states:
      return at_least_f32(dtype_);
    case Use::numbers:
    case Use::choices:
      return DType::i32;
    case Use::wide:
    case Use::wide_results:
      return DType::f64;
    case Use::singles:
    case Use::single_results:
      return DType::f32;
  }
  check_failed("known use", SourceLine::here());
}

void WorkingSet::fill(Use use) {
  const Ring& ring = rings_[static_cast<std::size_t>(use)];
  const std::vector<std::byte> block =
      use == Use::choices ? small_numbers() : ordinary_numbers(type_of(use));
  for (std::int64_t at = 0; at < ring.size; at += kMiB) {
    const auto size = static_cast<std::size_t>(std::min(kMiB, ring.size - at));
    device_.copy_in(ring.memory + at, std::span(block).first(size));
  }
}

WorkingSet::Use WorkingSet::use_of(const SamplePiece& piece, bool result) const {
  if (piece.dtype == DType::i32) {
    return result ? Use::results : piece.choice ? Use::choices : Use::numbers;
  }
  if (piece.in_place) return Use::states;
  if (piece.dtype == dtype_) return result ? Use::results : Use::values;
  if (piece.dtype == DType::f32) return result ? Use::single_results : Use::singles;
  return result ? Use::wide_results : Use::wide;
}

WorkingSet::Needs WorkingSet::needs_of(const Sample& sample) const {
  Needs needs{};
  const auto add = [&](const std::vector<SamplePiece>& pieces, bool result) {
    for (const SamplePiece& piece : pieces) {
      needs[static_cast<std::size_t>(use_of(piece, result))] +=
          aligned(bytes_of(piece.extent, piece.dtype).value);
    }
  };
  add(sample.operands, false);
  add(sample.results, true);
  return needs;
}

bool WorkingSet::fits(const Sample& sample) const {
  const Needs needs = needs_of(sample);
  for (std::size_t u = 0; u < kUses; ++u) {
    if (needs[u] > rings_[u].size) return false;
  }
  return true;
}

Piece WorkingSet::take(const SamplePiece& piece, Use use, std::int64_t need) {
  Ring& ring = rings_[static_cast<std::size_t>(use)];
  const bool far = use == Use::states || need > kLarge;
  const std::int64_t round = far ? ring.size : std::min(kRound, ring.size);
  const std::int64_t size = aligned(bytes_of(piece.extent, piece.dtype).value);
  if (ring.next + size > round) ring.next = 0;
  Piece placed{ring.memory + ring.next,
               piece.dtype,
               {std::vector<std::int64_t>(piece.extent.size(), 0), piece.extent},
               piece.full};
  ring.next += size;
  return placed;
}

std::span<std::byte> WorkingSet::workspace(Bytes size) {
  if (size > workspace_size_) {
    if (workspace_ != nullptr) device_.release(workspace_);
    workspace_ = device_.allocate(size);
    workspace_size_ = size;
  }
  return {workspace_, static_cast<std::size_t>(size.value)};
}

void WorkingSet::launch(const Sample& sample) {
  const Needs needs = needs_of(sample);
  std::vector<Piece> operands, results;
  const auto place = [&](const SamplePiece& piece, bool result) {
    const Use use = use_of(piece, result);
    return take(piece, use, needs[static_cast<std::size_t>(use)]);
  };
  for (const SamplePiece& piece : sample.operands) operands.push_back(place(piece, false));
  for (const SamplePiece& piece : sample.results) results.push_back(place(piece, true));
  Launch launch;
  launch.operands = operands;
  launch.results = results;
  launch.workspace = workspace(device_.workspace_size(sample.kernel, launch));
  device_.launch(Queue::compute, sample.kernel, launch);
}

}  // namespace alpa::probe_detail
