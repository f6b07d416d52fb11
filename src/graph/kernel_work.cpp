#include "alpa/graph/kernel_work.hpp"

#include <algorithm>

#include "alpa/base/overloaded.hpp"

namespace alpa {
namespace {

using Pieces = std::span<const KernelPiece>;

Bytes size_of(const KernelPiece& piece) { return bytes_of(piece.extent, piece.dtype); }

Bytes size_of(Pieces pieces) {
  Bytes total{0};
  for (const KernelPiece& piece : pieces) total += size_of(piece);
  return total;
}

/// As many elements of `from` as `of` has, at most all of it.
Bytes elements_like(const KernelPiece& of, const KernelPiece& from) {
  return std::min(bytes_of(of.extent, from.dtype), size_of(from));
}

/// The largest box that two boxes of these extents can have in common.
Bytes common_part(const KernelPiece& a, const KernelPiece& b) {
  Shape extent = a.extent;
  for (std::size_t d = 0; d < extent.size(); ++d) extent[d] = std::min(extent[d], b.extent[d]);
  return bytes_of(extent, a.dtype);
}

Bytes moved_by(const Kernel& kernel, Pieces operands, Pieces results) {
  const auto all = [&] { return size_of(operands) + size_of(results); };
  const auto in_place = [&] { return size_of(operands) + 2 * size_of(results); };
  // Instead of the first operand, as much of it as the first result has elements.
  const auto looked_up = [&] {
    return all() - size_of(operands[0]) + elements_like(results[0], operands[0]);
  };
  return std::visit(
      overloaded{
          [&](const Embedding&) { return looked_up(); }, [&](const Pick&) { return looked_up(); },
          [&](const Select&) { return looked_up(); },
          // Clears the table, then reads and writes the rows that are touched.
          [&](const EmbeddingGradient&) {
            return all() + 2 * elements_like(operands[0], results[0]);
          },
          [&](const CopyBox&) { return 2 * common_part(operands[0], results[0]); },
          [&](const Accumulate&) { return in_place(); }, [&](const Update&) { return in_place(); },
          [&](const Contribute&) { return in_place(); }, [&](const auto&) { return all(); }},
      kernel);
}

}  // namespace

std::string kernel_kind(const Kernel& kernel) { return kind_of(kernel); }

KernelWork work_of(const Kernel& kernel, Pieces operands, Pieces results, Flops flops) {
  const KernelPiece& first = operands.empty() ? results[0] : operands[0];
  return {kernel_kind(kernel), first.dtype, flops, moved_by(kernel, operands, results)};
}

Flops flops_of_pieces(const ShardingRule& rule, Pieces operands, Pieces results) {
  if (rule.flops_per_point == 0.0) return {0.0};
  double points = rule.flops_per_point;
  for (const Factor& factor : rule.factors) {
    std::int64_t size = factor.size;
    const auto look = [&](const std::vector<Dims>& all, Pieces pieces) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        const auto d = all[i].find(factor.name);
        if (d != Dims::npos) size = pieces[i].extent[d];
      }
    };
    look(rule.operands, operands);
    look(rule.results, results);
    points *= static_cast<double>(size);
  }
  return {points};
}

}  // namespace alpa
