#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "cpu/gemm.hpp"
#include "cpu/philox.hpp"
#include "cpu/rows.hpp"

/// Fused attention, one (b, h) at a time, a block of queries at a time. Scores are kept transposed,
/// [s][query]: that is how the register tile writes keys x queries, and how the next product reads
/// its right operand, so nothing is packed twice; and the softmax runs over s with one query per
/// lane.
namespace alpa::cpu {

/// Queries of one block: a register tile's columns.
template <class T>
inline constexpr std::int64_t kQueries = Tile<T>::kColumns;

template <class T>
using PerQuery = std::array<T, static_cast<std::size_t>(kQueries<T>)>;

/// Sizes, strides and mask of one launch.
struct AttentionShape {
  kernels::LetterSize b, t, h, s, d;
  bool causal;
  double scale;
  std::int64_t batch_origin;

  /// Elements from one query or key of a head to the next.
  [[nodiscard]] std::int64_t step() const { return h.extent * d.extent; }
  [[nodiscard]] std::int64_t heads() const { return b.extent * h.extent; }
  /// Start of head i of the (b, h) in a piece of `length` queries or keys.
  [[nodiscard]] std::int64_t start(std::int64_t i, std::int64_t length) const {
    return (i / h.extent * length * h.extent + i % h.extent) * d.extent;
  }
  /// Keys that a query sees: [0, visible).
  [[nodiscard]] std::int64_t visible(std::int64_t query) const {
    return causal ? std::min(s.extent, t.offset + query + 1 - s.offset) : s.extent;
  }
  /// Dropout's index of (head i, query, first key); the next query is h.full * s.full further.
  [[nodiscard]] std::int64_t dropout_index(std::int64_t i, std::int64_t query) const {
    const std::int64_t sample = batch_origin + b.offset + i / h.extent;
    const std::int64_t head = h.offset + i % h.extent;
    return ((sample * t.full + t.offset + query) * h.full + head) * s.full + s.offset;
  }
};

inline AttentionShape attention_shape(const Attention& kernel, const Launch& launch,
                                      std::span<const Piece> like_q, std::span<const Piece> like_k,
                                      const Piece& lse) {
  kernels::Letters sizes;
  for (const Piece& piece : like_q) sizes.add("bthd", piece);
  for (const Piece& piece : like_k) sizes.add("bshd", piece);
  sizes.add("bth", lse);
  AttentionShape shape{sizes.at('b'), sizes.at('t'), sizes.at('h'), sizes.at('s'),
                       sizes.at('d'), kernel.causal, kernel.scale,  launch.batch_origin};
  ALPA_CHECK(shape.d.extent == shape.d.full && shape.s.extent == shape.s.full);
  return shape;
}

/// Hands out parts of one thread's scratch, each aligned to a cache line.
template <class T>
class Scratch {
 public:
  explicit Scratch(T* memory) : memory_(memory) {}
  T* take(std::int64_t count) {
    T* part = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count, 16);
    return part;
  }
  [[nodiscard]] std::int64_t used() const { return used_; }

 private:
  T* memory_;
  std::int64_t used_ = 0;
};

/// What the forward pass of one thread works on. Of a null memory: only sizes.
template <class T>
struct ForwardBuffers {
  Scratch<T> scratch;
  T *keys, *values, *query, *scores, *output;

  ForwardBuffers(const AttentionShape& shape, T* memory)
      : scratch(memory),
        keys(scratch.take(packed_left<T>(shape.s.extent, shape.d.extent))),
        values(scratch.take(packed_left<T>(shape.d.extent, shape.s.extent))),
        query(scratch.take(packed_right<T>(shape.d.extent, kQueries<T>))),
        scores(scratch.take(round_up(shape.s.extent, Tile<T>::kRows) * kQueries<T>)),
        output(scratch.take(round_up(shape.d.extent, Tile<T>::kRows) * kQueries<T>)) {}
};

