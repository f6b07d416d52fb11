#include "cpu/fast_impl.hpp"

namespace alpa::cpu {

template FastKernels<float> fast_kernels<float, level::ALPA_CPU_LEVEL>();

}  // namespace alpa::cpu
