#include "samples.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/graph/rule.hpp"

namespace alpa::probe_detail {
namespace {

using Sizes = std::map<char, std::int64_t>;

/// An operand or result by its letters.
struct Argument {
  Dims dims;
  DType dtype;
  bool in_place = false;
  bool choice = false;
};

SamplePiece piece_of(const Argument& argument, const Sizes& sizes) {
  Shape shape;
  for (const char letter : argument.dims) shape.push_back(sizes.at(letter));
  return {argument.dtype, shape, shape, argument.in_place, argument.choice};
}

/// FLOPs and bytes as the planner counts them for an operator that is not cut.
KernelWork work_of_kernel(const Kernel& kernel, const std::vector<SamplePiece>& operands,
                          const std::vector<SamplePiece>& results) {
  const auto pieces = [](const std::vector<SamplePiece>& all) {
    std::vector<KernelPiece> list;
    for (const SamplePiece& p : all) list.push_back({p.dtype, p.extent});
    return list;
  };
  const auto shapes = [](const std::vector<SamplePiece>& all) {
    std::vector<Shape> list;
    for (const SamplePiece& p : all) list.push_back(p.full);
    return list;
  };
  const ShardingRule rule = rule_of(kernel, shapes(operands), shapes(results));
  const auto in = pieces(operands);
  const auto out = pieces(results);
  return work_of(kernel, in, out, flops_of_pieces(rule, in, out));
}

Sample sample_of(const Kernel& kernel, const std::vector<Argument>& operands,
                 const std::vector<Argument>& results, const Sizes& sizes) {
  Sample sample{kernel, {}, {}, {}};
  for (const Argument& a : operands) sample.operands.push_back(piece_of(a, sizes));
  for (const Argument& a : results) sample.results.push_back(piece_of(a, sizes));
  sample.work = work_of_kernel(kernel, sample.operands, sample.results);
  return sample;
}

/// Slots of an expert in the samples of a mixture of experts.
constexpr std::int64_t kExpertSlots = 16;

/// Activations [b t e] and their logits [b t v], weights [e f], from in-cache to beyond.
std::vector<Sizes> sizes_of_streams(DType dtype) {
  const std::int64_t halved = std::max<std::int64_t>(1, size_of(dtype) / size_of(DType::f32));
  std::vector<Sizes> list;
  for (const auto& [batch, time, width] :
       {std::tuple{2, 4, 16}, {2, 32, 64}, {4, 64, 192}, {8, 128, 384}, {8, 256, 768}}) {
    list.push_back({{'b', std::max<std::int64_t>(batch / halved, 1)},
                    {'t', time},
                    {'e', width},
                    {'f', 3 * width / halved},
                    {'v', width},
                    {'h', 4},
                    {'d', width / 4},
                    {'s', time},
                    {'x', 4},
                    {'k', 2},
                    {'c', kExpertSlots},
                    {'w', 2 * width},
                    {'3', 3}});
  }
  return list;
}

/// Sides of a product of about so many FLOPs with a narrow side `narrow` and two equal ones, and so
/// many FLOPs per 4-byte element group: flops = 2 narrow wide^2 and, with 4-byte numbers,
/// 1/(2 intensity) = 1/narrow + 2/wide. A cube where that would be more than the cube has.
struct Sides {
  std::int64_t narrow = 1;
  std::int64_t wide = 1;
};

Sides sides_of(double flops, double intensity) {
  const auto wide_for = [&](double narrow) { return std::sqrt(flops / (2.0 * narrow)); };
  const double cube = std::cbrt(flops / 2.0);
  double low = 1.0, high = cube;
  for (int i = 0; i < 60; ++i) {
    const double narrow = 0.5 * (low + high);
    const bool too_narrow = 1.0 / narrow + 2.0 / wide_for(narrow) > 0.5 / intensity;
    (too_narrow ? low : high) = narrow;
  }
  const auto rounded = [](double side) {  // as widths and batches are
    const std::int64_t step = side < 12.0 ? 1 : side < 64.0 ? 4 : 16;
    return std::max<std::int64_t>(std::llround(side / static_cast<double>(step)), 1) * step;
  };
  return {rounded(high), rounded(wide_for(high))};
}

/// Builds the samples of each kernel.
class Builder {
 public:
  explicit Builder(DType dtype) : x_(dtype), streams_(sizes_of_streams(dtype)) {}

  std::vector<SampleSeries> series;