template <class T>
struct BackwardBuffers {
  Scratch<T> scratch;
  T *keys, *values;                   ///< left operands, s x d
  T* keys_across;                     ///< left operand, d x s
  T *query, *output_gradient;         ///< right operands, d x queries
  T *query_rows, *gradient_rows;      ///< right operands, queries x d
  T *probabilities, *score_gradient;  ///< [s][query]
  T* query_gradient;                  ///< [d][query]
  T *key_gradient, *value_gradient;   ///< [s][d], both rounded up to whole tiles

  BackwardBuffers(const AttentionShape& shape, T* memory) : scratch(memory) {
    const std::int64_t s = shape.s.extent, d = shape.d.extent;
    const std::int64_t score_size = round_up(s, Tile<T>::kRows) * kQueries<T>;
    const std::int64_t sum_size = round_up(s, Tile<T>::kRows) * round_up(d, Tile<T>::kColumns);
    keys = scratch.take(packed_left<T>(s, d));
    values = scratch.take(packed_left<T>(s, d));
    keys_across = scratch.take(packed_left<T>(d, s));
    query = scratch.take(packed_right<T>(d, kQueries<T>));
    output_gradient = scratch.take(packed_right<T>(d, kQueries<T>));
    query_rows = scratch.take(packed_right<T>(kQueries<T>, d));
    gradient_rows = scratch.take(packed_right<T>(kQueries<T>, d));
    probabilities = scratch.take(score_size);
    score_gradient = scratch.take(score_size);
    query_gradient = scratch.take(round_up(d, Tile<T>::kRows) * kQueries<T>);
    key_gradient = scratch.take(sum_size);
    value_gradient = scratch.take(sum_size);
  }
};

/// A block of queries of one head.
template <class T>
struct QueryBlock {
  std::int64_t head, first, count;
  std::int64_t keys_all;         ///< keys that every query of the block sees
  std::int64_t keys_any;         ///< keys that some query sees
  PerQuery<std::int32_t> limit;  ///< keys that each query sees

  QueryBlock(const AttentionShape& shape, std::int64_t head_, std::int64_t first_)
      : head(head_),
        first(first_),
        count(std::min(kQueries<T>, shape.t.extent - first_)),
        keys_all(shape.visible(first)),
        keys_any(shape.visible(first + count - 1)) {
    for (std::size_t i = 0; i < limit.size(); ++i) {
      limit[i] = static_cast<std::int32_t>(shape.visible(first + static_cast<std::int64_t>(i)));
    }
  }
};

/// to[row][query] = scale * sum over k of left(row, k) * right[k][query], for whole tiles of rows.
/// Panels of `left` are `left_depth` deep, of which `depth` count.
template <class T>
void panels_times_block(const T* left, std::int64_t left_depth, const T* right, std::int64_t rows,
                        std::int64_t depth, T scale, T* to) {
  constexpr int kRows = Tile<T>::kRows;
  for (std::int64_t i = 0; i < rows; i += kRows) {
    RegisterTile<T> tile;
    tile.template multiply<1, kRows>(left + i * left_depth, right, depth);
    tile.write(scale, false, to + i * kQueries<T>, kQueries<T>);
  }
}

/// sums[s][column] += sum over queries of block[s][query] * rows[query][column]
template <class T>
void add_block_times_rows(const T* block, const T* rows, std::int64_t keys, std::int64_t columns,
                          std::int64_t queries, T* sums) {
  constexpr int kRows = Tile<T>::kRows, kColumns = Tile<T>::kColumns;
  const std::int64_t width = round_up(columns, kColumns);
  for (std::int64_t j = 0; j < width; j += kColumns) {
    for (std::int64_t i = 0; i < keys; i += kRows) {
      RegisterTile<T> tile;
      tile.template multiply<kColumns, 1>(block + i * kColumns, rows + j * queries, queries);
      tile.write(T(1), true, sums + i * width + j, width);
    }
  }
}

