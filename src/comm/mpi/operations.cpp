#include "mpi/operations.hpp"

#include <array>

#include "mpi/check.hpp"
#include "reduce.hpp"

namespace alpa {
namespace {

/// MPI knows no numbers of 16 bits: these are pairs of bytes of their own to it.
MPI_Datatype make_low(const char* name) {
  MPI_Datatype type = MPI_DATATYPE_NULL;
  check_mpi(MPI_Type_contiguous(2, MPI_BYTE, &type), "MPI_Type_contiguous");
  check_mpi(MPI_Type_set_name(type, name), "MPI_Type_set_name");
  check_mpi(MPI_Type_commit(&type), "MPI_Type_commit");
  return type;
}

MPI_Datatype bf16_type() {
  static const MPI_Datatype type = make_low("bf16");  // lives until MPI_Finalize
  return type;
}

MPI_Datatype f16_type() {
  static const MPI_Datatype type = make_low("f16");
  return type;
}

DType dtype_of(MPI_Datatype type) {
  if (type == MPI_DOUBLE) return DType::f64;
  if (type == MPI_FLOAT) return DType::f32;
  if (type == bf16_type()) return DType::bf16;
  return type == f16_type() ? DType::f16 : DType::i32;
}

void combine(void* in, void* inout, int count, MPI_Datatype type, Reduction op) {
  const DType dtype = dtype_of(type);
  const auto bytes = static_cast<std::size_t>(count) * static_cast<std::size_t>(size_of(dtype));
  auto* const result = static_cast<std::byte*>(inout);
  const std::array<const std::byte*, 2> inputs = {static_cast<const std::byte*>(in), result};
  reduce_in_order(inputs, std::span(result, bytes), dtype, op);
}

extern "C" void alpa_mpi_max(void* in, void* inout, int* count, MPI_Datatype* type) {
  combine(in, inout, *count, *type, Reduction::max);
}

extern "C" void alpa_mpi_sum(void* in, void* inout, int* count, MPI_Datatype* type) {
  combine(in, inout, *count, *type, Reduction::sum);
}

MPI_Op make_op(MPI_User_function* function) {
  MPI_Op op = MPI_OP_NULL;
  check_mpi(MPI_Op_create(function, /*commute=*/1, &op), "MPI_Op_create");
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
      return bf16_type();
    case DType::f16:
      return f16_type();
  }
  check_failed("known dtype", SourceLine::here());
}

MPI_Op mpi_op(DType dtype, Reduction op) {
  static const MPI_Op max = make_op(alpa_mpi_max);  // live until MPI_Finalize
  static const MPI_Op low_sum = make_op(alpa_mpi_sum);
  if (op == Reduction::max) return max;
  return size_of(dtype) == 2 ? low_sum : MPI_SUM;
}

}  // namespace alpa
