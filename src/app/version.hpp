#pragma once

#include <string>

namespace alpa {

/// "alpa_train 0.1.0 (MPI, CPU)"
[[nodiscard]] std::string version_text();

}  // namespace alpa
