#pragma once

#include "options.hpp"

namespace alpa {

/// The commands that run nothing: --version, --help, --print-config, --verify, --check,
/// --plan-only. No MPI; `ranks` is what the launcher says, 1 without one. @throws Error
void run_command(const Options& options, int ranks);

/// Whether the options name such a command.
[[nodiscard]] bool is_command(const Options& options);

}  // namespace alpa
