#pragma once

#include <cstdint>
#include <memory>

#include "alpa/comm/communicator.hpp"

namespace alpa {

/// Whether this build has MPI. Without it, all below throws SystemError that says so.
[[nodiscard]] bool built_with_mpi() noexcept;

/// MPI from MPI_Init to MPI_Finalize, both of which wait for all ranks. At most one per process,
/// made once, after the watchdog has been started: MPI_Init can hang.
///
/// Built by the thread that will communicate; any thread may call abort_all. The destructor does
/// nothing when an exception is on its way: finalizing would wait for the others for ever.
class MpiSession {
 public:
  /// Throws SystemError if MPI cannot start or allows one thread only.
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

 private:
  int exceptions_;  ///< in flight when built
};

/// All ranks of the job. Collective. The messages and calls are apart from those of any other
/// communicator. Must end before the session; like all its subgroups it is freed by a collective
/// call, and not at all when an exception is on its way.
///
/// Reductions are done by the MPI library: every member gets the same bits, and the same in every
/// run of the same program on as many ranks with the same library and settings; the order of the
/// sum is the library's own, so another number of ranks may round differently. max keeps NaN.
/// A failed MPI call throws SystemError with ExitCode::rank_lost.
/// @param largest_count most elements of one MPI call (its counts are int); larger buffers go in
///        several. Smaller values than the default are for tests of that.
/// @pre an MpiSession exists; 1 <= largest_count <= 2^30, equal on all ranks
[[nodiscard]] std::unique_ptr<Communicator> make_mpi_world(
    std::int64_t largest_count = std::int64_t{1} << 30);

/// Ends every rank of the job with `code` (taken mod 256) within about a second; never returns and
/// runs no destructor. From any thread; before or after the session it ends this process alone.
[[noreturn]] void abort_all(int code) noexcept;

}  // namespace alpa
