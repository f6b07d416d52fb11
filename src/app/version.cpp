#include "version.hpp"

#include "alpa/comm/mpi.hpp"

namespace alpa {

std::string version_text() {
  return std::string("alpa_train ") + ALPA_VERSION + (built_with_mpi() ? " (MPI, CPU)" : " (CPU)");
}

}  // namespace alpa
