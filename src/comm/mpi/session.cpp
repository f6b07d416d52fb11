#include <array>
#include <exception>
#include <string>
#include <unistd.h>

#include <mpi.h>

#include "alpa/comm/mpi.hpp"

#include "mpi/check.hpp"

namespace alpa {

void check_mpi(int result, const char* call, SourceLine where) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  const bool known = MPI_Error_string(result, text.data(), &length) == MPI_SUCCESS;
  throw SystemError(
      std::string(call) + " failed: " + (known ? text.data() : "error " + std::to_string(result)),
      ExitCode::rank_lost, where);
}

bool built_with_mpi() noexcept { return true; }

MpiSession::MpiSession() : exceptions_(std::uncaught_exceptions()) {
  // MULTIPLE, because a watchdog aborts from its own thread while another communicates.
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  if (provided < MPI_THREAD_SERIALIZED) {
    throw SystemError("this MPI allows calls from the main thread only (thread level " +
                          std::to_string(provided) +
                          ", needed MPI_THREAD_SERIALIZED or more); "
                          "use an Open MPI built with threads",
                      ExitCode::configuration);
  }
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > exceptions_) return;
  MPI_Finalize();
}

void abort_all(int code) noexcept {
  int started = 0;
  int ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  if (started != 0 && ended == 0) MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

}  // namespace alpa
