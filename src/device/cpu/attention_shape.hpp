#pragma once

#include <algorithm>
#include <array>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "cpu/gemm.hpp"

/// Sizes and mask of attention: what each query of a launch may see.
namespace alpa::cpu {

/// Queries of one block: a register tile's columns.
template <class T>
inline constexpr std::int64_t kQueries = Tile<T>::kColumns;

template <class T>
using PerQuery = std::array<T, static_cast<std::size_t>(kQueries<T>)>;

/// Sizes, strides and mask of one launch. r: queries that share a head of keys and values.
struct AttentionShape {
  kernels::LetterSize b, t, h, s, d, r;
  bool causal;
  double scale;
  std::int64_t batch_origin;
  const std::int32_t* query_documents;  ///< [b t]; null: one document
  const std::int32_t* key_documents;    ///< [b s]

  /// Elements from one query, or key, of a head to the next.
  [[nodiscard]] std::int64_t query_step() const { return h.extent * r.extent * d.extent; }
  [[nodiscard]] std::int64_t key_step() const { return h.extent * d.extent; }
  [[nodiscard]] std::int64_t heads() const { return b.extent * h.extent; }
  /// Start of head i of the (b, h) in a piece of queries, of those with number `group`, and in one
  /// of keys.
  [[nodiscard]] std::int64_t query_start(std::int64_t i, std::int64_t group) const {
    const std::int64_t head = i / h.extent * t.extent * h.extent + i % h.extent;
    return (head * r.extent + group) * d.extent;
  }
  [[nodiscard]] std::int64_t key_start(std::int64_t i) const {
    return (i / h.extent * s.extent * h.extent + i % h.extent) * d.extent;
  }
  /// Keys that a query sees, if they are of its document: [0, visible).
  [[nodiscard]] std::int64_t visible(std::int64_t query) const {
    return causal ? std::min(s.extent, t.offset + query + 1 - s.offset) : s.extent;
  }
  /// Dropout's index of (head i, group, query, first key), and from one query to the next.
  [[nodiscard]] std::int64_t dropout_index(std::int64_t i, std::int64_t group,
                                           std::int64_t query) const {
    const std::int64_t sample = batch_origin + b.offset + i / h.extent;
    const std::int64_t head = (h.offset + i % h.extent) * r.full + r.offset + group;
    return ((sample * t.full + t.offset + query) * h.full * r.full + head) * s.full + s.offset;
  }
  [[nodiscard]] std::int64_t dropout_step() const { return h.full * r.full * s.full; }
};

inline AttentionShape attention_shape(const Attention& kernel, const Launch& launch,
                                      std::span<const Piece> like_q, std::span<const Piece> like_k,
                                      const Piece& lse, std::span<const Piece> documents) {
  kernels::Letters sizes;
  for (const Piece& piece : like_q) sizes.add(kernel.grouped ? "bthrd" : "bthd", piece);
  for (const Piece& piece : like_k) sizes.add("bshd", piece);
  sizes.add(kernel.grouped ? "bthr" : "bth", lse);
  ALPA_CHECK(documents.size() == (kernel.documents ? 2 : 0));
  if (kernel.documents) {
    sizes.add("bt", documents[0]);
    sizes.add("bs", documents[1]);
  }
  const kernels::LetterSize one{0, 1, 1};
  AttentionShape shape{sizes.at('b'),
                       sizes.at('t'),
                       sizes.at('h'),
                       sizes.at('s'),
                       sizes.at('d'),
                       kernel.grouped ? sizes.at('r') : one,
                       kernel.causal,
                       kernel.scale,
                       launch.batch_origin,
                       kernel.documents ? kernels::integers(documents[0]) : nullptr,
                       kernel.documents ? kernels::integers(documents[1]) : nullptr};
  ALPA_CHECK(shape.d.extent == shape.d.full && shape.s.extent == shape.s.full);
  return shape;
}

/// A block of queries of one head, those with number `group`. Keys are looked at from keys_begin,
/// a multiple of a register tile's rows, to keys_end; those before keys_all every query sees.
template <class T>
struct QueryBlock {
  std::int64_t head, group, first, count;
  std::int64_t keys_all, keys_begin = 0, keys_end;
  PerQuery<std::int32_t> limit;                     ///< the end of the keys that each query sees
  PerQuery<std::int32_t> documents{};               ///< of each query
  const std::int32_t* documents_of_keys = nullptr;  ///< of the sample's keys, if there are several

  QueryBlock(const AttentionShape& shape, std::int64_t head_, std::int64_t group_,
             std::int64_t first_)
      : head(head_),
        group(group_),
        first(first_),
        count(std::min(kQueries<T>, shape.t.extent - first_)),
        keys_all(shape.visible(first)),
        keys_end(shape.visible(first + count - 1)) {
    for (std::size_t i = 0; i < limit.size(); ++i) {
      limit[i] = static_cast<std::int32_t>(shape.visible(first + static_cast<std::int64_t>(i)));
    }
    if (shape.query_documents != nullptr) keep_documents(shape);
  }

  /// Keys before the first and behind the last one of a document of the block are left out.
  void keep_documents(const AttentionShape& shape) {
    const std::int64_t sample = head / shape.h.extent;
    const std::int32_t* queries = shape.query_documents + sample * shape.t.extent + first;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      documents[i] = queries[std::min(static_cast<std::int64_t>(i), count - 1)];
    }
    documents_of_keys = shape.key_documents + sample * shape.s.extent;
    const auto seen = [&](std::int64_t key) {
      return std::find(documents.begin(), documents.end(), documents_of_keys[key]) !=
             documents.end();
    };
    while (keys_end > 0 && !seen(keys_end - 1)) --keys_end;
    while (keys_begin < keys_end && !seen(keys_begin)) ++keys_begin;
    keys_begin -= keys_begin % Tile<T>::kRows;
    keys_all = 0;
  }
};

}  // namespace alpa::cpu
