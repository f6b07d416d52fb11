#pragma once

#include <string>
#include <vector>

#include "sections.hpp"

namespace alpa {

using LayerVariant = decltype(LayerConfig::layer);

/// One operator of `model.layers`: how the value of its key is read and described.
struct LayerKind {
  std::string name;
  std::string help;
  ValueType<LayerVariant> argument;
  bool bare = false;  ///< may be written without a value: `- relu`
  bool owns_parameters = false;
  std::size_t most_inputs = 1;
};

[[nodiscard]] const std::vector<LayerKind>& layer_kinds();
[[nodiscard]] const LayerKind* layer_kind_named(std::string_view name);
/// The key that a layer is written with: "linear", "max_pool".
[[nodiscard]] std::string layer_kind_name(const LayerVariant& layer);

}  // namespace alpa
