#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/units.hpp"
#include "alpa/device/device.hpp"

#include "samples.hpp"

namespace alpa::probe_detail {

/// Device memory from which the samples take their pieces in turn, as the kernels of a step take
/// them from an arena: what a kernel reads is seldom still in the nearest cache. Numbers are
/// ordinary (no zeros, subnormals or infinities), so that none takes a slow path.
class WorkingSet {
 public:
  /// @param most bytes to allocate
  WorkingSet(Device& device, DType dtype, Bytes most);
  ~WorkingSet();
  WorkingSet(const WorkingSet&) = delete;
  WorkingSet& operator=(const WorkingSet&) = delete;

  [[nodiscard]] bool fits(const Sample& sample) const;

  /// Starts the kernel on the next places.  @pre fits(sample)
  void launch(const Sample& sample);

 private:
  /// Singles: f32 beside values of bf16 or f16.
  enum class Use : std::uint8_t {
    values,
    results,
    states,
    numbers,
    choices,
    wide,
    wide_results,
    singles,
    single_results
  };
  static constexpr std::size_t kUses = 9;

  /// Memory handed out from the front again and again.
  struct Ring {
    std::byte* memory = nullptr;
    std::int64_t size = 0;
    std::int64_t next = 0;
  };
  using Needs = std::array<std::int64_t, kUses>;

  [[nodiscard]] Use use_of(const SamplePiece& piece, bool result) const;
  [[nodiscard]] Needs needs_of(const Sample& sample) const;
  [[nodiscard]] DType type_of(Use use) const;
  void fill(Use use);
  [[nodiscard]] Piece take(const SamplePiece& piece, Use use, std::int64_t need);
  [[nodiscard]] std::span<std::byte> workspace(Bytes size);

  Device& device_;
  DType dtype_;
  std::array<Ring, kUses> rings_{};
  std::byte* workspace_ = nullptr;
  Bytes workspace_size_{0};
};

}  // namespace alpa::probe_detail
