#include "alpa/base/error.hpp"

#include "reference/kernels.hpp"

namespace alpa::reference {
namespace {

[[noreturn]] void absent(const std::string& kernel) {
  throw UserError("kernel " + kernel + " is not available");
}

}  // namespace

void run(const Convolution& /*kernel*/, const Launch& /*launch*/) { absent("convolution"); }
void run(const ConvolutionGradientInput& /*kernel*/, const Launch& /*launch*/) {
  absent("convolution_gradient_input");
}
void run(const ConvolutionGradientWeight& /*kernel*/, const Launch& /*launch*/) {
  absent("convolution_gradient_weight");
}
void run(const MaxPool& /*kernel*/, const Launch& /*launch*/) { absent("max_pool"); }
void run(const MaxPoolGradient& /*kernel*/, const Launch& /*launch*/) {
  absent("max_pool_gradient");
}
void run(const AveragePool& /*kernel*/, const Launch& /*launch*/) { absent("average_pool"); }
void run(const AveragePoolGradient& /*kernel*/, const Launch& /*launch*/) {
  absent("average_pool_gradient");
}

}  // namespace alpa::reference
