#include "alpa/graph/kernel_work.hpp"

#include <algorithm>

#include "alpa/base/overloaded.hpp"
#include "alpa/graph/aliasing.hpp"

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
  const auto read_and_changed = [&] {
    Bytes total = all();
    for (std::size_t r = 0; r < results.size(); ++r) {
      if (changes_in_place(kernel, r)) total += size_of(results[r]);
    }
    return total;
  };
  // Instead of the first operand, as much of it as the first result has elements.
  const auto looked_up = [&] {
    return all() - size_of(operands[0]) + elements_like(results[0], operands[0]);
  };
  return std::visit(
      overloaded{[&](const Embedding&) { return looked_up(); },
                 [&](const Pick&) { return looked_up(); },
                 [&](const Select&) { return looked_up(); },
                 // Clears the table, then reads and writes the rows that are touched.
                 [&](const EmbeddingGradient&) {
                   return all() + 2 * elements_like(operands[0], results[0]);
                 },
                 [&](const CopyBox&) { return 2 * common_part(operands[0], results[0]); },
                 [&](const Accumulate&) { return in_place(); },
                 [&](const Contribute&) { return in_place(); },
                 [&](const auto&) { return read_and_changed(); }},
      kernel);
}

/// Whether each operand is read along its summed index (as BLAS names it for row-major matrices):
/// x w is "nn", dy w^T "nt", x^T dy "tn". A result that ends with an index of the left operand is
/// the transposed product of the operands in reverse.
std::string orientation(const Einsum& k) {
  const auto ends_summed = [&](const Dims& dims) {
    return !dims.empty() && k.result.find(dims.back()) == Dims::npos;
  };
  const bool swapped = !k.result.empty() && k.left.find(k.result.back()) != Dims::npos &&
                       k.right.find(k.result.back()) == Dims::npos;
  const Dims& left = swapped ? k.right : k.left;
  const Dims& right = swapped ? k.left : k.right;
  return std::string(ends_summed(left) ? "n" : "t") + (ends_summed(right) ? "t" : "n");
}

/// Along rows or across them.
std::string variant_of(const Reduce& k) {
  const bool across =
      !k.result.empty() && !k.operand.empty() && k.result.back() == k.operand.back();
  return std::string(k.square ? ".square" : "") + (across ? ".across" : "");
}

std::string variant_of(const Attention& k) {
  return std::string(k.causal ? "" : ".full") + (k.dropout.probability > 0.0 ? ".dropout" : "");
}

}  // namespace

std::string kernel_kind(const Kernel& kernel) {
  return kind_of(kernel) +
         std::visit(overloaded{[](const Einsum& k) { return "." + orientation(k); },
                               [](const Reduce& k) { return variant_of(k); },
                               [](const Attention& k) { return variant_of(k); },
                               [](const AttentionGradient& k) { return variant_of(k.attention); },
                               [](const auto&) { return std::string(); }},
                    kernel);
}

KernelWork work_of(const Kernel& kernel, Pieces operands, Pieces results, Flops flops) {
  return work_of(kernel, kernel_kind(kernel), operands, results, flops);
}

KernelWork work_of(const Kernel& kernel, const std::string& kind, Pieces operands, Pieces results,
                   Flops flops) {
  const KernelPiece& first = operands.empty() ? results[0] : operands[0];
  return {kind, first.dtype, flops, moved_by(kernel, operands, results)};
}

Flops flops_of_pieces(const ShardingRule& rule, Pieces operands, Pieces results) {
  if (rule.flops_per_point == 0.0) return {0.0};
  double points = rule.flops_per_point;
  for (const Factor& factor : rule.factors) {
    if (!factor.counted) continue;
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
