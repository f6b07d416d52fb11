#pragma once

#include <cstdint>

#include "alpa/config/model_config.hpp"

namespace alpa {

/// Microbatches hold a multiple of so many samples: groups of samples that share statistics (batch
/// norm) or routing (experts) are never cut.
///
/// Example: experts that route 256 tokens together, samples of 64 tokens: 4; samples of 1024: 1.
/// @pre the group of experts and the sequence divide one another
[[nodiscard]] std::int64_t samples_of_group(const ModelConfig& model);

}  // namespace alpa
