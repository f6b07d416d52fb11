// Takes the place of mpi/ in builds without MPI.
#include <unistd.h>

#include "alpa/base/error.hpp"
#include "alpa/comm/mpi.hpp"

namespace alpa {
namespace {

[[noreturn]] void no_mpi() {
  throw SystemError(
      "this program was built without MPI and can only run as one process; install Open MPI "
      "(libopenmpi-dev), configure again and rebuild",
      ExitCode::configuration);
}

}  // namespace

bool built_with_mpi() noexcept { return false; }

MpiSession::MpiSession() : exceptions_(0) { no_mpi(); }
MpiSession::~MpiSession() = default;

std::unique_ptr<Communicator> make_mpi_world(std::int64_t /*largest_count*/) { no_mpi(); }

void abort_all(int code) noexcept { _exit(code); }

}  // namespace alpa
