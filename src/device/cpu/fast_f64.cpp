#include "cpu/fast_impl.hpp"

namespace alpa::cpu {

template FastKernels<double> fast_kernels<double, level::ALPA_CPU_LEVEL>();

}  // namespace alpa::cpu
