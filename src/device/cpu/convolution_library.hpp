#pragma once

#include <cstddef>
#include <span>

#include "alpa/base/units.hpp"

#include "cpu/convolution_shape.hpp"

namespace alpa::cpu {

/// Whether the build found a library for fp32 convolutions; otherwise convolution.hpp does the
/// work.
[[nodiscard]] bool has_convolution();

/// Bytes that convolution() needs: the library's scratchpad and the weights in the library's order.
/// @pre has_convolution()
[[nodiscard]] Bytes library_workspace(ConvolutionPass pass, const ConvolutionShape& shape,
                                      int threads);

/// Operands and result as those of the pass's kernel.
/// @pre has_convolution()  @throws SystemError (out_of_memory)
void library_convolution(ConvolutionPass pass, const ConvolutionShape& shape, const float* left,
                         const float* right, float* result, std::span<std::byte> workspace,
                         int threads);

}  // namespace alpa::cpu
