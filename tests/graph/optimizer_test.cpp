#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "alpa/graph/training.hpp"

#include "graph/interpreter.hpp"

/// Whole optimizers, as graphs of their operators, against other implementations.
namespace alpa {
namespace {

using testing::Interpreter;

constexpr double kRate = 0.02;

using Values = std::vector<double>;

/// Element i of the gradient of step t; of the parameter at the start.
double gradient_at(std::size_t i, int t) { return std::sin(1.0 + double(i) + 3.0 * t); }
double start_at(std::size_t i) { return std::cos(double(i)) / 2; }

/// A parameter w whose gradient is the input x: the loss is the sum of w * x.
Graph graph_of(const Dims& dims, const Shape& shape, const OptimizerSpec& optimizer) {
  GraphBuilder builder(1, 1, DType::f64);
  const TensorId w = builder.parameter("w", dims, shape, {});
  const TensorId x = builder.input("x", dims, shape, DType::f64);
  const TensorId values = builder.add("y", Map{MapOp::multiply, {dims, dims}, dims}, {w, x});
  add_training(builder, {add_loss(builder, "loss", values)}, optimizer);
  return builder.build();
}

/// w after each of `steps` steps; with `infinite_at` the gradient of that step is infinite.
std::vector<Values> trained(const Dims& dims, const Shape& shape, const OptimizerSpec& optimizer,
                            int steps, int infinite_at = 0) {
  const Graph graph = graph_of(dims, shape, optimizer);
  Interpreter run(graph);
  const auto count = static_cast<std::size_t>(num_elements(shape));
  Values w(count), x(count);
  for (std::size_t i = 0; i < count; ++i) w[i] = start_at(i);
  run.set("w", w);
  run.set(scalar_name::kLearningRate, Values{kRate});
  std::vector<Values> all;
  int updates = 0;
  for (int t = 1; t <= steps; ++t) {
    const bool infinite = t == infinite_at;
    updates += infinite ? 0 : 1;
    for (std::size_t i = 0; i < count; ++i) {
      x[i] = infinite ? INFINITY : gradient_at(i, updates);
    }
    run.set("x", x);
    run.set(scalar_name::kOptimizerStep, Values{double(infinite ? updates + 1 : updates)});
    run.run({Phase::prepare, Phase::forward, Phase::backward, Phase::reduce, Phase::update});
    all.push_back(run.get("w"));
  }
  return all;
}

void expect_near(const Values& found, const Values& expected, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], 1e-12) << what << " element " << i;
  }
}

OptimizerSpec spec_of(OptimizerKind kind) {
  return {.kind = kind,
          .momentum = 0.9,
          .beta1 = 0.9,
          .beta2 = 0.99,
          .epsilon = 1e-8,
          .weight_decay = 0.1,
          .no_decay = {},
          .groups = {}};
}

TEST(Optimizers, AreThoseOfPyTorch) {
  const std::map<std::string, OptimizerKind> kinds = {{"sgd", OptimizerKind::sgd},
                                                      {"momentum", OptimizerKind::momentum},
                                                      {"adam", OptimizerKind::adam},
                                                      {"adamw", OptimizerKind::adamw},
                                                      {"adafactor", OptimizerKind::adafactor}};
  std::ifstream file(ALPA_SOURCE_DIR "/tests/graph/data/optimizers_torch.txt");
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    std::istringstream words(line);
    std::string name, form;
    int step = 0;
    words >> name >> form >> step;
    Values expected;
    for (double value = 0; words >> value;) expected.push_back(value);
    OptimizerSpec spec = spec_of(kinds.at(name));
    spec.relative_step = true;  // PyTorch's Adafactor has no other
    const bool matrix = form == "matrix";
    const auto found = trained(matrix ? "ef" : "e", matrix ? Shape{4, 3} : Shape{5}, spec, step);
    expect_near(found.back(), expected, line.substr(0, 24));
  }
  EXPECT_EQ(lines, 50);
}

double root_mean_square(const Values& values) {
  double sum = 0.0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum / double(values.size()));
}

/// The gradient of a step, clipped to a norm.
Values clipped_gradient(std::size_t count, int t, double clip) {
  Values g(count);
  for (std::size_t i = 0; i < count; ++i) g[i] = gradient_at(i, t);
  const double norm = root_mean_square(g) * std::sqrt(double(count));
  for (double& value : g) value *= std::min(1.0, clip / norm);
  return g;
}

/// LAMB as in You et al. 2020, algorithm 2, without a bound on the norm of the parameter.
std::vector<Values> lamb(std::size_t count, int steps, const OptimizerSpec& spec) {
  Values w(count), m(count), v(count);
  for (std::size_t i = 0; i < count; ++i) w[i] = start_at(i);
  std::vector<Values> all;
  for (int t = 1; t <= steps; ++t) {
    const Values g = clipped_gradient(count, t, spec.clip_norm);
    Values r(count);
    for (std::size_t i = 0; i < count; ++i) {
      m[i] = spec.beta1 * m[i] + (1 - spec.beta1) * g[i];
      v[i] = spec.beta2 * v[i] + (1 - spec.beta2) * g[i] * g[i];
      const double first = m[i] / (1 - std::pow(spec.beta1, t));
      const double second = v[i] / (1 - std::pow(spec.beta2, t));
      r[i] = first / (std::sqrt(second) + spec.epsilon) + spec.weight_decay * w[i];
    }
    const double ratio = root_mean_square(w) / root_mean_square(r);
    for (std::size_t i = 0; i < count; ++i) w[i] -= kRate * ratio * r[i];
    all.push_back(w);
  }
  return all;
}

