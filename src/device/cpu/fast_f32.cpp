#include "cpu/fast_impl.hpp"

namespace alpa::cpu {

template struct Fast<float>;

}  // namespace alpa::cpu
