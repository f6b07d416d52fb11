#include "alpa/base/error.hpp"

#include "cpu/convolution_library.hpp"

namespace alpa::cpu {

bool has_convolution() { return false; }

Bytes library_workspace(ConvolutionPass /*pass*/, const ConvolutionShape& /*shape*/,
                        int /*threads*/) {
  ALPA_CHECK(has_convolution());
  return Bytes{0};
}

void library_convolution(ConvolutionPass /*pass*/, const ConvolutionShape& /*shape*/,
                         const float* /*left*/, const float* /*right*/, float* /*result*/,
                         std::span<std::byte> /*workspace*/, int /*threads*/) {
  ALPA_CHECK(has_convolution());
}

}  // namespace alpa::cpu
