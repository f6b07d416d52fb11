#include "alpa/base/error.hpp"

#include "reference/kernels.hpp"

namespace alpa::reference {
namespace {

[[noreturn]] void absent(const std::string& kernel) {
  throw UserError("kernel " + kernel + " is not available");
}

}  // namespace

void run(const Route& /*kernel*/, const Launch& /*launch*/) { absent("route"); }
void run(const RouteGradient& /*kernel*/, const Launch& /*launch*/) { absent("route_gradient"); }
void run(const Dispatch& /*kernel*/, const Launch& /*launch*/) { absent("dispatch"); }
void run(const Combine& /*kernel*/, const Launch& /*launch*/) { absent("combine"); }
void run(const GateGradient& /*kernel*/, const Launch& /*launch*/) { absent("gate_gradient"); }

}  // namespace alpa::reference
