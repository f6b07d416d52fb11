#pragma once

#include <string>
#include <string_view>

namespace alpa {

/// A name that is safe as one file or HDF5 link name: letters, digits, '-', '_' and inner dots
/// stay, every other byte and a leading dot become "=HH". Distinct names stay distinct.
///
/// Example: "layers.3.weight" is itself; "../x" becomes "=2E.=2Fx".
[[nodiscard]] std::string escape_name(std::string_view name);

/// Inverse of escape_name. What is no escape stays as it is.
[[nodiscard]] std::string unescape_name(std::string_view escaped);

/// Text for logs and error messages: control bytes and invalid UTF-8 become "\xHH", so a file name
/// can neither start a new line nor drive a terminal.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace alpa
