#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace alpa {

/// Who started this process as one rank of several, as its environment tells.
struct Launcher {
  enum class Kind : std::uint8_t {
    none,     ///< started by hand, or by a batch script: one rank, and MPI must not be started
    mpirun,   ///< Open MPI's
    pmix,     ///< srun --mpi=pmix and others that speak PMIx
    srun,     ///< srun without PMIx: Open MPI cannot start; say so (srun --mpi=pmix)
    foreign,  ///< another MPI's mpiexec (PMI_RANK): ours would see ranks that know nothing of each
              ///< other
  };
  Kind kind = Kind::none;
  std::optional<int> rank;  ///< where it is known before MPI starts
  std::optional<int> size;

  /// Whether MPI can be started.
  [[nodiscard]] bool starts_mpi() const noexcept {
    return kind == Kind::mpirun || kind == Kind::pmix;
  }
  friend bool operator==(const Launcher&, const Launcher&) = default;
};

/// Value of an environment variable, if set.
using Environment = std::function<std::optional<std::string>(const char* name)>;

/// The environment of this process.
[[nodiscard]] std::optional<std::string> process_environment(const char* name);

/// Slurm's variables alone do not mean a launcher: a batch script has SLURM_PROCID=0, too, and
/// MPI_Init fails there. Only a step (SLURM_STEP_ID) was started by srun.
[[nodiscard]] Launcher detect_launcher(const Environment& environment);

/// What to do about a launcher that cannot start MPI; empty for the others.
[[nodiscard]] std::string advice(const Launcher& launcher);

}  // namespace alpa
