#include "alpa/base/error.hpp"

#include "cpu/sgemm.hpp"

namespace alpa::cpu {

bool has_sgemm() { return false; }

void sgemm(const Sgemm& /*shape*/, const float* /*left*/, const float* /*right*/, float* /*result*/,
           int /*threads*/) {
  ALPA_CHECK(has_sgemm());
}

}  // namespace alpa::cpu
