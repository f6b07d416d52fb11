#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"
#include "alpa/model/build_graph.hpp"

#include "graph/interpreter.hpp"

namespace alpa {
namespace {

using testing::Interpreter;

Graph graph_of(const WideResnetConfig& config, const ModelOptions& options) {
  return build_graph({.preset = Preset::wide_resnet, .size = {}, .shape = config},
                     OptimizerConfig{}, options);
}

const Tensor& named(const Graph& graph, const std::string& name) {
  const auto id = graph.find_tensor(name);
  if (!id) throw UserError("no tensor " + name);
  return graph.tensor(*id);
}

/// Parameters and multiply-adds of one sample, forward, by the shape of the model alone.
struct Size {
  double parameters = 0, forward = 0, stem = 0;
};

Size size_of(const WideResnetConfig& config, const std::vector<int>& blocks) {
  Size size;
  const auto channels = static_cast<double>(config.channels);
  double image = std::ceil(static_cast<double>(config.image) / 2);
  size.parameters = 7 * 7 * 3 * channels + 2 * channels;
  size.stem = 7 * 7 * 3 * channels * image * image;
  size.forward = size.stem;
  image = std::ceil(image / 2);
  double inputs = channels;
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const double f = channels * std::pow(2.0, static_cast<double>(stage));
    const double wide = f * static_cast<double>(config.width);
    for (int i = 0; i < blocks[stage]; ++i) {
      const double before = image;
      if (stage > 0 && i == 0) image = std::ceil(image / 2);
      const auto convolution = [&](double side, double from, double to, double places) {
        size.parameters += side * side * from * to + 2 * to;
        size.forward += side * side * from * to * places * places;
      };
      convolution(1, inputs, f, before);
      convolution(3, f, wide, image);
      convolution(1, wide, 4 * f, image);
      if (i == 0) convolution(1, inputs, 4 * f, image);
      inputs = 4 * f;
    }
  }
  const auto classes = static_cast<double>(config.classes);
  size.parameters += inputs * classes + classes;
  size.forward += inputs * classes;
  return size;
}

TEST(WideResnet, HasThePublishedSizesAndTheirFlops) {
  struct Published {
    std::string label;
    double parameters;
    WideResnetConfig config;
    std::vector<int> blocks;
  };
  const std::vector<int> fifty = {3, 4, 6, 3}, hundred = {3, 4, 23, 3};
  const std::vector<Published> all = {
      {"250M", 250e6, {.layers = 50, .channels = 160, .width = 2, .batch_norm = {}}, fifty},
      {"1B", 1e9, {.layers = 50, .channels = 320, .width = 2, .batch_norm = {}}, fifty},
      {"2B", 2e9, {.layers = 50, .channels = 448, .width = 2, .batch_norm = {}}, fifty},
      {"4B", 4e9, {.layers = 50, .channels = 640, .width = 2, .batch_norm = {}}, fifty},
      {"6.8B", 6.8e9, {.layers = 50, .channels = 320, .width = 16, .batch_norm = {}}, fifty},
      {"13B", 13e9, {.layers = 101, .channels = 320, .width = 16, .batch_norm = {}}, hundred}};
  for (const Published& published : all) {
    SCOPED_TRACE(published.label);
    const Graph graph = graph_of(published.config, {.microbatch = 32});
    const Size size = size_of(published.config, published.blocks);
    const auto parameters = static_cast<double>(num_parameters(graph));
    EXPECT_EQ(parameters, size.parameters);
    EXPECT_NEAR(parameters, published.parameters, 0.03 * published.parameters);
    // Forward, and twice as much backward but for the gradient of the images.
    const double flops = 2.0 * 32 * (3 * size.forward - size.stem);
    EXPECT_NEAR(flops_per_microbatch(graph).value, flops, 1e-9 * flops);
  }
}

TEST(WideResnet, KeepsTheLineOfItsBlocks) {
  WideResnetConfig config{
      .layers = 26, .channels = 4, .width = 2, .image = 32, .classes = 10, .batch_norm = {}};
  const Graph graph = graph_of(config, {.microbatch = 64});
  EXPECT_EQ(graph.num_layers, 8);
  EXPECT_EQ(named(graph, "images").shape, (Shape{64, 32, 32, 3}));
  EXPECT_EQ(named(graph, "layers.7.relu").shape, (Shape{64, 1, 1, 128}));
  EXPECT_EQ(named(graph, "layers.7.3.norm.running_mean").layer, 7);
  EXPECT_EQ(named(graph, "layers.0.1.norm.moments.sum").shape, (Shape{2, 4}));
  EXPECT_FALSE(graph.find_tensor("layers.1.projection.convolution.weight"));
  config.batch_norm.group = 64;
  EXPECT_EQ(named(graph_of(config, {.microbatch = 64}), "layers.0.1.norm.moments.sum").shape,
            (Shape{4}));
  config.batch_norm.group = 48;
  EXPECT_THROW(static_cast<void>(graph_of(config, {.microbatch = 64})), UserError);
}

/// Small weights of every kind; images and labels; 4 samples.
void fill(const Graph& graph, Interpreter& run) {
  for (const Tensor& tensor : graph.tensors) {
    const std::int64_t n = num_elements(tensor.shape);
    if (tensor.role == Role::step_scalar) {
      run.set(tensor.name, std::vector<double>{1.0});
    } else if (tensor.dtype == DType::i32 && tensor.role == Role::input) {
      run.set(tensor.name, std::vector<std::int32_t>{1, 0, 4, 2});
    } else if (tensor.role == Role::parameter || tensor.role == Role::input) {
      std::vector<double> values;
      for (std::int64_t i = 0; i < n; ++i) {
        const double z = normal(stream_key(3, tensor.name), 0, static_cast<std::uint64_t>(i));
        values.push_back(tensor.name == "weights" || !tensor.trained ? 1.0 : 0.5 * z);
      }
      run.set(tensor.name, values);
    }
  }
}

WideResnetConfig tiny(std::int64_t group) {
  WideResnetConfig config{
      .layers = 14, .channels = 2, .width = 2, .image = 32, .classes = 5, .batch_norm = {}};
  config.batch_norm.group = group;
  return config;
}

constexpr ModelOptions kFour{.precision = Precision::fp64, .microbatch = 4, .global_batch = 8};

double loss_at(Interpreter& run, const std::string& name, std::vector<double> values, std::size_t i,
               double step) {
  values[i] += step;
  run.set(name, values);
  run.run({Phase::prepare, Phase::forward});
  return run.get(scalar_name::kLoss).at(0);
}

// Steps so small that hardly any rectifier or maximum changes sides.
TEST(WideResnet, GradientsAreThoseOfFiniteDifferences) {
  for (const std::int64_t group : {2, 4}) {
    SCOPED_TRACE("group " + std::to_string(group));
    WideResnetConfig config = tiny(group);
    config.batch_norm.epsilon = 0.1;  // the last images have one pixel: 2 numbers have to be smooth
    const Graph graph = graph_of(config, kFour);
    Interpreter run(graph), probe(graph);
    fill(graph, run);
    fill(graph, probe);
    run.run({Phase::prepare, Phase::forward, Phase::backward, Phase::reduce});
    for (const TensorId id : tensors_with(graph, Role::parameter)) {
      const Tensor& parameter = graph.tensor(id);
      if (!parameter.trained) continue;
      const std::vector<double> gradient = run.get(parameter.name + ".accumulator");
      const std::vector<double> values = run.get(parameter.name);
      const std::size_t i = values.size() / 2;
      constexpr double h = 1e-6;
      const double difference = (loss_at(probe, parameter.name, values, i, h) -
                                 loss_at(probe, parameter.name, values, i, -h)) /
                                (2 * h);
      EXPECT_NEAR(gradient[i], difference, 1e-6 * std::max(1.0, std::abs(difference)))
          << parameter.name << " element " << i;
      probe.set(parameter.name, values);
    }
  }
}

// The average of the groups of the global batch (two microbatches of one or two groups; here one
// of them is run, whose share is what it adds), momentum 0.9.
TEST(WideResnet, RunningStatisticsAverageTheGroups) {
  for (const std::int64_t group : {2, 4}) {
    const Graph graph = graph_of(tiny(group), kFour);
    Interpreter run(graph);
    fill(graph, run);
    run.run({Phase::prepare, Phase::forward, Phase::backward, Phase::reduce, Phase::update});
    const std::string name = "layers.2.2.norm";
    const auto sums = run.get(name + ".moments.sum"),
               squares = run.get(name + ".moments.square_sum");
    const auto mean = run.get(name + ".running_mean"),
               variance = run.get(name + ".running_variance");
    const std::size_t channels = mean.size(), groups = sums.size() / channels;
    EXPECT_EQ(groups, static_cast<std::size_t>(4 / group));
    const Shape image = named(graph, name).shape;
    const auto n = static_cast<double>(group * image[1] * image[2]);
    for (std::size_t c = 0; c < channels; ++c) {
      double mean_of_groups = 0, variance_of_groups = 0;
      for (std::size_t g = 0; g < groups; ++g) {
        const double m = sums[g * channels + c] / n;
        mean_of_groups += m / (8.0 / static_cast<double>(group));
        variance_of_groups +=
            (squares[g * channels + c] / n - m * m) / (8.0 / static_cast<double>(group));
      }
      EXPECT_NEAR(mean[c], 0.9 * 1.0 + 0.1 * mean_of_groups, 1e-13);
      EXPECT_NEAR(variance[c], 0.9 * 1.0 + 0.1 * variance_of_groups, 1e-13);
    }
  }
}

TEST(WideResnet, EvaluationNormalisesWithTheRunningStatistics) {
  for (const std::int64_t group : {2, 4}) {
    const Graph graph = graph_of(tiny(group), kFour);
    Interpreter run(graph);
    fill(graph, run);
    const std::string name = "stem.norm";
    run.set(name + ".running_mean", std::vector<double>{0.3, -0.2});
    run.set(name + ".running_variance", std::vector<double>{0.7, 1.9});
    run.set(scalar_name::kTraining, std::vector<double>{0.0});
    run.run({Phase::prepare, Phase::forward});
    const auto x = run.get("stem.convolution"), y = run.get(name);
    const auto scale = run.get(name + ".weight"), bias = run.get(name + ".bias");
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t c = i % 2;
      const double mean = c == 0 ? 0.3 : -0.2, variance = c == 0 ? 0.7 : 1.9;
      EXPECT_NEAR(y[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * scale[c] + bias[c], 1e-12);
    }
  }
}

}  // namespace
}  // namespace alpa