/// Offsets that packing reads through: of rows of one head, and of its depth.
struct HeadOffsets {
  const std::int64_t* rows;
  const std::int64_t* depth;
};

inline std::int64_t offsets_count(const AttentionShape& shape) {
  return std::max(shape.t.extent, shape.s.extent) + shape.d.extent;
}

inline HeadOffsets write_head_offsets(const AttentionShape& shape, std::int64_t* memory) {
  const std::int64_t rows = std::max(shape.t.extent, shape.s.extent);
  for (std::int64_t i = 0; i < rows; ++i) memory[i] = i * shape.step();
  for (std::int64_t i = 0; i < shape.d.extent; ++i) memory[rows + i] = i;
  return {memory, memory + rows};
}

template <class T>
struct AttentionLaunch {
  AttentionShape shape;
  HeadOffsets offsets;
  kernels::DropoutMask mask;
  DropoutLanes lanes{mask};

  /// A head's queries or keys as a matrix, row by row, and across.
  [[nodiscard]] Matrix<const T> rows_of(const Piece& piece, std::int64_t head, std::int64_t length,
                                        std::int64_t first) const {
    return {data_of<T>(piece) + shape.start(head, length), offsets.rows + first, offsets.depth};
  }
  [[nodiscard]] Matrix<const T> across(const Piece& piece, std::int64_t head, std::int64_t length,
                                       std::int64_t first) const {
    const Matrix<const T> rows = rows_of(piece, head, length, first);
    return {rows.data, rows.columns, rows.rows};
  }

  /// Dropout's factors of one key for all queries of the block.
  void factors(const QueryBlock<T>& block, std::int64_t key, PerQuery<T>& factors) const {
    lanes.factors(shape.dropout_index(block.head, block.first) + key, shape.h.full * shape.s.full,
                  kQueries<T>, static_cast<T>(mask.scale()), factors.data());
  }
};

/// exp(x), of the nearest x in [-80, 80]. Next to 1, exp(-80) is nothing; far above 0 are only keys
/// that are hidden.
template <class T>
[[gnu::always_inline]] inline T exp_of_score(T x) {
  constexpr T kBound = T(80);
  const T above = x > -kBound ? x : -kBound;
  return exponential(above < kBound ? above : kBound);
}

/// row[query], or `instead` where causality hides the key from the query.
template <class T>
void hide(const QueryBlock<T>& block, std::int64_t key, T instead, PerQuery<T>& row) {
  if (key < block.keys_all) return;
  const auto index = static_cast<std::int32_t>(key);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = index < block.limit[i] ? row[i] : instead;
}

/// Scores to unnormalised probabilities with dropout; row sums and maxima per query.
///
/// The numbers per query are local until the end: what a reference might alias is not vectorised.
template <class T>
void softmax_block(const AttentionLaunch<T>& launch, const QueryBlock<T>& block, T* scores,
                   PerQuery<T>& maximum, PerQuery<T>& sum) {
  constexpr auto kCount = static_cast<std::size_t>(kQueries<T>);
  constexpr T kLowest = std::numeric_limits<T>::lowest();
  PerQuery<T> largest, total{}, factors, weight;
  largest.fill(kLowest);
  factors.fill(T(1));
  for (std::int64_t key = 0; key < block.keys_any; ++key) {
    std::copy_n(scores + key * kQueries<T>, kCount, weight.data());
    hide<T>(block, key, kLowest, weight);
    for (std::size_t i = 0; i < kCount; ++i) {
      largest[i] = weight[i] > largest[i] ? weight[i] : largest[i];
    }
  }
  for (std::int64_t key = 0; key < block.keys_any; ++key) {
    T* row = scores + key * kQueries<T>;
    if (launch.mask.active()) launch.factors(block, key, factors);
    for (std::size_t i = 0; i < kCount; ++i) weight[i] = exp_of_score(row[i] - largest[i]);
    hide<T>(block, key, T(0), weight);
    for (std::size_t i = 0; i < kCount; ++i) total[i] += weight[i];
    for (std::size_t i = 0; i < kCount; ++i) row[i] = weight[i] * factors[i];
  }
  maximum = largest;
  sum = total;
}

