#pragma once

#include <span>
#include <string>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/base/units.hpp"
#include "alpa/graph/kernel.hpp"
#include "alpa/graph/rule.hpp"

namespace alpa {

/// The local part of one operand or result.
struct KernelPiece {
  DType dtype = DType::f32;
  Shape extent;
};

/// What a device has to do for a kernel on pieces of these sizes: enough to look its time up.
struct KernelWork {
  std::string kind;  ///< stable name: "einsum.nn", "map.gelu", "attention", "update.adamw", ...
  DType dtype = DType::f32;
  Flops flops{};  ///< of products; 0 for the rest
  Bytes moved{};  ///< read and written: of tables only the rows that are touched
};

/// Name of the kernel's kind in profiles and cluster files; kernels of one kind take about the same
/// time for the same work. That of kind_of, with what decides the speed behind it: how the operands
/// of a product are read ("einsum.nn", ".nt", ".tn", ".tt"), whether a sum runs along rows or
/// across them, which part of the square attention needs ("attention.full") and whether it drops
/// elements.
[[nodiscard]] std::string kernel_kind(const Kernel& kernel);

/// The dtype is the first operand's (that of a kernel without operands its result's): what products
/// multiply. Of tables, picked letters and boxes only the elements that are used count; what is
/// changed in place counts as read and written.
/// @param flops of these pieces (see flops_of_pieces)  @pre there is an operand or a result
[[nodiscard]] KernelWork work_of(const Kernel& kernel, std::span<const KernelPiece> operands,
                                 std::span<const KernelPiece> results, Flops flops);
/// The same for those who ask often.  @param kind that of the kernel
[[nodiscard]] KernelWork work_of(const Kernel& kernel, const std::string& kind,
                                 std::span<const KernelPiece> operands,
                                 std::span<const KernelPiece> results, Flops flops);

/// FLOPs of an operator on pieces: FLOPs per point times the product of the sizes that the pieces
/// have of all factors.
[[nodiscard]] Flops flops_of_pieces(const ShardingRule& rule, std::span<const KernelPiece> operands,
                                    std::span<const KernelPiece> results);

}  // namespace alpa
