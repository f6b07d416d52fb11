#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "common/dropout.hpp"
#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

/// A query: local indices of its sample, position, head of keys and place among that head's
/// queries, and its place in lse [b t h r].
struct Query {
  std::int64_t b = 0, t = 0, h = 0, r = 0, row = 0;
};

/// The rows of one attention: sizes, strides of q [b t h r d] and k [b s h d], and its mask.
class AttentionRows {
 public:
  /// `documents` are the operands with the numbers of the queries' and the keys' documents, if any.
  AttentionRows(const Attention& attention, const Letters& sizes, const Launch& launch,
                const DropoutMask& mask, std::span<const Piece> documents)
      : attention_(attention),
        mask_(mask),
        batch_origin_(launch.batch_origin),
        b_(sizes.at('b')),
        t_(sizes.at('t')),
        h_(sizes.at('h')),
        s_(sizes.at('s')),
        d_(sizes.at('d')) {
    ALPA_CHECK(d_.extent == d_.full);  // the softmax needs whole products and whole rows
    ALPA_CHECK(s_.extent == s_.full);
    if (attention.grouped) r_ = sizes.at('r');
    if (attention.documents) {
      query_documents_ = integers(documents[0]);
      key_documents_ = integers(documents[1]);
    }
  }

  [[nodiscard]] std::int64_t depth() const { return d_.extent; }
  [[nodiscard]] std::int64_t queries() const {
    return b_.extent * t_.extent * h_.extent * r_.extent;
  }
  [[nodiscard]] std::int64_t keys() const { return b_.extent * s_.extent * h_.extent; }

  template <class F>
  void for_each_query(const F& f) const {
    Query query;
    for (query.b = 0; query.b < b_.extent; ++query.b) {
      for (query.t = 0; query.t < t_.extent; ++query.t) {
        for (query.h = 0; query.h < h_.extent; ++query.h) {
          for (query.r = 0; query.r < r_.extent; ++query.r, ++query.row) f(query);
        }
      }
    }
  }

  /// The keys that a query sees, as local indices.
  [[nodiscard]] std::vector<std::int64_t> visible(const Query& query) const {
    const std::int64_t end =
        attention_.causal ? std::min(s_.extent, t_.offset + query.t + 1 - s_.offset) : s_.extent;
    std::vector<std::int64_t> keys;
    for (std::int64_t s = 0; s < end; ++s) {
      if (!attention_.documents || key_documents_[query.b * s_.extent + s] ==
                                       query_documents_[query.b * t_.extent + query.t]) {
        keys.push_back(s);
      }
    }
    return keys;
  }

  /// Place in k and v of the row of key s, in units of depth.
  [[nodiscard]] std::int64_t key_row(const Query& query, std::int64_t s) const {
    return (query.b * s_.extent + s) * h_.extent + query.h;
  }

  [[nodiscard]] double dropout_factor(const Query& query, std::int64_t s) const {
    const std::int64_t b = batch_origin_ + b_.offset + query.b;
    const std::int64_t head = (b * t_.full + t_.offset + query.t) * h_.full + h_.offset + query.h;
    return mask_.factor((head * r_.full + r_.offset + query.r) * s_.full + s_.offset + s);
  }

  [[nodiscard]] double dot(const Piece& a, std::int64_t a_row, const Piece& b,
                           std::int64_t b_row) const {
    double sum = 0.0;
    for (std::int64_t i = 0; i < depth(); ++i) {
      sum += load(a, a_row * depth() + i) * load(b, b_row * depth() + i);
    }
    return sum;
  }

 private:
  const Attention& attention_;
  const DropoutMask& mask_;
  std::int64_t batch_origin_;
  LetterSize b_, t_, h_, s_, d_;
  LetterSize r_{0, 1, 1};
  const std::int32_t* query_documents_ = nullptr;
  const std::int32_t* key_documents_ = nullptr;
};

Dims query_letters(const Attention& kernel) { return kernel.grouped ? "bthrd" : "bthd"; }
Dims row_letters(const Attention& kernel) { return kernel.grouped ? "bthr" : "bth"; }

/// The operands behind the first `count`, the numbers of documents, whose sizes it notes.
std::span<const Piece> documents_of(const Attention& kernel, const Launch& launch,
                                    std::size_t count, Letters& sizes) {
  ALPA_CHECK(launch.operands.size() == count + (kernel.documents ? 2 : 0));
  const auto documents = std::span<const Piece>(launch.operands).subspan(count);
  if (kernel.documents) {
    sizes.add("bt", documents[0]);
    sizes.add("bs", documents[1]);
  }
  return documents;
}