template <class T>
void forward_head(const AttentionLaunch<T>& a, const Launch& launch, std::int64_t head,
                  const ForwardBuffers<T>& buffers) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent, t = a.shape.t.extent;
  pack_left<T>(a.rows_of(launch.operands[1], head, s, 0), s, d, buffers.keys);
  pack_left<T>(a.across(launch.operands[2], head, s, 0), d, s, buffers.values);
  T* output = mutable_data_of<T>(launch.results[0]) + a.shape.start(head, t);
  T* lse = mutable_data_of<T>(launch.results[1]) + a.shape.start(head, t) / d;
  for (std::int64_t first = 0; first < t; first += kQueries<T>) {
    const QueryBlock<T> block(a.shape, head, first);
    pack_right<T>(a.across(launch.operands[0], head, t, first), d, block.count, buffers.query);
    panels_times_block<T>(buffers.keys, d, buffers.query, block.keys_any, d,
                          static_cast<T>(a.shape.scale), buffers.scores);
    PerQuery<T> maximum, sum;
    softmax_block<T>(a, block, buffers.scores, maximum, sum);
    panels_times_block<T>(buffers.values, s, buffers.scores, d, block.keys_any, T(1),
                          buffers.output);
    for (std::int64_t i = 0; i < block.count; ++i) {
      const auto lane = static_cast<std::size_t>(i);
      lse[(first + i) * a.shape.h.extent] = maximum[lane] + std::log(sum[lane]);
      const T inverse = T(1) / sum[lane];
      T* row = output + (first + i) * a.shape.step();
      for (std::int64_t k = 0; k < d; ++k) row[k] = buffers.output[k * kQueries<T> + i] * inverse;
    }
  }
}

/// From scores and the gradient of probabilities to what the three products need, in place.
template <class T>
void score_gradient_block(const AttentionLaunch<T>& a, const QueryBlock<T>& block,
                          const PerQuery<T>& lse, const PerQuery<T>& delta, T* probabilities,
                          T* gradient) {
  constexpr auto kCount = static_cast<std::size_t>(kQueries<T>);
  PerQuery<T> factors, weight;
  factors.fill(T(1));
  for (std::int64_t key = 0; key < block.keys_any; ++key) {
    T* p = probabilities + key * kQueries<T>;
    T* g = gradient + key * kQueries<T>;
    if (a.mask.active()) a.factors(block, key, factors);
    for (std::size_t i = 0; i < kCount; ++i) weight[i] = exp_of_score(p[i] - lse[i]);
    hide<T>(block, key, T(0), weight);
    for (std::size_t i = 0; i < kCount; ++i) g[i] = weight[i] * (g[i] * factors[i] - delta[i]);
    for (std::size_t i = 0; i < kCount; ++i) p[i] = weight[i] * factors[i];
  }
  const std::int64_t end = round_up(block.keys_any, Tile<T>::kRows);
  std::fill(probabilities + block.keys_any * kQueries<T>, probabilities + end * kQueries<T>, T(0));
  std::fill(gradient + block.keys_any * kQueries<T>, gradient + end * kQueries<T>, T(0));
}

