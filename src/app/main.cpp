#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/comm/communicator.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/comm/launcher.hpp"
#include "alpa/comm/mpi.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/runtime/signals.hpp"
#include "alpa/runtime/terminate.hpp"
#include "alpa/runtime/watchdog.hpp"

#include "commands.hpp"
#include "options.hpp"
#include "terminal.hpp"
#include "train.hpp"

namespace alpa {
namespace {

/// The watchdog starts before there is a configuration: an argument counts from the start, a bad
/// one is reported with the rest.
Seconds patience_of(const Options& options) {
  for (const std::string& word : options.overrides) {
    if (!word.starts_with("training.watchdog=")) continue;
    try {
      return parse_run_config("{}", "command line", {word}).training.watchdog;
    } catch (const UserError&) {
      break;
    }
  }
  return TrainingConfig().watchdog;
}

/// Nothing here catches: an exception reaches the terminate handler with the stack still standing,
/// because unwinding through MPI or HDF5 would wait for ranks that no longer answer.
int run(const std::vector<std::string>& arguments) {
  const Launcher launcher = detect_launcher(process_environment);
  const int rank = launcher.rank.value_or(0);
  TerminateContext context;
  context.rank = rank;
  context.host = host_name();
  install_terminate_handler(context);
  const bool closed = protect_standard_streams();
  install_signal_handlers();

  const Options options = parse_options(arguments);
  if (is_command(options)) {
    if (rank == 0) run_command(options);
    return 0;
  }
  // A plan for a named cluster needs no ranks; nor do those that cannot talk to each other.
  const bool planning = is_planning(options);
  const bool alone = planning && (options.cluster || !launcher.starts_mpi());
  if (alone && rank != 0) return 0;
  const std::string problem = planning ? "" : advice(launcher);
  if (!problem.empty()) throw UserError(problem, ExitCode::usage);

  Log log;
  if (closed) log.warning("stdout is closed: progress goes to log.txt alone");
  WatchdogOptions watch;
  watch.rank = rank;
  watch.host = context.host;
  watch.patience = patience_of(options);
  Watchdog watchdog(watch);
  watchdog.enter(RunPhase::init);
  FaultPlan faults = FaultPlan::from_environment();
  faults.set_rank(rank);
  faults.reach("init");
  Process process{watchdog, faults, log, is_watched(launcher, 1), is_watched(launcher, 2)};
  ExitCode code = ExitCode::done;
  const auto work = [&](Communicator& world) {
    if (!planning) {
      code = train(options, world, process);
      return;
    }
    watchdog.set_patience(Seconds{0.0});  // the others sleep for as long as rank 0 plans
    plan_command(options, world, alone ? launcher.size.value_or(1) : world.size(), process);
  };
  if (launcher.starts_mpi() && !alone) {
    watchdog.set_end(abort_all);
    MpiSession session;
    const auto world = make_mpi_world();
    faults.set_rank(world->rank());
    watchdog.set_rank(world->rank(), context.host);
    context.rank = world->rank();
    context.end = abort_all;
    install_terminate_handler(context);
    work(*world);
  } else {
    run_alone(work);
  }
  return static_cast<int>(code);
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) { return alpa::run({argv + 1, argv + argc}); }
