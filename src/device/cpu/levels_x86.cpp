#include "cpu/fast.hpp"

namespace alpa::cpu {

const std::vector<Level>& levels() {
  static const std::vector<Level> all = {
      {"x86-64", true, fast_kernels<float, level::x86_64>(), fast_kernels<double, level::x86_64>()},
      {"x86-64-v3", __builtin_cpu_supports("x86-64-v3") != 0,
       fast_kernels<float, level::x86_64_v3>(), fast_kernels<double, level::x86_64_v3>()},
      {"x86-64-v4", __builtin_cpu_supports("x86-64-v4") != 0,
       fast_kernels<float, level::x86_64_v4>(), fast_kernels<double, level::x86_64_v4>()},
  };
  return all;
}

}  // namespace alpa::cpu