  void add(const Einsum&) {
    const std::vector<std::pair<double, std::vector<double>>> grid = {
        {64.0, {1e4, 1e5, 1e6, 3e7, 3e8, 1.2e9}},
        {16.0, {1e6, 3e7, 3e8}},
        {4.0, {1e5, 3e6, 3e7}},
        {1.0, {1e5, 1e6, 1.6e7}}};
    for (const auto& [intensity, flops] : grid) {
      products({"te", "ef", "tf"}, intensity, flops);
      products({"tf", "ef", "te"}, intensity, flops);
      products({"te", "tf", "ef"}, intensity, flops);
    }
    products({"et", "fe", "tf"}, 64.0, {1e4, 1e6, 3e7});
    if (x_ == at_least_f32(x_)) return;
    // Of what computes in f32 beside bf16 or f16, as routers do.
    const DType low = std::exchange(x_, at_least_f32(x_));
    for (const auto& letters : std::vector<std::array<Dims, 3>>{
             {"te", "ef", "tf"}, {"tf", "ef", "te"}, {"te", "tf", "ef"}}) {
      products(letters, 4.0, {1e5, 3e6, 3e7});
    }
    x_ = low;
  }

  void add(const Map&) {
    for (int op = 0; op <= static_cast<int>(MapOp::hit); ++op) {
      map(static_cast<MapOp>(op));
    }
    if (x_ == at_least_f32(x_)) return;
    stream(Map{MapOp::copy, {"ef"}, "ef"}, {single("ef")}, {value("ef")});
    stream(Map{MapOp::add, {"ef", "ef"}, "ef"}, {single("ef"), single("ef")}, {single("ef")});
    stream(Map{MapOp::multiply, {"ef", ""}, "ef"}, {single("ef"), wide("")}, {single("ef")});
  }

