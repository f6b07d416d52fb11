#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <mpi.h>

#include "alpa/comm/communicator.hpp"

namespace alpa {

[[nodiscard]] MPI_Datatype mpi_type(DType dtype);

/// MPI_SUM, for 16 bits a sum in f32 that is rounded at each addition; or a maximum that keeps NaN
/// (MPI_MAX may lose it).
[[nodiscard]] MPI_Op mpi_op(DType dtype, Reduction op);

/// Calls body(first, count) for runs of at most `limit` that cover [0, total).
template <class Body>
void for_each_chunk(std::int64_t total, std::int64_t limit, const Body& body) {
  for (std::int64_t first = 0; first < total; first += limit) {
    body(first, static_cast<int>(total - first < limit ? total - first : limit));
  }
}

}  // namespace alpa
