#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/dropout.hpp"
#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

/// The rows of one attention: sizes, strides of q [b t h d] and k [b s h d], and its mask.
class AttentionRows {
 public:
  AttentionRows(const Attention& attention, const Letters& sizes, const Launch& launch,
                const DropoutMask& mask)
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
  }

  [[nodiscard]] std::int64_t depth() const { return d_.extent; }
  [[nodiscard]] std::int64_t queries() const { return b_.extent * t_.extent * h_.extent; }
  [[nodiscard]] std::int64_t keys() const { return b_.extent * s_.extent * h_.extent; }

  /// Calls f(row, b, t, h) for each query; `row` is its place in lse [b t h].
  template <class F>
  void for_each_row(const F& f) const {
    for (std::int64_t b = 0; b < b_.extent; ++b) {
      for (std::int64_t t = 0; t < t_.extent; ++t) {
        for (std::int64_t h = 0; h < h_.extent; ++h)
          f((b * t_.extent + t) * h_.extent + h, b, t, h);
      }
    }
  }

  /// Keys that query t sees: local indices [0, visible).
  [[nodiscard]] std::int64_t visible(std::int64_t t) const {
    return attention_.causal ? std::min(s_.extent, t_.offset + t + 1 - s_.offset) : s_.extent;
  }

  /// Place of a key's row in k and v, in units of depth.
  [[nodiscard]] std::int64_t key_row(std::int64_t b, std::int64_t s, std::int64_t h) const {
    return (b * s_.extent + s) * h_.extent + h;
  }

  [[nodiscard]] double dropout_factor(std::int64_t b, std::int64_t t, std::int64_t h,
                                      std::int64_t s) const {
    const std::int64_t row = ((batch_origin_ + b_.offset + b) * t_.full + t_.offset + t) * h_.full;
    return mask_.factor((row + h_.offset + h) * s_.full + s_.offset + s);
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
};

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
  ALPA_CHECK(launch.operands.size() == 5 && launch.results.size() == 2);
  const Piece &q = launch.operands[0], &k = launch.operands[1], &v = launch.operands[2];
  Letters sizes;
  sizes.add("bthd", q);
  sizes.add("bshd", k);
  sizes.add("bshd", v);
  sizes.add("bthd", launch.results[0]);
  sizes.add("bth", launch.results[1]);
  const DropoutMask mask(kernel.dropout, launch.operands[3], launch.operands[4]);
  const AttentionRows rows(kernel, sizes, launch, mask);

  auto output = zeros(rows.queries() * rows.depth());
  rows.for_each_row([&](std::int64_t row, std::int64_t b, std::int64_t t, std::int64_t h) {
    const std::int64_t visible = rows.visible(t);
    std::vector<double> scores;
    double maximum = -std::numeric_limits<double>::infinity();
    for (std::int64_t s = 0; s < visible; ++s) {
      scores.push_back(kernel.scale * rows.dot(q, row, k, rows.key_row(b, s, h)));
      maximum = std::max(maximum, scores.back());
    }
    double sum = 0.0;
    for (const double score : scores) sum += std::exp(score - maximum);
    const double lse = maximum + std::log(sum);
    store(launch.results[1], row, lse);
    for (std::int64_t s = 0; s < visible; ++s) {
      const double p = std::exp(scores[static_cast<std::size_t>(s)] - lse);
      add_row(output, row, p * rows.dropout_factor(b, t, h, s), v, rows.key_row(b, s, h),
              rows.depth());
    }
  });
  store_all(launch.results[0], output);
}

// With P = softmax(scale q k^T), D the dropout factors and o = (P D) v:
//   dv = (P D)^T do,  dP = D (do v^T),  dS = P (dP - delta),  delta = row sum of do * o,
//   dq = scale dS k,  dk = scale dS^T q.
void run(const AttentionGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 8 && launch.results.size() == 3);
  const Piece &q = launch.operands[0], &k = launch.operands[1], &v = launch.operands[2];
  const Piece &o = launch.operands[3], &lse = launch.operands[4], &go = launch.operands[5];
  const double scale = kernel.attention.scale;
  Letters sizes;
  for (const Piece* piece : {&q, &o, &go, &launch.results[0]}) sizes.add("bthd", *piece);
  for (const Piece* piece : {&k, &v, &launch.results[1], &launch.results[2]}) {
    sizes.add("bshd", *piece);
  }
  sizes.add("bth", lse);
  const DropoutMask mask(kernel.attention.dropout, launch.operands[6], launch.operands[7]);
  const AttentionRows rows(kernel.attention, sizes, launch, mask);

  auto dq = zeros(rows.queries() * rows.depth());
  auto dk = zeros(rows.keys() * rows.depth());
  auto dv = dk;
  rows.for_each_row([&](std::int64_t row, std::int64_t b, std::int64_t t, std::int64_t h) {
    const double delta = rows.dot(go, row, o, row);
    for (std::int64_t s = 0; s < rows.visible(t); ++s) {
      const std::int64_t key = rows.key_row(b, s, h);
      const double p = std::exp(scale * rows.dot(q, row, k, key) - load(lse, row));
      const double factor = rows.dropout_factor(b, t, h, s);
      const double ds = p * (factor * rows.dot(go, row, v, key) - delta);
      add_row(dv, key, p * factor, go, row, rows.depth());
      add_row(dq, row, scale * ds, k, key, rows.depth());
      add_row(dk, key, scale * ds, q, row, rows.depth());
    }
  });
  store_all(launch.results[0], dq);
  store_all(launch.results[1], dk);
  store_all(launch.results[2], dv);
}

}  // namespace alpa::reference