  void add(const Reduce&) {
    stream(Reduce{ReduceOp::sum, false, "bte", "bt"}, {value("bte")}, {single("bt")});
    stream(Reduce{ReduceOp::sum, false, "bte", "e"}, {value("bte")}, {value("e")});
    stream(Reduce{ReduceOp::sum, true, "bte", ""}, {single("bte")}, {wide("")});
    stream(Reduce{ReduceOp::max, false, "btv", "bt"}, {value("btv")}, {single("bt")});
  }
  void add(const SumExp&) {
    stream(SumExp{"btv", "bt"}, {value("btv"), single("bt")}, {single("bt")});
  }
  void add(const Pick&) {
    stream(Pick{"btv", "bt", 'v'}, {value("btv"), number("bt")}, {single("bt")});
  }
  void add(const CrossEntropyGradient&) {
    stream(CrossEntropyGradient{"btv", "bt", 'v'},
           {value("btv"), single("bt"), single("bt"), number("bt"), single("bt"), wide("")},
           {value("btv")});
  }
  void add(const Embedding&) {
    stream(Embedding{"ve", "bt", "bte"}, {value("ve"), number("bt")}, {value("bte")});
  }
  void add(const EmbeddingGradient&) {
    stream(EmbeddingGradient{"bte", "bt", "ve"}, {value("bte"), number("bt")}, {value("ve")});
  }
  void add(const NormMoments&) {
    stream(NormMoments{"bte"}, {value("bte")}, {wide("bt"), wide("bt")});
  }
  void add(const NormApply&) {
    stream(NormApply{kNorm, true}, {value("bte"), wide("bt"), wide("bt"), value("e"), value("e")},
           {value("bte")});
  }
  void add(const NormGradientMoments&) {
    stream(NormGradientMoments{kNorm},
           {value("bte"), value("bte"), wide("bt"), wide("bt"), value("e")},
           {wide("bt"), wide("bt")});
  }
  void add(const NormGradientInput&) {
    stream(NormGradientInput{kNorm},
           {value("bte"), value("bte"), wide("bt"), wide("bt"), value("e"), wide("bt"), wide("bt")},
           {value("bte")});
  }
  void add(const NormGradientParameters&) {
    stream(NormGradientParameters{kNorm, true},
           {value("bte"), value("bte"), wide("bt"), wide("bt")}, {value("e"), value("e")});
  }
  void add(const NormStatistics&) {
    stream(NormStatistics{"be", "e"}, {wide("be"), wide("be")}, {wide("e"), wide("e")});
  }
  void add(const NormBlend&) {
    stream(NormBlend{"be", "e"}, {wide("be"), wide("be"), wide("e"), wide("e"), wide("")},
           {wide("be"), wide("be")});
  }
  void add(const Select&) { stream(Select{"bt3e", '3', 1}, {value("bt3e")}, {value("bte")}); }
  void add(const Stack&) {
    stream(Stack{"bt3e", '3'}, {value("bte"), value("bte"), value("bte")}, {value("bt3e")});
  }
  void add(const Dropout&) {
    stream(Dropout{"bte", {0.1, 3}}, {value("bte"), wide(""), wide("")}, {value("bte")});
  }
  void add(const Attention&) {
    for (const Attention& variant : attentions()) {
      attend(variant, {value("bthd"), value("bshd"), value("bshd"), wide(""), wide("")},
             {value("bthd"), single("bth")}, variant);
    }
  }
  void add(const AttentionGradient&) {
    for (const Attention& variant : attentions()) {
      attend(AttentionGradient{variant},
             {value("bthd"), value("bshd"), value("bshd"), value("bthd"), single("bth"),
              value("bthd"), wide(""), wide("")},
             {value("bthd"), value("bshd"), value("bshd")}, variant);
    }
  }
  void add(const Rotary&) { stream(Rotary{"bthd"}, {value("bthd")}, {value("bthd")}); }
  void add(const View&) { stream(View{"bte", "bte"}, {value("bte")}, {value("bte")}); }
  void add(const Route&) {
    stream(Route{{2, kExpertSlots}}, {single("bsx")},
           {choice("bsk"), choice("bsk"), single("bsk"), wide("bx")});
  }
  void add(const RouteGradient&) {
    stream(RouteGradient{{2, kExpertSlots}}, {single("bsx"), choice("bsk"), single("bsk")},
           {single("bsx")});
  }
  void add(const Dispatch&) {
    stream(Dispatch{true}, {value("bse"), choice("bsk"), choice("bsk"), single("bsk")},
           {value("xbce")});
  }
  void add(const Combine&) {
    stream(Combine{true}, {value("xbce"), choice("bsk"), choice("bsk"), single("bsk")},
           {value("bse")});
  }
  void add(const GateGradient&) {
    stream(GateGradient{}, {value("bse"), value("xbce"), choice("bsk"), choice("bsk")},
           {single("bsk")});
  }
  void add(const Convolution&) {
    convolve(Convolution{kThree}, {value("byxc"), value("klco")}, {value("bhwo")});
  }
  void add(const ConvolutionGradientInput&) {
    convolve(ConvolutionGradientInput{kThree}, {value("bhwo"), value("klco")}, {value("byxc")});
  }
  void add(const ConvolutionGradientWeight&) {
    convolve(ConvolutionGradientWeight{kThree}, {value("byxc"), value("bhwo")}, {value("klco")});
  }
  void add(const MaxPool&) {
    pool(MaxPool{kTwo}, {value("byxc")}, {value("bhwc"), choice("bhwc")});
  }
  void add(const MaxPoolGradient&) {
    pool(MaxPoolGradient{kTwo}, {value("bhwc"), choice("bhwc")}, {value("byxc")});
  }
  void add(const AveragePool&) { pool(AveragePool{kTwo}, {value("byxc")}, {value("bhwc")}); }
  void add(const AveragePoolGradient&) {
    pool(AveragePoolGradient{kTwo}, {value("bhwc")}, {value("byxc")});
  }
  void add(const Accumulate&) { stream(Accumulate{"ef"}, {value("ef")}, {state("ef")}); }
  void add(const Update&) {
    for (const auto& [kind, states] : {std::pair{OptimizerKind::sgd, 1},
                                       {OptimizerKind::momentum, 2},
                                       {OptimizerKind::adam, 3},
                                       {OptimizerKind::adamw, 3}}) {
      Update update{.kind = kind, .operand = "ef"};
      update.weight_decay = 0.1;
      update.clip_norm = 1.0;
      stream(update, {single("ef"), wide(""), wide(""), wide("")},
             std::vector<Argument>(static_cast<std::size_t>(states), state("ef")));
    }
  }
  void add(const LambDirection&) {
    stream(LambDirection{.operand = "ef"}, {single("ef"), single("ef"), wide(""), wide("")},
           {state("ef"), state("ef"), single("ef")});
  }
  void add(const SecondMoment&) {
    stream(SecondMoment{.operand = "ef", .square = true}, {single("ef"), wide(""), wide("")},
           {state("ef"), single("ef")});
  }
  void add(const FactoredDirection&) {
    stream(FactoredDirection{.operand = "ef", .rows = "e", .columns = "f"},
           {single("ef"), single("e"), single("f"), wide(""), wide("")}, {single("ef")});
  }
  void add(const ApplyDirection&) {
    for (const auto size : {ApplyDirection::Size::trust_ratio, ApplyDirection::Size::clipped}) {
      stream(ApplyDirection{.size = size, .operand = "ef", .relative = true},
             {single("ef"), wide(""), wide(""), wide(""), wide("")}, {state("ef")});
    }
  }
  void add(const RunningAverage&) {
    stream(RunningAverage{"e"}, {single("e"), wide("")}, {state("e")});
  }
  void add(const Concatenate&) {
    stream(Concatenate{"btw", 'w'}, {value("bte"), value("bte")}, {value("btw")});
  }
  void add(const Slice&) {
    SampleSeries all;
    for (const Sizes& sizes : streams_) {
      all.samples.push_back(
          sample_of(Slice{"btw", 'w', 0, sizes.at('e')}, {value("btw")}, {value("bte")}, sizes));
    }
    series.push_back(std::move(all));
  }
  void add(const Upsample&) { pool(Upsample{2}, {value("bhwc")}, {value("byxc")}); }
  void add(const UpsampleGradient&) { pool(UpsampleGradient{2}, {value("byxc")}, {value("bhwc")}); }
  /// Half of the columns, as pieces of a split inner dimension are packed.
  void add(const CopyBox&) {
    stream(CopyBox{}, {value("te")}, {value("te")});
    for (Sample& sample : series.back().samples) {
      sample.results[0].extent[1] /= 2;
      sample.work = work_of_kernel(sample.kernel, sample.operands, sample.results);
    }
  }
  void add(const Fill&) { stream(Fill{}, {}, {value("bte")}); }
  void add(const Contribute&) { once(Contribute{}, {wide("")}, {{"", DType::f64, true}}); }