/// lse, and delta = sum over d of o * do, per query; 0 beyond the block.
template <class T>
void query_statistics(const AttentionShape& shape, const Launch& launch, const QueryBlock<T>& block,
                      PerQuery<T>& lse, PerQuery<T>& delta) {
  const std::int64_t start = shape.start(block.head, shape.t.extent), d = shape.d.extent;
  const T *o = data_of<T>(launch.operands[3]) + start, *go = data_of<T>(launch.operands[5]) + start;
  const T* log_sums = data_of<T>(launch.operands[4]) + start / d;
  lse.fill(T(0));
  delta.fill(T(0));
  for (std::int64_t i = 0; i < block.count; ++i) {
    const std::int64_t row = (block.first + i) * shape.step();
    T sum = T(0);
    for (std::int64_t k = 0; k < d; ++k) sum += o[row + k] * go[row + k];
    delta[static_cast<std::size_t>(i)] = sum;
    lse[static_cast<std::size_t>(i)] = log_sums[(block.first + i) * shape.h.extent];
  }
}

template <class T>
void backward_block(const AttentionLaunch<T>& a, const Launch& launch, const QueryBlock<T>& block,
                    const BackwardBuffers<T>& x) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent, t = a.shape.t.extent;
  const auto scale = static_cast<T>(a.shape.scale);
  const Piece &q = launch.operands[0], &go = launch.operands[5];
  pack_right<T>(a.across(q, block.head, t, block.first), d, block.count, x.query);
  pack_right<T>(a.across(go, block.head, t, block.first), d, block.count, x.output_gradient);
  pack_right<T>(a.rows_of(q, block.head, t, block.first), block.count, d, x.query_rows);
  pack_right<T>(a.rows_of(go, block.head, t, block.first), block.count, d, x.gradient_rows);

  panels_times_block<T>(x.keys, d, x.query, block.keys_any, d, scale, x.probabilities);
  panels_times_block<T>(x.values, d, x.output_gradient, block.keys_any, d, T(1), x.score_gradient);
  PerQuery<T> lse, delta;
  query_statistics<T>(a.shape, launch, block, lse, delta);
  score_gradient_block<T>(a, block, lse, delta, x.probabilities, x.score_gradient);

  panels_times_block<T>(x.keys_across, s, x.score_gradient, d, block.keys_any, scale,
                        x.query_gradient);
  add_block_times_rows<T>(x.score_gradient, x.query_rows, block.keys_any, d, block.count,
                          x.key_gradient);
  add_block_times_rows<T>(x.probabilities, x.gradient_rows, block.keys_any, d, block.count,
                          x.value_gradient);
  T* dq = mutable_data_of<T>(launch.results[0]) + a.shape.start(block.head, t);
  for (std::int64_t i = 0; i < block.count; ++i) {
    T* row = dq + (block.first + i) * a.shape.step();
    for (std::int64_t k = 0; k < d; ++k) row[k] = x.query_gradient[k * kQueries<T> + i];
  }
}

template <class T>
void backward_head(const AttentionLaunch<T>& a, const Launch& launch, std::int64_t head,
                   const BackwardBuffers<T>& x) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent, t = a.shape.t.extent;
  const std::int64_t width = round_up(d, Tile<T>::kColumns);
  pack_left<T>(a.rows_of(launch.operands[1], head, s, 0), s, d, x.keys);
  pack_left<T>(a.rows_of(launch.operands[2], head, s, 0), s, d, x.values);
  pack_left<T>(a.across(launch.operands[1], head, s, 0), d, s, x.keys_across);
  std::fill_n(x.key_gradient, round_up(s, Tile<T>::kRows) * width, T(0));
  std::fill_n(x.value_gradient, round_up(s, Tile<T>::kRows) * width, T(0));
  for (std::int64_t first = 0; first < t; first += kQueries<T>) {
    backward_block<T>(a, launch, QueryBlock<T>(a.shape, head, first), x);
  }
  T* dk = mutable_data_of<T>(launch.results[1]) + a.shape.start(head, s);
  T* dv = mutable_data_of<T>(launch.results[2]) + a.shape.start(head, s);
  const auto scale = static_cast<T>(a.shape.scale);
  for (std::int64_t key = 0; key < s; ++key) {
    for (std::int64_t k = 0; k < d; ++k) {
      dk[key * a.shape.step() + k] = scale * x.key_gradient[key * width + k];
      dv[key * a.shape.step() + k] = x.value_gradient[key * width + k];
    }
  }
}

