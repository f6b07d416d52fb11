#pragma once

#include <mpi.h>

#include "alpa/base/error.hpp"

namespace alpa {

/// Throws SystemError with MPI's own words unless `result` is MPI_SUCCESS.
void check_mpi(int result, const char* call, SourceLine where = SourceLine::here());

}  // namespace alpa
