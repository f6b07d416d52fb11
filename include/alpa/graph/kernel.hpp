#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "alpa/base/optimizer_kind.hpp"

namespace alpa {

/// The dimensions of one tensor, a letter each, outermost first: "bte" is [batch, time, embedding].
/// Within one kernel, equal letters are the same index. A scalar has the empty string.
using Dims = std::string;

/// Kernels, the closed set of what a device can run. A kernel is a pure description: which index
/// belongs to which dimension, and constants. Sizes come at launch, from the box (offset, extent,
/// full shape) of each operand and result; so one description serves every piece of a sharded
/// tensor.
///
/// Unless said otherwise an operand may lack letters of the result (it is broadcast), and all
/// floating-point operands and results have one dtype, or f64 where it says f64. Where that dtype
/// is bf16 or f16, kernels compute in f32 or wider, and these may be f32: statistics of rows
/// (maxima, sums of exponentials, lse), what a row's element is picked from it, gates, and targets
/// and weights of losses.

/// result[...] = scale * sum over letters missing in `result` of left[...] * right[...].
/// Every letter stands in at least two of the three; no letter twice in one of them.
struct Einsum {
  Dims left, right, result;
  double scale = 1.0;
  friend bool operator==(const Einsum&, const Einsum&) = default;
};

enum class MapOp : std::uint8_t {
  copy,                    ///< x; also converts between dtypes (f64, f32, bf16, f16)
  add,                     ///< x + y (+ z ...), any number of operands
  add_scaled,              ///< x + constant * y
  subtract,                ///< x - y
  multiply,                ///< x * y
  scale,                   ///< constant * x
  relu,                    ///< max(x, 0)
  relu_gradient,           ///< (x, dy): x > 0 ? dy : 0
  gelu,                    ///< x * Phi(x), with erf
  gelu_gradient,           ///< (x, dy)
  gelu_tanh,               ///< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  gelu_tanh_gradient,      ///< (x, dy)
  silu,                    ///< x * sigmoid(x)
  silu_gradient,           ///< (x, dy)
  tanh,                    ///< tanh(x)
  tanh_gradient,           ///< (x, dy)
  softmax,                 ///< (x, max, sum_exp): exp(x - max) / sum_exp
  softmax_gradient,        ///< (y, dy, dot): y * (dy - dot), dot = row sum of y * dy
  cross_entropy,           ///< (max, sum_exp, picked, weight, inverse_weight):
                           ///< weight * inverse_weight * (log(sum_exp) + max - picked), result f64
  squared_error,           ///< (y, target, weight, inverse_weight): constant * w * iw * (y - t)^2,
                           ///< result f64
  squared_error_gradient,  ///< (y, target, weight, inverse_weight): 2 * constant * w * iw * (y - t)
  hit,                     ///< (max, picked, weight): picked >= max ? weight : 0, result f64
};

/// Elementwise: result index by index, operands broadcast over letters they lack.
/// `inverse_weight` operands are f64 scalars of the step state.
struct Map {
  MapOp op = MapOp::copy;
  std::vector<Dims> operands;
  Dims result;
  double constant = 1.0;
  friend bool operator==(const Map&, const Map&) = default;
};

enum class ReduceOp : std::uint8_t { sum, max };

/// result = sum or maximum over the letters of `operand` that `result` lacks. With `square`, of the
/// squares. The sum is taken in f64; the result has the operand's dtype or a wider one.
struct Reduce {
  ReduceOp op = ReduceOp::sum;
  bool square = false;
  Dims operand, result;
  friend bool operator==(const Reduce&, const Reduce&) = default;
};

/// (x, max) -> sum over the letters that `max` lacks of exp(x - max).
struct SumExp {
  Dims operand, result;
  friend bool operator==(const SumExp&, const SumExp&) = default;
};

/// (x [.. v], labels [..] i32) -> x[.., labels[..]], 0 where the label lies outside the box of v
/// (so pieces of a split v add up) or is negative. With label smoothing s in (0, 1) it gives
/// (1 - s) * x[.., labels[..]] + s / V * (sum of x over the box of v), V the full size of v.
struct Pick {
  Dims operand, labels;
  char letter = 'v';
  double smoothing = 0.0;
  friend bool operator==(const Pick&, const Pick&) = default;
};

/// (x [.. v], max [..], sum_exp [..], labels [..] i32, weight [..], inverse_weight f64 []) -> dx:
/// (exp(x - max) / sum_exp - (1 - smoothing) [v == label] - smoothing / V) * weight *
/// inverse_weight.
struct CrossEntropyGradient {
  Dims operand, labels;
  char letter = 'v';
  double smoothing = 0.0;
  friend bool operator==(const CrossEntropyGradient&, const CrossEntropyGradient&) = default;
};

/// (table [v e], ids [b t] i32) -> [b t e]; rows outside the box of v count as 0.
struct Embedding {
  Dims table, ids, result;
  friend bool operator==(const Embedding&, const Embedding&) = default;
};

/// (dy [b t e], ids [b t] i32) -> dtable [v e], overwriting; rows outside the box are skipped.
struct EmbeddingGradient {
  Dims gradient, ids, table;
  friend bool operator==(const EmbeddingGradient&, const EmbeddingGradient&) = default;
};

/// x -> (sum of x, sum of x^2) over the letters `over`, both f64, with the other letters of x; a
/// split of one of `over` leaves partial sums.
///
/// With a group g > 1, g consecutive indices of the first letter share their statistics: that
/// letter has 1/g of x's extent in the sums, and pieces of x hold whole groups.
///
/// Example: batch norm over groups of 32 samples, "byxc" over "yx", [64, 8, 8, c] -> "bc" [2, c].
struct NormMoments {
  Dims operand;
  Dims over = "e";
  std::int64_t group = 1;
  friend bool operator==(const NormMoments&, const NormMoments&) = default;
};

/// What the kernels of a normalisation share. x^ = (x - mean) * rstd with the biased variance
/// (layer norm: over the last letter; batch norm: over all but the channels); RMS norm (`rms`): x^
/// = x / sqrt(mean(x^2) + epsilon). n is `group` times the full sizes of `over`, so that kernels
/// see the whole statistics whatever piece they hold. Below, [r] are the letters of the statistics.
struct NormAttributes {
  Dims operand;            ///< of x
  Dims over = "e";         ///< the normalised letters
  Dims parameters = "e";   ///< of scale and bias: letters of x
  std::int64_t group = 1;  ///< as in NormMoments
  bool rms = false;
  double epsilon = 1e-5;
  friend bool operator==(const NormAttributes&, const NormAttributes&) = default;
};

/// (x, sum, square_sum, scale, bias if `bias`) -> x^ * scale + bias
struct NormApply {
  NormAttributes norm;
  bool bias = true;
  friend bool operator==(const NormApply&, const NormApply&) = default;
};

/// (dy, x, sum, square_sum, scale) -> (sum of g, sum of g * x^) over `over`, g = dy * scale; f64.
struct NormGradientMoments {
  NormAttributes norm;
  friend bool operator==(const NormGradientMoments&, const NormGradientMoments&) = default;
};

/// (dy, x, sum, square_sum, scale, g_sum, gx_sum) -> dx = rstd * (g - g_sum/n - x^ * gx_sum/n);
/// without the g_sum term for RMS norm.
struct NormGradientInput {
  NormAttributes norm;
  friend bool operator==(const NormGradientInput&, const NormGradientInput&) = default;
};

/// (dy, x, sum, square_sum) -> (dscale = sum of dy * x^, dbias = sum of dy if `bias`), over all
/// letters that are not of `parameters`.
struct NormGradientParameters {
  NormAttributes norm;
  bool bias = true;
  friend bool operator==(const NormGradientParameters&, const NormGradientParameters&) = default;
};

/// (sum [r], square_sum [r]) -> (mean, variance), all f64: factor * the sum over the letters of
/// `row` that are not of `parameters` of sum / n, of square_sum / n - (sum / n)^2. What batch
/// norm's running statistics are averages of, if 1/factor is the number of groups.
struct NormStatistics {
  Dims row, parameters;
  double n = 1.0;
  double factor = 1.0;
  friend bool operator==(const NormStatistics&, const NormStatistics&) = default;
};

/// (sum [r], square_sum [r], mean, variance, training f64 []) -> (sum, square_sum), all f64: the
/// operands where training != 0, else the moments that mean and variance stand for, n * mean and
/// n * (variance + mean^2).
struct NormBlend {
  Dims row, parameters;
  double n = 1.0;
  friend bool operator==(const NormBlend&, const NormBlend&) = default;
};

/// result = operand[.. letter = index ..], without the letter: "btkhd", 'k', 1 -> "bthd".
struct Select {
  Dims operand;
  char letter = 'k';
  std::int64_t index = 0;
  friend bool operator==(const Select&, const Select&) = default;
};

/// The inverse: operands in order stacked along `letter` of `result`; one operand per index.
struct Stack {
  Dims result;
  char letter = 'k';
  friend bool operator==(const Stack&, const Stack&) = default;
};

/// Dropout's random numbers: element i of the tensor (row-major index in the *global* batch) is
/// kept if uniform(key, step, i) >= probability, with uniform() of base/random.hpp. The batch is
/// the letter 'b'; a microbatch starts at Launch::batch_origin.
struct DropoutAttributes {
  double probability = 0.0;
  std::uint64_t key = 0;
  friend bool operator==(const DropoutAttributes&, const DropoutAttributes&) = default;
};

/// (x, step f64 [], training f64 []) -> x * kept / (1 - p); x itself where training == 0. Its own
/// derivative.
struct Dropout {
  Dims operand;
  DropoutAttributes dropout;
  friend bool operator==(const Dropout&, const Dropout&) = default;
};

/// (q [b t h d], k [b s h d], v [b s h d], step f64, training f64) -> (o [b t h d], lse [b t h]).
/// o = dropout(softmax(scale * q k^T)) v, per b and h; with `causal` query t (global index) sees
/// keys s <= t. lse = log of the row's sum of exponentials (natural, with the maximum added back).
/// The dropout index is ((b * T + t) * H + h) * S + s with full sizes T, H, S and the global b.
///
/// With `grouped`, r query heads share each head of keys and values: q and o are [b t h r d], lse
/// is [b t h r], and the dropout index has h * R + r in the place of h.
/// With `documents`, two operands more, i32 [b t] and [b s] (the same tensor): a query sees only
/// keys with its own number.
struct Attention {
  bool causal = true;
  double scale = 1.0;
  DropoutAttributes dropout;
  bool grouped = false;
  bool documents = false;
  friend bool operator==(const Attention&, const Attention&) = default;
};

/// (q, k, v, o, lse, do, step, training[, documents of t, of s]) -> (dq, dk, dv). A split of t (or
/// of r) leaves dk, dv partial.
struct AttentionGradient {
  Attention attention;
  friend bool operator==(const AttentionGradient&, const AttentionGradient&) = default;
};

/// Rotary positions (Su et al. 2021) in halves: for i < d/2, with angle a = t * base^(-2i/d), t the
/// global index, the pair (x[i], x[i + d/2]) is turned by a, by -a with `inverse` (its derivative).
/// `operand` ends with 'd' and has a letter 't'.
struct Rotary {
  Dims operand = "bthd";
  double base = 10000.0;
  bool inverse = false;
  friend bool operator==(const Rotary&, const Rotary&) = default;
};

/// The same elements in the same order under another shape. The letters that both end with are the
/// same dimensions; before them operand and result have the same number of elements. If both have
/// letters there, the first of both must be the same letter: a split of it, into parts that divide
/// both extents, splits the elements alike; the other leading letters stay whole.
///
/// Example: "bte" [8, 64, e] -> "bse" [4, 128, e], groups of two samples; 'b' can be split by 2, 4.
struct View {
  Dims operand, result;
  friend bool operator==(const View&, const View&) = default;
};

/// How tokens of a group are given to experts (GShard, Lepikhin et al. 2020; top-1 as Switch,
/// Fedus et al. 2021). Each token's k-th choice is its expert of k-th highest probability, ties to
/// the lowest index. Slots of an expert are given in the order of the tokens, first to all first
/// choices, then to the second, and so on; a choice that finds none is dropped. Gates are the
/// probabilities of the choices, divided by their sum (before dropping) if top_k > 1.
struct RouteAttributes {
  std::int64_t top_k = 2;
  std::int64_t capacity = 1;  ///< slots of an expert in a group
  friend bool operator==(const RouteAttributes&, const RouteAttributes&) = default;
};

/// (probabilities [b s x]) -> (expert i32 [b s k], slot i32 [b s k], gate [b s k], density f64
/// [b x]). b groups, s tokens of a group, x experts. slot is -1 for what was dropped, density the
/// share of the group's tokens whose first choice is x.
struct Route {
  RouteAttributes route;
  friend bool operator==(const Route&, const Route&) = default;
};

/// (probabilities [b s x], expert, dgate [b s k]) -> dprobabilities [b s x].
struct RouteGradient {
  RouteAttributes route;
  friend bool operator==(const RouteGradient&, const RouteGradient&) = default;
};

/// (x [b s e], expert [b s k], slot [b s k][, gate [b s k] if `gated`]) -> [x b c e]: each token
/// (times its gate) in the slots it was given, 0 in empty ones. Rows outside the box of x are left
/// to the device that holds them.
struct Dispatch {
  bool gated = false;
  friend bool operator==(const Dispatch&, const Dispatch&) = default;
};

/// (y [x b c e], expert [b s k], slot [b s k][, gate]) -> [b s e]: sum over k of (gate *)
/// y[expert, b, slot]; what lies outside the box of x counts as 0, so pieces of a split x add up.
struct Combine {
  bool gated = false;
  friend bool operator==(const Combine&, const Combine&) = default;
};

/// (dy [b s e], y [x b c e], expert, slot) -> dgate [b s k] = sum over e of dy * y[expert, b,
/// slot].
struct GateGradient {
  friend bool operator==(const GateGradient&, const GateGradient&) = default;
};

/// A window that moves over the rows and columns of an image: output (h, w) sees inputs
/// (stride * h - padding + k, stride * w - padding + l), those outside count as absent.
struct Window {
  std::int64_t size = 1;  ///< of its sides, for pooling; a convolution has that of its weight
  std::int64_t stride = 1, padding = 0;
  friend bool operator==(const Window&, const Window&) = default;
};

/// (x [b y x c], weight [k l c o]) -> [b h w o], cross-correlation; what lies outside is 0.
/// h = floor((y + 2 padding - k) / stride) + 1.
struct Convolution {
  Window window;
  friend bool operator==(const Convolution&, const Convolution&) = default;
};
/// (dy [b h w o], weight [k l c o]) -> dx [b y x c]
struct ConvolutionGradientInput {
  Window window;
  friend bool operator==(const ConvolutionGradientInput&,
                         const ConvolutionGradientInput&) = default;
};
/// (x [b y x c], dy [b h w o]) -> dweight [k l c o]
struct ConvolutionGradientWeight {
  Window window;
  friend bool operator==(const ConvolutionGradientWeight&,
                         const ConvolutionGradientWeight&) = default;
};

/// (x [b y x c]) -> (y [b h w c], place i32 [b h w c]): the maximum in the window and where it is
/// (y * X + x, the first of equal ones).
struct MaxPool {
  Window window;
  friend bool operator==(const MaxPool&, const MaxPool&) = default;
};
/// (dy [b h w c], place i32 [b h w c]) -> dx [b y x c]
struct MaxPoolGradient {
  Window window;
  friend bool operator==(const MaxPoolGradient&, const MaxPoolGradient&) = default;
};
/// (x [b y x c]) -> [b h w c]: the mean over the part of the window that lies inside the image.
struct AveragePool {
  Window window;
  friend bool operator==(const AveragePool&, const AveragePool&) = default;
};
/// (dy [b h w c]) -> dx [b y x c]
struct AveragePoolGradient {
  Window window;
  friend bool operator==(const AveragePoolGradient&, const AveragePoolGradient&) = default;
};

/// (x, factor) -> result += factor * x; result = factor * x where Launch::first is set. In place.
/// The factor is a scalar; without, it is 1.
struct Accumulate {
  Dims operand;
  friend bool operator==(const Accumulate&, const Accumulate&) = default;
};

/// One step of an optimizer that looks at each element alone, in place on results: sgd, momentum,
/// adam and adamw.
///
/// operands (gradient, learning_rate, optimizer_step, norm_squared), scalars f64 [];
/// results (parameter) for sgd, (parameter, velocity) for momentum, (parameter, m, v) for adam(w).
///
/// lr = learning_rate * learning_rate_factor; g = gradient * min(1, clip / sqrt(norm_squared)) (no
/// clipping where clip <= 0). Nothing is written where norm_squared is not finite. optimizer_step t
/// counts from 1.
///   sgd       p -= lr * (g + wd * p)
///   momentum  u = momentum * u + (g + wd * p);  p -= lr * u
///   adam      g += wd * p;  then as adamw with wd = 0
///   adamw     m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
///             p -= lr * (m / (1-b1^t) / (sqrt(v / (1-b2^t)) + epsilon) + wd * p)
/// (Kingma & Ba 2015; Loshchilov & Hutter 2019; momentum as Sutskever et al. 2013 in the form of
/// common frameworks.)
struct Update {
  OptimizerKind kind = OptimizerKind::adamw;
  Dims operand;
  double momentum = 0.9, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0.0;
  double clip_norm = 0.0;
  double learning_rate_factor = 1.0;
  friend bool operator==(const Update&, const Update&) = default;
};

/// (gradient, parameter, optimizer_step, norm_squared) -> (m, v) in place, direction: the moments
/// of adam and where LAMB (You et al. 2020, algorithm 2) goes from them, with g clipped as in
/// Update:
///
///     m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
///     direction = m / (1-b1^t) / (sqrt(v / (1-b2^t)) + epsilon) + weight_decay * p
///
/// Where norm_squared is not finite the moments stay and the direction is 0.
struct LambDirection {
  Dims operand;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0.0;
  double clip_norm = 0.0;
  friend bool operator==(const LambDirection&, const LambDirection&) = default;
};

/// (value, optimizer_step, norm_squared) -> (s) in place, its new value: Adafactor's statistics
/// (Shazeer & Stern 2018, algorithms 4 and 5). `value` is a sum of squares of `count` elements of
/// the gradient, or the gradient itself with `square` (count 1); c as the factor that clips g.
///
///     s = b s + (1-b) (c^2 value / count + epsilon),   b = 1 - t^-decay
///
/// Where norm_squared is not finite s stays.
struct SecondMoment {
  Dims operand;
  bool square = false;
  double count = 1.0;
  double decay = 0.8;
  double epsilon = 1e-30;
  double clip_norm = 0.0;
  friend bool operator==(const SecondMoment&, const SecondMoment&) = default;
};

/// Adafactor's update before it is clipped, g clipped as in Update:
///
///     (gradient, r [rows], c [columns], sum of r f64 [], norm_squared)
///         -> g / sqrt(r c count / sum)
///     (gradient, s, norm_squared) -> g / sqrt(s)      where `columns` is empty
///
/// `rows` and `columns` are the first and the last letters of `operand`; `count` is the number of
/// elements of the whole r. Where norm_squared is not finite the result is 0.
struct FactoredDirection {
  Dims operand, rows, columns;
  double count = 1.0;
  double clip_norm = 0.0;
  friend bool operator==(const FactoredDirection&, const FactoredDirection&) = default;
};

/// (direction d, learning_rate, norm_squared, d_squared, p_squared) -> (parameter p) in place, all
/// but d and p f64 []; d_squared and p_squared are the sums of squares of the whole d and p, the
/// latter only if `reads_parameter_norm`. lr = learning_rate * learning_rate_factor, n = count:
///
///   trust_ratio  p -= lr |p|/|d| d, with 1 for the ratio where either norm is 0 (LAMB)
///   clipped      p -= lr (a d / max(1, |d|/sqrt(n) / threshold) + weight_decay p), a = 1 or, if
///                relative, max(epsilon, |p|/sqrt(n)) (Adafactor)
///
/// Nothing is written where norm_squared is not finite.
struct ApplyDirection {
  enum class Size : std::uint8_t { trust_ratio, clipped } size = Size::trust_ratio;
  Dims operand;
  double count = 1.0;
  double threshold = 1.0;
  bool relative = false;
  double epsilon = 1e-3;
  double weight_decay = 0.0;
  double learning_rate_factor = 1.0;
  [[nodiscard]] bool reads_parameter_norm() const { return size == Size::trust_ratio || relative; }
  friend bool operator==(const ApplyDirection&, const ApplyDirection&) = default;
};

/// (value, norm_squared f64 []) -> (statistic), in place: r = momentum * r + (1 - momentum) *
/// value; nothing where norm_squared is not finite.
struct RunningAverage {
  Dims operand;
  double momentum = 0.9;
  friend bool operator==(const RunningAverage&, const RunningAverage&) = default;
};

/// Operands side by side along `letter` of `result`, in order; at most ten.
/// "btf", 'f': [8, 4, 3], [8, 4, 5] -> [8, 4, 8]. The letter stays whole.
struct Concatenate {
  Dims result;
  char letter = 'f';
  friend bool operator==(const Concatenate&, const Concatenate&) = default;
};

/// `extent` indices of `letter` of the operand from `begin` on; the result has the operand's other
/// letters. The letter stays whole.
struct Slice {
  Dims operand;
  char letter = 'f';
  std::int64_t begin = 0, extent = 1;
  friend bool operator==(const Slice&, const Slice&) = default;
};

/// (x [b y x c]) -> [b h w c]: each pixel as a square of `factor` x `factor` equal ones.
struct Upsample {
  std::int64_t factor = 2;
  friend bool operator==(const Upsample&, const Upsample&) = default;
};
/// (dy [b h w c]) -> dx [b y x c], the sum over each square.
struct UpsampleGradient {
  std::int64_t factor = 2;
  friend bool operator==(const UpsampleGradient&, const UpsampleGradient&) = default;
};

/// Copies the common part of the operand's and the result's box (both boxes of one tensor), leaving
/// the rest of the result alone. Packs, unpacks, cuts and joins pieces.
struct CopyBox {
  friend bool operator==(const CopyBox&, const CopyBox&) = default;
};

/// Writes `value` to every element of the result.
struct Fill {
  double value = 0.0;
  friend bool operator==(const Fill&, const Fill&) = default;
};

/// result f64 [] += operand f64 []: a contribution to a sum over the whole step.
struct Contribute {
  friend bool operator==(const Contribute&, const Contribute&) = default;
};

using Kernel = std::variant<
    Einsum, Map, Reduce, SumExp, Pick, CrossEntropyGradient, Embedding, EmbeddingGradient,
    NormMoments, NormApply, NormGradientMoments, NormGradientInput, NormGradientParameters,
    NormStatistics, NormBlend, Select, Stack, Dropout, Attention, AttentionGradient, Rotary, View,
    Route, RouteGradient, Dispatch, Combine, GateGradient, Convolution, ConvolutionGradientInput,
    ConvolutionGradientWeight, MaxPool, MaxPoolGradient, AveragePool, AveragePoolGradient,
    Accumulate, Update, LambDirection, SecondMoment, FactoredDirection, ApplyDirection,
    RunningAverage, Concatenate, Slice, Upsample, UpsampleGradient, CopyBox, Fill, Contribute>;

/// "einsum", "map.gelu", "reduce.sum", "norm_apply", ...
[[nodiscard]] std::string kind_of(const Kernel& kernel);

}  // namespace alpa
