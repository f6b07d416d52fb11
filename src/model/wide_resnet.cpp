#include <array>
#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/graph/training.hpp"

#include "layers.hpp"

// Letters: b batch, y x c rows, columns and channels that a convolution reads, h w o those that it
// makes, k l its window, v classes. Tensors between operators have the letters "bhwo".
namespace alpa::model {
namespace {

const Dims kImage = "bhwo";
constexpr std::size_t kStages = 4;

struct Depth {
  std::int64_t layers;
  std::array<std::int64_t, kStages> blocks;  ///< of each stage
};
constexpr std::array<Depth, 5> kDepths = {{{14, {1, 1, 1, 1}},
                                           {26, {2, 2, 2, 2}},
                                           {50, {3, 4, 6, 3}},
                                           {101, {3, 4, 23, 3}},
                                           {152, {3, 8, 36, 3}}}};

const Depth& depth_of(const WideResnetConfig& config) {
  for (const Depth& depth : kDepths) {
    if (depth.layers == config.layers) return depth;
  }
  throw UserError("model.layers: " + std::to_string(config.layers) +
                  " is not 14, 26, 50, 101 or 152");
}

/// Side of a convolution's window and how it moves; it leaves ceil(image / stride) places.
struct Kernel2d {
  std::int64_t side = 1, stride = 1;
  [[nodiscard]] Window window() const { return {.stride = stride, .padding = (side - 1) / 2}; }
};

/// Places of a window of `side` that moves over `extent` pixels.
std::int64_t places(std::int64_t extent, const Window& window, std::int64_t side) {
  return (extent + 2 * window.padding - side) / window.stride + 1;
}

class WideResnet {
 public:
  WideResnet(GraphBuilder& builder, const WideResnetConfig& config, const ModelOptions& options)
      : builder_(builder), config_(config), context_{.builder = builder, .dtype = builder.dtype()} {
    const std::int64_t group = config.batch_norm.group;
    if (options.microbatch % group != 0) {
      throw UserError("model.batch_norm.group: a microbatch of " +
                      std::to_string(options.microbatch) +
                      " samples does not hold whole groups of " + std::to_string(group));
    }
    const std::int64_t batch = options.global_batch > 0 ? options.global_batch : options.microbatch;
    share_of_group_ = static_cast<double>(group) / static_cast<double>(batch);
    groups_ = options.microbatch / group;
    builder.set_parallel_letters("ov");
  }

  TensorId build() {
    builder_.at(0);
    const Shape shape{groups_ * config_.batch_norm.group, config_.image, config_.image, 3};
    TensorId x = stem(builder_.input("images", "byxc", shape, builder_.dtype()));
    int layer = 0;
    for (std::size_t stage = 0; stage < kStages; ++stage) {
      const std::int64_t channels = config_.channels << stage;
      for (std::int64_t i = 0; i < depth_of(config_).blocks[stage]; ++i) {
        builder_.at(layer);
        const std::int64_t stride = stage > 0 && i == 0 ? 2 : 1;
        x = block(x, "layers." + std::to_string(layer), channels, stride);
        ++layer;
      }
    }
    return cross_entropy(context_, classifier(x));
  }

 private:
  TensorId stem(TensorId images) {
    const TensorId x =
        relu(normalised_convolution(images, "stem", {.side = 7, .stride = 2}, config_.channels),
             "stem.relu");
    const Window window{.size = 3, .stride = 2, .padding = 1};
    const Shape in = builder_.tensor(x).shape;
    const Shape out{in[0], places(in[1], window, 3), places(in[2], window, 3), in[3]};
    return builder_.add("stem.max_pool", MaxPool{window}, {x},
                        {.shapes = {out, out}, .dims = {kImage, kImage}});
  }

  /// 1x1 to the stage's channels, 3x3 `width` times as wide, 1x1 to four times the channels; what
  /// goes past it is projected where its shape differs.
  TensorId block(TensorId x, const std::string& name, std::int64_t channels, std::int64_t stride) {
    TensorId y = normalised_convolution(x, name + ".1", {}, channels);
    y = relu(y, name + ".1.relu");
    y = normalised_convolution(y, name + ".2", {.side = 3, .stride = stride},
                               channels * config_.width);
    y = relu(y, name + ".2.relu");
    y = normalised_convolution(y, name + ".3", {}, 4 * channels);
    if (builder_.tensor(x).shape != builder_.tensor(y).shape) {
      x = normalised_convolution(x, name + ".projection", {.stride = stride}, 4 * channels);
    }
    const Map sum{MapOp::add, {kImage, kImage}, kImage};
    return relu(builder_.add(name + ".residual", sum, {x, y}), name + ".relu");
  }

  TensorId normalised_convolution(TensorId x, const std::string& name, const Kernel2d& kernel,
                                  std::int64_t channels) {
    return batch_norm(convolution(x, name + ".convolution", kernel, channels), name + ".norm");
  }