 private:
  static constexpr Window kThree{.stride = 1, .padding = 1};
  static constexpr Window kTwo{.size = 2, .stride = 2};
  inline static const NormAttributes kNorm{"bte"};

  [[nodiscard]] Argument value(const Dims& dims) const { return {dims, x_}; }
  /// Of what stays f32 beside bf16 and f16.
  [[nodiscard]] Argument single(const Dims& dims) const { return {dims, at_least_f32(x_)}; }
  [[nodiscard]] Argument state(const Dims& dims) const { return {dims, at_least_f32(x_), true}; }
  [[nodiscard]] static Argument wide(const Dims& dims) { return {dims, DType::f64}; }
  [[nodiscard]] static Argument number(const Dims& dims) { return {dims, DType::i32}; }
  /// An expert, a slot, a place in a window.
  [[nodiscard]] static Argument choice(const Dims& dims) { return {dims, DType::i32, false, true}; }

  void stream(const Kernel& kernel, const std::vector<Argument>& operands,
              const std::vector<Argument>& results) {
    SampleSeries all;
    for (const Sizes& sizes : streams_) {
      all.samples.push_back(sample_of(kernel, operands, results, sizes));
    }
    series.push_back(std::move(all));
  }

  void once(const Kernel& kernel, const std::vector<Argument>& operands,
            const std::vector<Argument>& results) {
    series.push_back({{sample_of(kernel, operands, results, {})}});
  }

  /// 3 x 3 over square images, from few wide channels to many.
  void convolve(const Kernel& kernel, const std::vector<Argument>& operands,
                const std::vector<Argument>& results) {
    SampleSeries all{{}, true, 0.0};
    for (const auto& [side, channels] : {std::pair{8, 8}, {16, 32}, {32, 64}}) {
      const Sizes sizes{{'b', 2}, {'y', side}, {'x', side},     {'h', side},    {'w', side},
                        {'k', 3}, {'l', 3},    {'c', channels}, {'o', channels}};
      all.samples.push_back(sample_of(kernel, operands, results, sizes));
      const KernelWork& work = all.samples.back().work;
      all.intensity = work.flops.value / static_cast<double>(work.moved.value);
    }
    series.push_back(std::move(all));
  }

  /// Windows of two over square images.
  void pool(const Kernel& kernel, const std::vector<Argument>& operands,
            const std::vector<Argument>& results) {
    SampleSeries all;
    for (const auto& [side, channels] : {std::pair{8, 8}, {16, 32}, {32, 64}}) {
      const Sizes sizes{{'b', 2},        {'y', side},     {'x', side},
                        {'h', side / 2}, {'w', side / 2}, {'c', channels}};
      all.samples.push_back(sample_of(kernel, operands, results, sizes));
    }
    series.push_back(std::move(all));
  }