inline constexpr std::int64_t kAttentionAlignment = 64;

/// Workspace: the offsets, then each worker's buffers.
template <class T, class Buffers>
[[nodiscard]] Bytes attention_workspace(const AttentionShape& shape, int threads) {
  const std::int64_t workers = std::min<std::int64_t>(threads, shape.heads());
  const std::int64_t offsets = offsets_count(shape) * std::int64_t{sizeof(std::int64_t)};
  return Bytes{round_up(offsets, kAttentionAlignment) + kAttentionAlignment +
               workers * Buffers(shape, nullptr).scratch.used() * std::int64_t{sizeof(T)}};
}

/// Calls head(attention, launch, i, buffers) for each (b, h), over the threads.
template <class T, class Buffers, class F>
void for_each_head(const AttentionShape& shape, const Attention& kernel, const Launch& launch,
                   std::span<const Piece> step_and_training, int threads, const F& head) {
  ALPA_CHECK(static_cast<std::int64_t>(launch.workspace.size()) >=
             (attention_workspace<T, Buffers>(shape, threads).value));
  auto address = reinterpret_cast<std::uintptr_t>(launch.workspace.data());
  address = (address + kAttentionAlignment - 1) / kAttentionAlignment * kAttentionAlignment;
  auto* offsets = reinterpret_cast<std::int64_t*>(address);
  auto* memory =
      reinterpret_cast<T*>(address + static_cast<std::uintptr_t>(round_up(
                                         offsets_count(shape) * std::int64_t{sizeof(std::int64_t)},
                                         kAttentionAlignment)));
  const AttentionLaunch<T> attention{
      shape, write_head_offsets(shape, offsets),
      kernels::DropoutMask(kernel.dropout, step_and_training[0], step_and_training[1])};
  const std::int64_t per_worker = Buffers(shape, nullptr).scratch.used();
  const std::int64_t workers = std::min<std::int64_t>(threads, shape.heads());
  parallel_for(threads, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t worker = begin; worker < end; ++worker) {
      const Buffers buffers(shape, memory + worker * per_worker);
      const std::int64_t last = shape.heads() * (worker + 1) / workers;
      for (std::int64_t i = shape.heads() * worker / workers; i < last; ++i) {
        head(attention, launch, i, buffers);
      }
    }
  });
}

inline AttentionShape shape_of(const Attention& kernel, const Launch& launch) {
  AttentionShape shape = attention_shape(kernel, launch, launch.operands.first(1),
                                         launch.operands.subspan(1, 2), launch.results[1]);
  (void)attention_shape(kernel, launch, launch.results.first(1), launch.operands.subspan(1, 2),
                        launch.results[1]);
  return shape;
}

inline AttentionShape shape_of(const AttentionGradient& kernel, const Launch& launch) {
  const auto& in = launch.operands;
  const std::array<Piece, 4> like_q = {in[0], in[3], in[5], launch.results[0]};
  const std::array<Piece, 4> like_k = {in[1], in[2], launch.results[1], launch.results[2]};
  return attention_shape(kernel.attention, launch, like_q, like_k, in[4]);
}

template <class T>
void run_attention(const Attention& kernel, const Launch& launch, int threads) {
  for_each_head<T, ForwardBuffers<T>>(shape_of(kernel, launch), kernel, launch,
                                      launch.operands.subspan(3, 2), threads, forward_head<T>);
}

template <class T>
void run_attention_gradient(const AttentionGradient& kernel, const Launch& launch, int threads) {
  for_each_head<T, BackwardBuffers<T>>(shape_of(kernel, launch), kernel.attention, launch,
                                       launch.operands.subspan(6, 2), threads, backward_head<T>);
}

}  // namespace alpa::cpu