  TensorId convolution(TensorId x, const std::string& name, const Kernel2d& kernel,
                       std::int64_t channels) {
    const Shape in = builder_.tensor(x).shape;
    const Window window = kernel.window();
    const Shape weight_shape{kernel.side, kernel.side, in[3], channels};
    const double inputs = static_cast<double>(kernel.side * kernel.side * in[3]);
    const Initializer initializer{Initializer::Kind::normal, 0.0, std::sqrt(2.0 / inputs)};
    const TensorId weight = builder_.parameter(name + ".weight", "klco", weight_shape, initializer);
    const Shape out{in[0], places(in[1], window, kernel.side), places(in[2], window, kernel.side),
                    channels};
    return builder_.add(name, Convolution{window}, {x, weight},
                        {.shapes = {out}, .dims = {kImage}});
  }

  TensorId relu(TensorId x, const std::string& name) {
    return builder_.add(name, Map{MapOp::relu, {kImage}, kImage}, {x});
  }

  /// Statistics are of groups of consecutive samples. One group a microbatch is normalised over the
  /// letter of the batch, which may then be split with partial statistics; of several groups, each
  /// rank holds whole ones.
  TensorId batch_norm(TensorId x, const std::string& name) {
    const Shape shape = builder_.tensor(x).shape;
    const bool one = groups_ == 1;
    const NormAttributes norm{.operand = kImage,
                              .over = one ? "bhw" : "hw",
                              .parameters = "o",
                              .group = one ? 1 : config_.batch_norm.group,
                              .epsilon = config_.batch_norm.epsilon};
    const Dims row = one ? "o" : "bo";
    const Shape row_shape = one ? Shape{shape[3]} : Shape{groups_, shape[3]};
    const double n = static_cast<double>(config_.batch_norm.group * shape[1] * shape[2]);

    const auto moments =
        builder_.add_all(name + ".moments", NormMoments{norm.operand, norm.over, norm.group}, {x},
                         {.shapes = {row_shape, row_shape}});
    const TensorId mean = statistic(name + ".running_mean", shape[3], 0.0);
    const TensorId variance = statistic(name + ".running_variance", shape[3], 1.0);
    keep(name, NormStatistics{row, "o", n, share_of_group_}, moments, mean, variance);
    const auto used =
        builder_.add_all(name + ".used", NormBlend{row, "o", n},
                         {moments.at(0), moments.at(1), mean, variance,
                          builder_.scalar(scalar_name::kTraining, Role::step_scalar)});
    const Initializer ones{Initializer::Kind::constant, 1.0, 0.0};
    const TensorId scale = builder_.parameter(name + ".weight", "o", {shape[3]}, ones);
    const TensorId bias = builder_.parameter(name + ".bias", "o", {shape[3]}, {});
    return builder_.add(name, NormApply{norm, true}, {x, used.at(0), used.at(1), scale, bias});
  }

  TensorId statistic(const std::string& name, std::int64_t channels, double value) {
    return builder_.add_tensor({.name = name,
                                .shape = {channels},
                                .dtype = DType::f64,
                                .role = Role::parameter,
                                .dims = "o",
                                .layer = builder_.layer(),
                                .initializer = {Initializer::Kind::constant, value, 0.0},
                                .trained = false});
  }

  void keep(const std::string& name, const NormStatistics& kernel,
            const std::vector<TensorId>& moments, TensorId mean, TensorId variance) {
    const int layer = builder_.layer();
    builder_.at(layer, Phase::backward);
    const auto values = builder_.add_all(name + ".statistics", kernel, moments);
    builder_.at(layer);
    add_running_average(builder_, mean, values.at(0), config_.batch_norm.momentum);
    add_running_average(builder_, variance, values.at(1), config_.batch_norm.momentum);
  }

  /// A dense layer on the mean over the image.
  Value classifier(TensorId x) {
    const Shape shape = builder_.tensor(x).shape;
    const TensorId sum =
        builder_.add("classifier.sum", Reduce{.operand = kImage, .result = "bo"}, {x});
    const Map scale{MapOp::scale, {"bo"}, "bo", 1.0 / static_cast<double>(shape[1] * shape[2])};
    const TensorId mean = builder_.add("classifier.mean", scale, {sum});
    return linear(
        context_, {mean, "bo"},
        {.name = "classifier", .inputs = "o", .outputs = "v", .output_shape = {config_.classes}});
  }

  GraphBuilder& builder_;
  const WideResnetConfig& config_;
  Context context_;
  std::int64_t groups_ = 1;      ///< of a microbatch
  double share_of_group_ = 1.0;  ///< of the global batch
};

}  // namespace

std::int64_t num_blocks(const WideResnetConfig& config) {
  std::int64_t count = 0;
  for (const std::int64_t blocks : depth_of(config).blocks) count += blocks;
  return count;
}

TensorId build_wide_resnet(GraphBuilder& builder, const WideResnetConfig& config,
                           const ModelOptions& options) {
  return WideResnet(builder, config, options).build();
}

}  // namespace alpa::model