  void products(const std::array<Dims, 3>& letters, double intensity,
                const std::vector<double>& flops) {
    SampleSeries all{{}, true, intensity * 4.0 / static_cast<double>(size_of(x_))};
    for (const double work : flops) {
      const Sides sides = sides_of(work, intensity);
      const Sizes sizes{{'t', sides.narrow}, {'e', sides.wide}, {'f', sides.wide}};
      all.samples.push_back(sample_of(Einsum{letters[0], letters[1], letters[2]},
                                      {value(letters[0]), value(letters[1])}, {value(letters[2])},
                                      sizes));
    }
    series.push_back(std::move(all));
  }

  [[nodiscard]] static std::vector<Attention> attentions() {
    return {{true, 0.125, {0.0, 7}},
            {true, 0.125, {0.1, 7}},
            {false, 0.125, {0.0, 7}},
            {false, 0.125, {0.1, 7}}};
  }

  /// FLOPs per byte grow with the length of the sequence. Short ones go with narrow heads.
  void attend(const Kernel& kernel, const std::vector<Argument>& operands,
              const std::vector<Argument>& results, const Attention& variant) {
    for (const auto& [time, width] : {std::pair{64, 32}, {256, 64}, {1024, 64}}) {
      if (time == 1024 && !variant.causal) continue;
      SampleSeries all{{}, true, 0.0};
      for (const int heads : {1, 4, 24}) {
        if (time * heads > 2048 && heads > 1) continue;
        const Sizes sizes{{'b', heads < 4 ? 1 : 2},
                          {'t', time},
                          {'s', time},
                          {'h', heads < 4 ? heads : heads / 2},
                          {'d', width}};
        all.samples.push_back(sample_of(kernel, operands, results, sizes));
        const KernelWork& work = all.samples.back().work;
        all.intensity = work.flops.value / static_cast<double>(work.moved.value);
      }
      series.push_back(std::move(all));
    }
  }

  void map(MapOp op) {
    const Argument x = value("bte"), row = single("bt");
    switch (op) {
      case MapOp::copy:
      case MapOp::scale:
      case MapOp::relu:
      case MapOp::gelu:
      case MapOp::gelu_tanh:
      case MapOp::silu:
      case MapOp::tanh:
        return stream(Map{op, {"bte"}, "bte"}, {x}, {x});
      case MapOp::add:
      case MapOp::add_scaled:
      case MapOp::subtract:
      case MapOp::multiply:
      case MapOp::relu_gradient:
      case MapOp::gelu_gradient:
      case MapOp::gelu_tanh_gradient:
      case MapOp::silu_gradient:
      case MapOp::tanh_gradient:
        return stream(Map{op, {"bte", "bte"}, "bte"}, {x, x}, {x});
      case MapOp::softmax:
        return stream(Map{op, {"bte", "bt", "bt"}, "bte"}, {x, row, row}, {x});
      case MapOp::softmax_gradient:
        return stream(Map{op, {"bte", "bte", "bt"}, "bte"}, {x, x, row}, {x});
      case MapOp::cross_entropy:
        return stream(Map{op, {"bt", "bt", "bt", "bt", ""}, "bt"}, {row, row, row, row, wide("")},
                      {wide("bt")});
      case MapOp::squared_error:
        return stream(Map{op, {"bte", "bte", "bt", ""}, "bte"}, {x, single("bte"), row, wide("")},
                      {wide("bte")});
      case MapOp::squared_error_gradient:
        return stream(Map{op, {"bte", "bte", "bt", ""}, "bte"}, {x, single("bte"), row, wide("")},
                      {x});
      case MapOp::hit:
        return stream(Map{op, {"bt", "bt", "bt"}, "bt"}, {row, row, row}, {wide("bt")});
    }
    check_failed("known map operation", SourceLine::here());
  }

  DType x_;
  std::vector<Sizes> streams_;
};

template <std::size_t... I>
void add_each(Builder& builder, std::index_sequence<I...> /*kernels*/) {
  (builder.add(std::variant_alternative_t<I, Kernel>{}), ...);
}

}  // namespace

double work_of_sample(const SampleSeries& series, std::size_t i) {
  const KernelWork& work = series.samples[i].work;
  return series.by_flops ? work.flops.value : static_cast<double>(work.moved.value);
}

std::vector<SampleSeries> all_samples(DType dtype) {
  Builder builder(dtype);
  add_each(builder, std::make_index_sequence<std::variant_size_v<Kernel>>());
  return std::move(builder.series);
}

}  // namespace alpa::probe_detail
