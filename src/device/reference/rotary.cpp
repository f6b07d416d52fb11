#include "alpa/base/error.hpp"

#include "reference/kernels.hpp"

namespace alpa::reference {
namespace {

[[noreturn]] void absent(const std::string& kernel) {
  throw UserError("kernel " + kernel + " is not available");
}

}  // namespace

void run(const Rotary& /*kernel*/, const Launch& /*launch*/) { absent("rotary"); }

}  // namespace alpa::reference
