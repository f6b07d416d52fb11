#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "cpu/attention_shape.hpp"
#include "cpu/philox.hpp"
#include "cpu/rows.hpp"

/// Fused attention, one (b, h) at a time, a block of queries at a time. Scores are kept transposed,
/// [s][query]: that is how the register tile writes keys x queries, and how the next product reads
/// its right operand, so nothing is packed twice; and the softmax runs over s with one query per
/// lane.
namespace alpa::cpu {

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

/// scores[key][query] = scale * sum over d of left(key, d) * right[d][query], for the keys of the
/// block, in whole tiles.
template <class T>
void keys_times_queries(const QueryBlock<T>& block, const T* left, const T* right, std::int64_t d,
                        T scale, T* scores) {
  constexpr int kRows = Tile<T>::kRows;
  for (std::int64_t key = block.keys_begin; key < block.keys_end; key += kRows) {
    RegisterTile<T> tile;
    tile.template multiply<1, kRows>(left + key * d, right, d);
    tile.write(scale, false, scores + key * kQueries<T>, kQueries<T>);
  }
}

/// to[row][query] = scale * sum over the block's keys of left(row, key) * right[key][query], for
/// whole tiles of rows; left has `keys` keys.
template <class T>
void rows_times_scores(const QueryBlock<T>& block, const T* left, std::int64_t keys, const T* right,
                       std::int64_t rows, T scale, T* to) {
  constexpr int kRows = Tile<T>::kRows;
  const std::int64_t first = block.keys_begin;
  for (std::int64_t i = 0; i < rows; i += kRows) {
    RegisterTile<T> tile;
    tile.template multiply<1, kRows>(left + i * keys + first * kRows, right + first * kQueries<T>,
                                     block.keys_end - first);
    tile.write(scale, false, to + i * kQueries<T>, kQueries<T>);
  }
}

/// sums[s][column] += sum over queries of scores[s][query] * rows[query][column]
template <class T>
void add_scores_times_rows(const QueryBlock<T>& block, const T* scores, const T* rows,
                           std::int64_t columns, T* sums) {
  constexpr int kRows = Tile<T>::kRows, kColumns = Tile<T>::kColumns;
  const std::int64_t width = round_up(columns, kColumns);
  for (std::int64_t j = 0; j < width; j += kColumns) {
    for (std::int64_t key = block.keys_begin; key < block.keys_end; key += kRows) {
      RegisterTile<T> tile;
      tile.template multiply<kColumns, 1>(scores + key * kColumns, rows + j * block.count,
                                          block.count);
      tile.write(T(1), true, sums + key * width + j, width);
    }
  }
}

/// Offsets that packing reads through: of queries and keys of one head, and of its depth.
struct HeadOffsets {
  const std::int64_t *queries, *keys, *depth;
};

inline std::int64_t offsets_count(const AttentionShape& shape) {
  return shape.t.extent + shape.s.extent + shape.d.extent;
}

inline HeadOffsets write_head_offsets(const AttentionShape& shape, std::int64_t* memory) {
  std::int64_t* keys = memory + shape.t.extent;
  std::int64_t* depth = keys + shape.s.extent;
  for (std::int64_t i = 0; i < shape.t.extent; ++i) memory[i] = i * shape.query_step();
  for (std::int64_t i = 0; i < shape.s.extent; ++i) keys[i] = i * shape.key_step();
  for (std::int64_t i = 0; i < shape.d.extent; ++i) depth[i] = i;
  return {memory, keys, depth};
}

template <class T>
struct AttentionLaunch {
  AttentionShape shape;
  HeadOffsets offsets;
  kernels::DropoutMask mask;
  DropoutLanes lanes{mask};

  /// A block's queries, or a head's keys, as a matrix row by row.
  [[nodiscard]] Matrix<const T> queries(const Piece& piece, const QueryBlock<T>& block) const {
    return {data_of<T>(piece) + shape.query_start(block.head, block.group),
            offsets.queries + block.first, offsets.depth};
  }
  [[nodiscard]] Matrix<const T> keys(const Piece& piece, std::int64_t head) const {
    return {data_of<T>(piece) + shape.key_start(head), offsets.keys, offsets.depth};
  }

