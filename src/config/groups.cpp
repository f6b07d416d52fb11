#include "alpa/config/groups.hpp"

#include <algorithm>

namespace alpa {

std::int64_t samples_of_group(const ModelConfig& model) {
  if (const auto* shape = std::get_if<WideResnetConfig>(&model.shape)) {
    return shape->batch_norm.group;
  }
  const auto* shape = std::get_if<TransformerConfig>(&model.shape);
  if (shape == nullptr || !shape->moe) return 1;
  return std::max<std::int64_t>(1, shape->moe->group / shape->sequence);
}

}  // namespace alpa
