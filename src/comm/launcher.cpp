#include "alpa/comm/launcher.hpp"

#include <charconv>
#include <cstdlib>

namespace alpa {
namespace {

std::optional<int> number(const Environment& environment, const char* name) {
  const std::optional<std::string> text = environment(name);
  if (!text) return std::nullopt;
  int value = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || stop != end || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

Launcher detect_launcher(const Environment& environment) {
  using Kind = Launcher::Kind;
  const auto get = [&](const char* name) { return number(environment, name); };
  // mpirun inside a Slurm job sets its own variables beside Slurm's: its own count.
  if (const auto rank = get("OMPI_COMM_WORLD_RANK")) {
    return {Kind::mpirun, rank, get("OMPI_COMM_WORLD_SIZE")};
  }
  const bool step = environment("SLURM_STEP_ID") || environment("SLURM_STEPID");
  if (const auto rank = get("PMIX_RANK")) {
    return {Kind::pmix, rank, step ? get("SLURM_NTASKS") : std::nullopt};
  }
  if (step && get("SLURM_PROCID")) return {Kind::srun, get("SLURM_PROCID"), get("SLURM_NTASKS")};
  if (const auto rank = get("PMI_RANK")) return {Kind::foreign, rank, get("PMI_SIZE")};
  return {};
}

std::string advice(const Launcher& launcher) {
  switch (launcher.kind) {
    case Launcher::Kind::srun:
      return "started by srun without PMIx, so the ranks cannot find each other; "
             "use srun --mpi=pmix, or mpirun inside the job";
    case Launcher::Kind::foreign:
      return "started by the mpiexec of another MPI (PMI_RANK is set); "
             "use the mpirun of the Open MPI this program was built with";
    case Launcher::Kind::none:
    case Launcher::Kind::mpirun:
    case Launcher::Kind::pmix:
      break;
  }
  return {};
}

}  // namespace alpa
