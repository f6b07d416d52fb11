#pragma once

#include "alpa/comm/communicator.hpp"

#include "options.hpp"
#include "train.hpp"

namespace alpa {

/// The commands that need no ranks: --version, --help, --print-config, --verify. @throws Error
void run_command(const Options& options);

/// Whether the options name such a command.
[[nodiscard]] bool is_command(const Options& options);

/// Whether they ask for a plan and no run: --plan-only, --check and what implies them.
[[nodiscard]] bool is_planning(const Options& options);

/// Makes, prints and, unless only checking, writes a plan: for the cluster that is named, else for
/// these ranks. Rank 0 plans while the others sleep. Collective.
/// @param ranks to plan for: those of `world`, or of a launcher whose ranks cannot talk
/// @throws Error
void plan_command(const Options& options, Communicator& world, int ranks, Process& process);

}  // namespace alpa