std::vector<double> zeros(std::int64_t count) {
  return std::vector<double>(static_cast<std::size_t>(count), 0.0);
}

void store_all(const Piece& result, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    store(result, static_cast<std::int64_t>(i), values[i]);
  }
}

/// sums[row] += factor * piece[row], over the depth.
void add_row(std::vector<double>& sums, std::int64_t to, double factor, const Piece& piece,
             std::int64_t from, std::int64_t depth) {
  for (std::int64_t i = 0; i < depth; ++i) {
    sums[static_cast<std::size_t>(to * depth + i)] += factor * load(piece, from * depth + i);
  }
}

}  // namespace

void run(const Attention& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() >= 5 && launch.results.size() == 2);
  const Piece &q = launch.operands[0], &k = launch.operands[1], &v = launch.operands[2];
  Letters sizes;
  sizes.add(query_letters(kernel), q);
  sizes.add("bshd", k);
  sizes.add("bshd", v);
  sizes.add(query_letters(kernel), launch.results[0]);
  sizes.add(row_letters(kernel), launch.results[1]);
  const auto documents = documents_of(kernel, launch, 5, sizes);
  const DropoutMask mask(kernel.dropout, launch.operands[3], launch.operands[4]);
  const AttentionRows rows(kernel, sizes, launch, mask, documents);

  auto output = zeros(rows.queries() * rows.depth());
  rows.for_each_query([&](const Query& query) {
    const std::vector<std::int64_t> visible = rows.visible(query);
    std::vector<double> scores;
    double maximum = -std::numeric_limits<double>::infinity();
    for (const std::int64_t s : visible) {
      scores.push_back(kernel.scale * rows.dot(q, query.row, k, rows.key_row(query, s)));
      maximum = std::max(maximum, scores.back());
    }
    double sum = 0.0;
    for (const double score : scores) sum += std::exp(score - maximum);
    const double lse = maximum + std::log(sum);
    store(launch.results[1], query.row, lse);
    for (std::size_t i = 0; i < visible.size(); ++i) {
      const double p = std::exp(scores[i] - lse);
      add_row(output, query.row, p * rows.dropout_factor(query, visible[i]), v,
              rows.key_row(query, visible[i]), rows.depth());
    }
  });
  store_all(launch.results[0], output);
}

// With P = softmax(scale q k^T), D the dropout factors and o = (P D) v:
//   dv = (P D)^T do,  dP = D (do v^T),  dS = P (dP - delta),  delta = row sum of do * o,
//   dq = scale dS k,  dk = scale dS^T q.
void run(const AttentionGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() >= 8 && launch.results.size() == 3);
  const Piece &q = launch.operands[0], &k = launch.operands[1], &v = launch.operands[2];
  const Piece &o = launch.operands[3], &lse = launch.operands[4], &go = launch.operands[5];
  const double scale = kernel.attention.scale;
  Letters sizes;
  for (const Piece* piece : {&q, &o, &go, &launch.results[0]}) {
    sizes.add(query_letters(kernel.attention), *piece);
  }
  for (const Piece* piece : {&k, &v, &launch.results[1], &launch.results[2]}) {
    sizes.add("bshd", *piece);
  }
  sizes.add(row_letters(kernel.attention), lse);
  const auto documents = documents_of(kernel.attention, launch, 8, sizes);
  const DropoutMask mask(kernel.attention.dropout, launch.operands[6], launch.operands[7]);
  const AttentionRows rows(kernel.attention, sizes, launch, mask, documents);

  auto dq = zeros(rows.queries() * rows.depth());
  auto dk = zeros(rows.keys() * rows.depth());
  auto dv = dk;
  rows.for_each_query([&](const Query& query) {
    const double delta = rows.dot(go, query.row, o, query.row);
    for (const std::int64_t s : rows.visible(query)) {
      const std::int64_t key = rows.key_row(query, s);
      const double p = std::exp(scale * rows.dot(q, query.row, k, key) - load(lse, query.row));
      const double factor = rows.dropout_factor(query, s);
      const double ds = p * (factor * rows.dot(go, query.row, v, key) - delta);
      add_row(dv, key, p * factor, go, query.row, rows.depth());
      add_row(dq, query.row, scale * ds, k, key, rows.depth());
      add_row(dk, key, scale * ds, q, query.row, rows.depth());
    }
  });
  store_all(launch.results[0], dq);
  store_all(launch.results[1], dk);
  store_all(launch.results[2], dv);
}

}  // namespace alpa::reference
