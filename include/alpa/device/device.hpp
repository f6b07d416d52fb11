#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/base/units.hpp"
#include "alpa/graph/kernel.hpp"

namespace alpa {

/// The piece of a tensor that a kernel reads or writes: dense, row-major, `box.extent` elements at
/// `data` (an address on the device), of a tensor whose whole shape is `full`.
struct Piece {
  std::byte* data = nullptr;
  DType dtype = DType::f32;
  Box box;
  Shape full;
};

/// One launch of a kernel.
struct Launch {
  std::span<const Piece> operands;
  std::span<const Piece> results;
  std::int64_t batch_origin = 0;   ///< place of this microbatch's first sample in the global batch
  std::int64_t batch_size = 0;     ///< samples of the global batch (0: as the operand's)
  bool first = false;              ///< Accumulate writes instead of adding
  std::span<std::byte> workspace;  ///< of workspace_size() bytes at least, on the device
};

/// Queues run in order, each by itself.
enum class Queue : std::uint8_t { compute, collective, point_to_point, copy };
inline constexpr int kNumQueues = 4;

/// A device's memory and kernels. One host thread uses a Device. Addresses are device addresses:
/// the host reads and writes them only through copy_in and copy_out.
///
/// Work on a queue starts in the order of the calls; `synchronize` waits for all of it. Host back
/// ends may run a launch before they return.
class Device {
 public:
  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// "cpu", "reference", "debug", "cuda"
  [[nodiscard]] virtual std::string name() const = 0;

  /// Memory aligned to 64 bytes, freed with the device. @throws SystemError (out_of_memory)
  [[nodiscard]] virtual std::byte* allocate(Bytes size) = 0;
  virtual void release(std::byte* memory) = 0;

  /// Bytes of scratch that launch() needs in Launch::workspace for these pieces (data unset).
  [[nodiscard]] virtual Bytes workspace_size(const Kernel& kernel, const Launch& launch) const = 0;

  /// Starts the kernel on the queue.  @pre shapes fit the kernel's letters
  virtual void launch(Queue queue, const Kernel& kernel, const Launch& launch) = 0;

  /// Host to device and back; returns when the bytes have arrived.
  virtual void copy_in(std::byte* device, std::span<const std::byte> host) = 0;
  virtual void copy_out(std::span<std::byte> host, const std::byte* device) = 0;

  virtual void synchronize() = 0;

  /// A host view of device memory if the host may touch it (CPU), else empty: then communicators
  /// over host memory stage through copy_in and copy_out.
  [[nodiscard]] virtual bool host_accessible() const = 0;
};

/// Plain loops that define what is correct: every kernel, every dtype, accumulation in f64.
[[nodiscard]] std::unique_ptr<Device> make_reference_device();

/// Instruction sets that this build has CPU kernels for and this processor can run, best last:
/// of "x86-64", "x86-64-v3", "x86-64-v4", or "native" alone.
[[nodiscard]] std::vector<std::string> cpu_levels();

/// The host's cores, with `threads` threads; bf16 and f16 are computed in fp32, block by block.
/// `level`: of cpu_levels(), else the
/// best. Numbers in fp64 do not depend on the threads; in the last bits they do on the level.
/// @throws UserError for a level that is not of cpu_levels()
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(
    int threads, std::optional<std::string> level = std::nullopt);

/// A pretend GPU over the reference kernels: its memory faults on host access outside kernels and
/// copies.
[[nodiscard]] std::unique_ptr<Device> make_debug_device();

}  // namespace alpa
