#include "cpu/fast_impl.hpp"

namespace alpa::cpu {

template struct Fast<double>;

}  // namespace alpa::cpu
