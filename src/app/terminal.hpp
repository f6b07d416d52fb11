#pragma once

#include "alpa/comm/launcher.hpp"

namespace alpa {

/// Whether standard output (1) or error (2) of this rank ends on a terminal that a person watches.
/// mpirun gives its first rank a pseudo terminal of its own in any case; then its own descriptor
/// counts, if it runs on this host.
[[nodiscard]] bool is_watched(const Launcher& launcher, int descriptor);

}  // namespace alpa
