#include "common/host_memory.hpp"

#include <cstdlib>
#include <string>
#include <sys/mman.h>

#include "alpa/base/error.hpp"

namespace alpa::kernels {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20U;

std::size_t round_up(std::size_t size, std::size_t to) { return (size + to - 1) / to * to; }

}  // namespace

void throw_out_of_memory(Bytes size, const char* device) {
  throw SystemError("device " + std::string(device) + ": the host has no " + to_text(size) +
                        " of memory to give; use more ranks or hosts, a smaller microbatch, or a "
                        "method that splits the state (parallel.method)",
                    ExitCode::out_of_memory);
}

void HostMemory::Free::operator()(std::byte* memory) const { std::free(memory); }

std::byte* HostMemory::allocate(Bytes size, const char* device) {
  ALPA_CHECK(size.value >= 0);
  const auto wanted = static_cast<std::size_t>(size.value);
  const bool large = wanted >= kHugePage;
  const std::size_t alignment = large ? kHugePage : kCacheLine;
  // Never zero bytes, so that every block has an address of its own.
  const std::size_t rounded = round_up(wanted > 0 ? wanted : 1, alignment);
  auto* memory =
      static_cast<std::byte*>(rounded < wanted ? nullptr : std::aligned_alloc(alignment, rounded));
  if (memory == nullptr) throw_out_of_memory(size, device);
  if (large) madvise(memory, rounded, MADV_HUGEPAGE);  // advice: what it returns does not matter
  blocks_.emplace(memory, memory);
  return memory;
}

void HostMemory::release(std::byte* memory) {
  const bool known = blocks_.erase(memory) == 1;
  ALPA_CHECK(known);
}

}  // namespace alpa::kernels
