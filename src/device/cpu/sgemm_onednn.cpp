#include <oneapi/dnnl/dnnl.h>
#include <string>

#include "alpa/base/error.hpp"

#include "cpu/onednn_threads.hpp"
#include "cpu/sgemm.hpp"

namespace alpa::cpu {
bool has_sgemm() { return true; }

void sgemm(const Sgemm& shape, const float* left, const float* right, float* result, int threads) {
  const ThreadsForNow for_now(threads);
  const dnnl_status_t status =
      dnnl_sgemm(shape.transpose_left ? 'T' : 'N', shape.transpose_right ? 'T' : 'N', shape.m,
                 shape.n, shape.k, shape.scale, left, shape.leading_left, right,
                 shape.leading_right, 0.0F, result, shape.leading_result);
  if (status == dnnl_out_of_memory) {
    throw SystemError("oneDNN has no memory left for a product of " + std::to_string(shape.m) +
                          " x " + std::to_string(shape.n) + " x " + std::to_string(shape.k),
                      ExitCode::out_of_memory);
  }
  ALPA_CHECK(status == dnnl_success);  // what is left are arguments it refuses
}

}  // namespace alpa::cpu
