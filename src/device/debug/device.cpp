#include <cstring>
#include <map>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "alpa/base/error.hpp"

#include "common/host_memory.hpp"
#include "reference/kernels.hpp"

namespace alpa {
namespace {

std::size_t in_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

/// Memory that faults on every access except while it is open.
class GuardedMemory {
 public:
  GuardedMemory() = default;
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory() {
    for (const auto& [memory, size] : blocks_) munmap(memory, size);
  }

  [[nodiscard]] std::byte* allocate(Bytes size) {
    ALPA_CHECK(size.value >= 0);
    const std::size_t bytes = in_pages(static_cast<std::size_t>(size.value) + 1);
    void* memory =
        mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) kernels::throw_out_of_memory(size, "debug");
    blocks_.emplace(static_cast<std::byte*>(memory), bytes);
    return static_cast<std::byte*>(memory);
  }

  void release(std::byte* memory) {
    const auto block = blocks_.find(memory);
    ALPA_CHECK(block != blocks_.end());
    munmap(block->first, block->second);
    blocks_.erase(block);
  }

  /// Whether [begin, begin + size) lies within one block.
  [[nodiscard]] bool holds(const std::byte* begin, std::size_t size) const {
    auto after = blocks_.upper_bound(const_cast<std::byte*>(begin));
    if (after == blocks_.begin()) return false;
    const auto& [memory, bytes] = *--after;
    const auto from = static_cast<std::size_t>(begin - memory);
    return from <= bytes && size <= bytes - from;
  }

  void protect(int protection) const {
    for (const auto& [memory, bytes] : blocks_) {
      if (mprotect(memory, bytes, protection) != 0) {
        throw SystemError("device debug: mprotect of " + std::to_string(bytes) + " bytes failed: " +
                          std::strerror(errno) + "; vm.max_map_count may be too low");
      }
    }
  }

 private:
  std::map<std::byte*, std::size_t> blocks_;
};

/// Lets kernels and copies at the memory for its own lifetime.
class Opened {
 public:
  explicit Opened(const GuardedMemory& memory) : memory_(memory) {
    memory_.protect(PROT_READ | PROT_WRITE);
  }
  ~Opened() { memory_.protect(PROT_NONE); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  const GuardedMemory& memory_;
};

/// Checks that everything a kernel and a copy touch belongs to this device.
class DebugDevice final : public Device {
 public:
  [[nodiscard]] std::string name() const override { return "debug"; }
  [[nodiscard]] std::byte* allocate(Bytes size) override { return memory_.allocate(size); }
  void release(std::byte* memory) override { memory_.release(memory); }
  [[nodiscard]] Bytes workspace_size(const Kernel& /*kernel*/,
                                     const Launch& /*launch*/) const override {
    return Bytes{0};
  }
  void launch(Queue /*queue*/, const Kernel& kernel, const Launch& launch) override {
    for (const Piece& piece : launch.operands) check_on_device(piece);
    for (const Piece& piece : launch.results) check_on_device(piece);
    const Opened opened(memory_);
    reference::run_kernel(kernel, launch);
  }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    if (host.empty()) return;
    ALPA_CHECK(memory_.holds(device, host.size()));
    ALPA_CHECK(!memory_.holds(host.data(), 1));
    const Opened opened(memory_);
    std::memcpy(device, host.data(), host.size());
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    if (host.empty()) return;
    ALPA_CHECK(memory_.holds(device, host.size()));
    ALPA_CHECK(!memory_.holds(host.data(), 1));
    const Opened opened(memory_);
    std::memcpy(host.data(), device, host.size());
  }
  void synchronize() override {}
  [[nodiscard]] bool host_accessible() const override { return false; }

 private:
  void check_on_device(const Piece& piece) const {
    const Bytes size = bytes_of(piece.box.extent, piece.dtype);
    ALPA_CHECK(size.value == 0 || memory_.holds(piece.data, static_cast<std::size_t>(size.value)));
  }

  GuardedMemory memory_;
};

}  // namespace

std::unique_ptr<Device> make_debug_device() { return std::make_unique<DebugDevice>(); }

}  // namespace alpa
