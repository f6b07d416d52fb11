#pragma once

#include <string>
#include <string_view>

namespace alpa {

/// Does the pattern match a dotted name or one of the paths above it? `*` stands for any text (dots
/// too), `?` for one character.
///
/// Example: "*.bias" and "layers.0" match "layers.0.bias"; "layer" does not.
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view name);

/// Does the pattern match the whole name? "layers.*.attention.qkv" matches one operator a layer and
/// nothing below it.
[[nodiscard]] bool glob_matches_whole(std::string_view pattern, std::string_view name);

/// "layers.*.norm1" for "layers.12.norm1": what a glob of like names says.
[[nodiscard]] std::string without_numbers(const std::string& name);

}  // namespace alpa
