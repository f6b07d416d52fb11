#include "mpi/operations.hpp"

#include <array>

#include "mpi/check.hpp"
#include "reduce.hpp"

namespace alpa {
namespace {

template <DType dtype>
void keep_larger(void* in, void* inout, int count) {
  const auto bytes = static_cast<std::size_t>(count) * static_cast<std::size_t>(size_of(dtype));
  auto* const result = static_cast<std::byte*>(inout);
  const std::array<const std::byte*, 2> inputs = {static_cast<const std::byte*>(in), result};
  reduce_in_order(inputs, std::span(result, bytes), dtype, Reduction::max);
}

extern "C" void alpa_mpi_max(void* in, void* inout, int* count, MPI_Datatype* type) {
  if (*type == MPI_DOUBLE) return keep_larger<DType::f64>(in, inout, *count);
  if (*type == MPI_FLOAT) return keep_larger<DType::f32>(in, inout, *count);
  keep_larger<DType::i32>(in, inout, *count);
}

MPI_Op make_max() {
  MPI_Op op = MPI_OP_NULL;
  check_mpi(MPI_Op_create(alpa_mpi_max, /*commute=*/1, &op), "MPI_Op_create");
  return op;
}

}  // namespace

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return MPI_DOUBLE;
    case DType::f32:
      return MPI_FLOAT;
    case DType::i32:
      return MPI_INT32_T;
    case DType::bf16:
    case DType::f16:
      break;
  }
  check_failed("reducible dtype", SourceLine::here());
}

MPI_Op mpi_op(Reduction op) {
  if (op == Reduction::sum) return MPI_SUM;
  static const MPI_Op max = make_max();  // lives until MPI_Finalize
  return max;
}

}  // namespace alpa
