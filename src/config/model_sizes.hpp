#pragma once

#include <string>
#include <vector>

#include "alpa/config/model_config.hpp"

namespace alpa {

/// Published sizes of a preset, smallest first; empty if there are none.
[[nodiscard]] std::vector<std::string> published_sizes(Preset preset);

/// Replaces the shape of `model` by a published one.
/// @pre `size` is in published_sizes(model.preset)
void apply_size(ModelConfig& model, const std::string& size);

}  // namespace alpa
