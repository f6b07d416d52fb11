#include "alpa/lowering/move_parts.hpp"

namespace alpa {

bool is_outermost(const Box& whole, int dim) {
  for (int d = 0; d < dim; ++d) {
    if (whole.extent[static_cast<std::size_t>(d)] != 1) return false;
  }
  return true;
}

}  // namespace alpa