TEST(Optimizers, LambIsThatOfThePaper) {
  OptimizerSpec spec = spec_of(OptimizerKind::lamb);
  spec.clip_norm = 1.5;
  const auto found = trained("ekh", {4, 3, 2}, spec, 6);
  const auto expected = lamb(24, 6, spec);
  for (std::size_t t = 0; t < found.size(); ++t) {
    expect_near(found[t], expected[t], "step " + std::to_string(t + 1));
  }
}

/// Adafactor as in Shazeer & Stern 2018, algorithm 4, with sums where the paper has sums, on a
/// matrix of `rows` rows; learning rate and weight decay as common frameworks have them.
std::vector<Values> adafactor(std::size_t rows, std::size_t columns, int steps,
                              const OptimizerSpec& spec) {
  const std::size_t count = rows * columns;
  Values w(count), r(rows), c(columns);
  for (std::size_t i = 0; i < count; ++i) w[i] = start_at(i);
  std::vector<Values> all;
  for (int t = 1; t <= steps; ++t) {
    const Values g = clipped_gradient(count, t, spec.clip_norm);
    const double b = 1.0 - std::pow(t, -0.8);
    Values row_sums(rows), column_sums(columns), u(count);
    for (std::size_t i = 0; i < count; ++i) {
      row_sums[i / columns] += g[i] * g[i] + 1e-30;
      column_sums[i % columns] += g[i] * g[i] + 1e-30;
    }
    double total = 0.0;
    for (std::size_t i = 0; i < rows; ++i) total += r[i] = b * r[i] + (1 - b) * row_sums[i];
    for (std::size_t j = 0; j < columns; ++j) c[j] = b * c[j] + (1 - b) * column_sums[j];
    for (std::size_t i = 0; i < count; ++i) {
      u[i] = g[i] / std::sqrt(r[i / columns] * c[i % columns] / total);
    }
    const double bound = std::max(1.0, root_mean_square(u));
    for (std::size_t i = 0; i < count; ++i) {
      w[i] -= kRate * (u[i] / bound + spec.weight_decay * w[i]);
    }
    all.push_back(w);
  }
  return all;
}

TEST(Optimizers, AdafactorIsThatOfThePaperOnMergedDimensions) {
  OptimizerSpec spec = spec_of(OptimizerKind::adafactor);
  spec.clip_norm = 1.5;
  // Cut where rows and columns are fewest: 6 x 6, then 4 x 6, then 5 x 2.
  const std::vector<std::tuple<Dims, Shape, std::size_t, std::size_t>> cases = {
      {"ekhd", {6, 3, 1, 2}, 6, 6}, {"hde", {2, 2, 6}, 4, 6}, {"ef", {5, 2}, 5, 2}};
  for (const auto& [dims, shape, rows, columns] : cases) {
    const auto found = trained(dims, shape, spec, 6);
    const auto expected = adafactor(rows, columns, 6, spec);
    for (std::size_t t = 0; t < found.size(); ++t) {
      expect_near(found[t], expected[t], dims + " step " + std::to_string(t + 1));
    }
    const Graph graph = graph_of(dims, shape, spec);
    const auto size = [&](const std::string& name) {
      return num_elements(graph.tensor(graph.find_tensor(name).value()).shape);
    };
    EXPECT_EQ(size("w.second_moment_rows"), static_cast<std::int64_t>(rows));
    EXPECT_EQ(size("w.second_moment_columns"), static_cast<std::int64_t>(columns));
  }
}

TEST(Optimizers, WriteNothingWhereTheNormIsNotFinite) {
  for (const OptimizerKind kind :
       {OptimizerKind::sgd, OptimizerKind::momentum, OptimizerKind::adam, OptimizerKind::adamw,
        OptimizerKind::adafactor, OptimizerKind::lamb}) {
    for (const Shape& shape : {Shape{4, 3}, Shape{5}}) {
      const Dims dims = Dims("ef").substr(0, shape.size());
      const auto through = trained(dims, shape, spec_of(kind), 4);
      const auto skipped = trained(dims, shape, spec_of(kind), 5, 3);
      EXPECT_EQ(skipped[2], skipped[1]);
      EXPECT_EQ(skipped.back(), through.back());  // nor are states touched
    }
  }
}

TEST(Optimizers, GroupsChangeRateAndDecay) {
  for (const OptimizerKind kind :
       {OptimizerKind::sgd, OptimizerKind::adamw, OptimizerKind::adafactor, OptimizerKind::lamb}) {
    OptimizerSpec grouped = spec_of(kind);
    grouped.no_decay = {"w"};
    grouped.groups = {{{"v", "x*"}, 3.0, 0.7}, {{"w"}, 0.5, 0.2}, {{"*"}, 9.0, {}}};
    OptimizerSpec plain = spec_of(kind);
    plain.weight_decay = 0.2;
    const Values found = trained("ef", {4, 3}, grouped, 1).back();
    const Values whole = trained("ef", {4, 3}, plain, 1).back();
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i] - start_at(i), 0.5 * (whole[i] - start_at(i)), 1e-15);
    }
    grouped.groups = {{{"w"}, 1.0, {}}};  // without a decay of its own no_decay counts
    plain.weight_decay = 0.0;
    EXPECT_EQ(trained("ef", {4, 3}, grouped, 2).back(), trained("ef", {4, 3}, plain, 2).back());
  }
}

}  // namespace
}  // namespace alpa
