#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "alpa/base/units.hpp"

namespace alpa::kernels {

/// Host memory of a device, aligned to 64 bytes (2 MiB for large blocks, so that huge pages serve
/// them), freed with this object.
class HostMemory {
 public:
  /// @throws SystemError (out_of_memory), naming `device`
  [[nodiscard]] std::byte* allocate(Bytes size, const char* device);
  /// @pre `memory` came from allocate
  void release(std::byte* memory);

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::map<std::byte*, std::unique_ptr<std::byte, Free>> blocks_;
};

/// The error for memory that the host does not give.
[[noreturn]] void throw_out_of_memory(Bytes size, const char* device);

}  // namespace alpa::kernels
