#pragma once

#include "alpa/base/error.hpp"
#include "alpa/comm/communicator.hpp"
#include "alpa/report/log.hpp"
#include "alpa/runtime/fault.hpp"
#include "alpa/runtime/watchdog.hpp"

#include "options.hpp"

namespace alpa {

/// What main has made before there is a configuration.
struct Process {
  Watchdog& watchdog;
  FaultPlan faults;
  Log& log;
  bool stdout_watched = false;  ///< a person sees stdout on a terminal
  bool stderr_watched = false;
};

/// Trains on all ranks of `world`, from configuration to exit.yaml. Collective.
/// @return done, or stopped after saving on request
/// @throws Error with the exit code of what went wrong
[[nodiscard]] ExitCode train(const Options& options, Communicator& world, Process& process);

}  // namespace alpa
