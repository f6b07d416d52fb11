#include "alpa/base/error.hpp"

#include "cpu/sgemm.hpp"

namespace alpa::cpu {

bool has_sgemm() { return false; }

void sgemm(const Sgemm& /*shape*/, const float* /*left*/, const float* /*right*/, float* /*result*/,
           int /*threads*/) {
  ALPA_CHECK(has_sgemm());
}

std::optional<Bytes> low_product_workspace(const LowProduct& /*shape*/, int /*threads*/) {
  return std::nullopt;
}

void low_product(const LowProduct& shape, const std::byte* /*left*/, const std::byte* /*right*/,
                 std::byte* /*result*/, std::span<std::byte> /*workspace*/, int threads) {
  ALPA_CHECK(low_product_workspace(shape, threads).has_value());
}

}  // namespace alpa::cpu
