#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace alpa {

/// Takes one warning.
using Warn = std::function<void(std::string_view)>;

/// The shortest decimal that reads back equal, with a dot and a signed exponent, as YAML and JSON
/// readers all agree on: "0.1", "1.0e-05", "3.0". Not finite: "nan", "inf", "-inf".
[[nodiscard]] std::string shortest(double value);

/// "950", "1.25 k", "3.4 T" and so on: a figure of four digits with an SI prefix.
[[nodiscard]] std::string with_prefix(double value);

/// Rows of cells as lines with aligned columns; the first column to the left, the others to the
/// right. The first row is the heading. No blanks at the ends of lines.
[[nodiscard]] std::string text_table(const std::vector<std::vector<std::string>>& rows);

/// Ranks in ascending order: "0-3,6".
[[nodiscard]] std::string ranks_text(const std::vector<int>& ranks);

}  // namespace alpa