  /// Dropout's factors of one key for all queries of the block.
  void factors(const QueryBlock<T>& block, std::int64_t key, PerQuery<T>& factors) const {
    lanes.factors(shape.dropout_index(block.head, block.group, block.first) + key,
                  shape.dropout_step(), kQueries<T>, static_cast<T>(mask.scale()), factors.data());
  }
};

template <class T>
[[nodiscard]] Matrix<const T> transposed(const Matrix<const T>& rows) {
  return {rows.data, rows.columns, rows.rows};
}

/// exp(x), of the nearest x in [-80, 80]. Next to 1, exp(-80) is nothing; far above 0 are only keys
/// that are hidden.
template <class T>
[[gnu::always_inline]] inline T exp_of_score(T x) {
  constexpr T kBound = T(80);
  const T above = x > -kBound ? x : -kBound;
  return exponential(above < kBound ? above : kBound);
}

/// row[query], or `instead` where causality or its document hides the key from the query.
template <class T>
void hide(const QueryBlock<T>& block, std::int64_t key, T instead, PerQuery<T>& row) {
  if (key < block.keys_all) return;
  const auto index = static_cast<std::int32_t>(key);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = index < block.limit[i] ? row[i] : instead;
  if (block.documents_of_keys == nullptr) return;
  const std::int32_t document = block.documents_of_keys[key];
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = document == block.documents[i] ? row[i] : instead;
  }
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
  for (std::int64_t key = block.keys_begin; key < block.keys_end; ++key) {
    std::copy_n(scores + key * kQueries<T>, kCount, weight.data());
    hide<T>(block, key, kLowest, weight);
    for (std::size_t i = 0; i < kCount; ++i) {
      largest[i] = weight[i] > largest[i] ? weight[i] : largest[i];
    }
  }
  for (std::int64_t key = block.keys_begin; key < block.keys_end; ++key) {
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
void forward_block(const AttentionLaunch<T>& a, const Launch& launch, const QueryBlock<T>& block,
                   const ForwardBuffers<T>& x) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent;
  pack_right<T>(transposed(a.queries(launch.operands[0], block)), d, block.count, x.query);
  keys_times_queries<T>(block, x.keys, x.query, d, static_cast<T>(a.shape.scale), x.scores);
  PerQuery<T> maximum, sum;
  softmax_block<T>(a, block, x.scores, maximum, sum);
  rows_times_scores<T>(block, x.values, s, x.scores, d, T(1), x.output);
  const std::int64_t start = a.shape.query_start(block.head, block.group);
  T* output = mutable_data_of<T>(launch.results[0]) + start;
  T* lse = mutable_data_of<T>(launch.results[1]) + start / d;
  for (std::int64_t i = 0; i < block.count; ++i) {
    const auto lane = static_cast<std::size_t>(i);
    const std::int64_t query = (block.first + i) * a.shape.query_step();
    lse[query / d] = maximum[lane] + std::log(sum[lane]);
    const T inverse = T(1) / sum[lane];
    for (std::int64_t k = 0; k < d; ++k)
      output[query + k] = x.output[k * kQueries<T> + i] * inverse;
  }
}

template <class T>
void forward_head(const AttentionLaunch<T>& a, const Launch& launch, std::int64_t head,
                  const ForwardBuffers<T>& x) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent;
  pack_left<T>(a.keys(launch.operands[1], head), s, d, x.keys);
  pack_left<T>(transposed(a.keys(launch.operands[2], head)), d, s, x.values);
  for (std::int64_t group = 0; group < a.shape.r.extent; ++group) {
    for (std::int64_t first = 0; first < a.shape.t.extent; first += kQueries<T>) {
      forward_block<T>(a, launch, QueryBlock<T>(a.shape, head, group, first), x);
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
  for (std::int64_t key = block.keys_begin; key < block.keys_end; ++key) {
    T* p = probabilities + key * kQueries<T>;
    T* g = gradient + key * kQueries<T>;
    if (a.mask.active()) a.factors(block, key, factors);
    for (std::size_t i = 0; i < kCount; ++i) weight[i] = exp_of_score(p[i] - lse[i]);
    hide<T>(block, key, T(0), weight);
    for (std::size_t i = 0; i < kCount; ++i) g[i] = weight[i] * (g[i] * factors[i] - delta[i]);
    for (std::size_t i = 0; i < kCount; ++i) p[i] = weight[i] * factors[i];
  }
  const std::int64_t end = round_up(block.keys_end, Tile<T>::kRows);
  std::fill(probabilities + block.keys_end * kQueries<T>, probabilities + end * kQueries<T>, T(0));
  std::fill(gradient + block.keys_end * kQueries<T>, gradient + end * kQueries<T>, T(0));
}

/// lse, and delta = sum over d of o * do, per query; 0 beyond the block.
template <class T>
void query_statistics(const AttentionShape& shape, const Launch& launch, const QueryBlock<T>& block,
                      PerQuery<T>& lse, PerQuery<T>& delta) {
  const std::int64_t start = shape.query_start(block.head, block.group), d = shape.d.extent;
  const T *o = data_of<T>(launch.operands[3]) + start, *go = data_of<T>(launch.operands[5]) + start;
  const T* log_sums = data_of<T>(launch.operands[4]) + start / d;
  lse.fill(T(0));
  delta.fill(T(0));
  for (std::int64_t i = 0; i < block.count; ++i) {
    const std::int64_t row = (block.first + i) * shape.query_step();
    T sum = T(0);
    for (std::int64_t k = 0; k < d; ++k) sum += o[row + k] * go[row + k];
    delta[static_cast<std::size_t>(i)] = sum;
    lse[static_cast<std::size_t>(i)] = log_sums[row / d];
  }
}

template <class T>
void backward_block(const AttentionLaunch<T>& a, const Launch& launch, const QueryBlock<T>& block,
                    const BackwardBuffers<T>& x) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent;
  const auto scale = static_cast<T>(a.shape.scale);
  const Matrix<const T> q = a.queries(launch.operands[0], block);
  const Matrix<const T> go = a.queries(launch.operands[5], block);
  pack_right<T>(transposed(q), d, block.count, x.query);
  pack_right<T>(transposed(go), d, block.count, x.output_gradient);
  pack_right<T>(q, block.count, d, x.query_rows);
  pack_right<T>(go, block.count, d, x.gradient_rows);

  keys_times_queries<T>(block, x.keys, x.query, d, scale, x.probabilities);
  keys_times_queries<T>(block, x.values, x.output_gradient, d, T(1), x.score_gradient);
  PerQuery<T> lse, delta;
  query_statistics<T>(a.shape, launch, block, lse, delta);
  score_gradient_block<T>(a, block, lse, delta, x.probabilities, x.score_gradient);

  rows_times_scores<T>(block, x.keys_across, s, x.score_gradient, d, scale, x.query_gradient);
  add_scores_times_rows<T>(block, x.score_gradient, x.query_rows, d, x.key_gradient);
  add_scores_times_rows<T>(block, x.probabilities, x.gradient_rows, d, x.value_gradient);
  T* dq = mutable_data_of<T>(launch.results[0]) + a.shape.query_start(block.head, block.group);
  for (std::int64_t i = 0; i < block.count; ++i) {
    T* row = dq + (block.first + i) * a.shape.query_step();
    for (std::int64_t k = 0; k < d; ++k) row[k] = x.query_gradient[k * kQueries<T> + i];
  }
}

template <class T>
void backward_head(const AttentionLaunch<T>& a, const Launch& launch, std::int64_t head,
                   const BackwardBuffers<T>& x) {
  const std::int64_t s = a.shape.s.extent, d = a.shape.d.extent;
  const std::int64_t width = round_up(d, Tile<T>::kColumns);
  const Matrix<const T> keys = a.keys(launch.operands[1], head);
  pack_left<T>(keys, s, d, x.keys);
  pack_left<T>(a.keys(launch.operands[2], head), s, d, x.values);
  pack_left<T>(transposed(keys), d, s, x.keys_across);
  std::fill_n(x.key_gradient, round_up(s, Tile<T>::kRows) * width, T(0));
  std::fill_n(x.value_gradient, round_up(s, Tile<T>::kRows) * width, T(0));
  for (std::int64_t group = 0; group < a.shape.r.extent; ++group) {
    for (std::int64_t first = 0; first < a.shape.t.extent; first += kQueries<T>) {
      backward_block<T>(a, launch, QueryBlock<T>(a.shape, head, group, first), x);
    }
  }
  T* dk = mutable_data_of<T>(launch.results[1]) + a.shape.key_start(head);
  T* dv = mutable_data_of<T>(launch.results[2]) + a.shape.key_start(head);
  const auto scale = static_cast<T>(a.shape.scale);
  for (std::int64_t key = 0; key < s; ++key) {
    for (std::int64_t k = 0; k < d; ++k) {
      dk[key * a.shape.key_step() + k] = scale * x.key_gradient[key * width + k];
      dv[key * a.shape.key_step() + k] = x.value_gradient[key * width + k];
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
  const std::array<Piece, 2> like_q = {launch.operands[0], launch.results[0]};
  return attention_shape(kernel, launch, like_q, launch.operands.subspan(1, 2), launch.results[1],
                         launch.operands.subspan(5));
}

inline AttentionShape shape_of(const AttentionGradient& kernel, const Launch& launch) {
  const auto& in = launch.operands;
  const std::array<Piece, 4> like_q = {in[0], in[3], in[5], launch.results[0]};
  const std::array<Piece, 4> like_k = {in[1], in[2], launch.results[1], launch.results[2]};
  return attention_shape(kernel.attention, launch, like_q, like_k, in[4], in.subspan(8));
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
