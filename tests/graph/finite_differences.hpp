#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"

#include "graph/interpreter.hpp"

/// Forward graphs built by a test, their backward operators against differences of the loss.
namespace alpa::testing {

inline constexpr std::uint64_t kSeed = 7;
inline constexpr std::int64_t kBatch = 2;

/// A forward graph whose parameters are to be differentiated.
class Case {
 public:
  explicit Case(int layers = 1) : builder(layers, kBatch, DType::f64) {}

  TensorId parameter(const std::string& name, const Dims& dims, const Shape& shape) {
    return builder.parameter(name, dims, shape, {Initializer::Kind::normal, 0.0, 1.0});
  }
  TensorId ids(const std::string& name, const Dims& dims, const Shape& shape, int rows) {
    id_rows_.emplace_back(name, rows);
    return builder.input(name, dims, shape, DType::i32);
  }
  TensorId scalar(const char* name) { return builder.scalar(name, Role::step_scalar); }

  /// loss = sum of (y - target)^2 / 2 with a random target: a different gradient at each element.
  void end_with(TensorId y) {
    const Dims dims = builder.tensor(y).dims;
    const std::string number = std::to_string(losses_.size());
    const TensorId target =
        builder.input("target" + number, dims, builder.tensor(y).shape, DType::f64);
    const TensorId one = builder.input("one" + number, "", {}, DType::f64);
    const Map error{MapOp::squared_error, {dims, dims, "", ""}, dims, 0.5};
    end_with_values(builder.add("error" + number, error,
                                {y, target, one, scalar(scalar_name::kInverseWeight)}));
  }
  void end_with_values(TensorId values) {
    losses_.push_back(add_loss(builder, "loss" + std::to_string(losses_.size()), values));
  }

  [[nodiscard]] Graph finish() {
    add_training(builder, losses_, {.kind = OptimizerKind::sgd, .no_decay = {}});
    return builder.build();
  }

  void fill_inputs(const Graph& graph, Interpreter& run) const {
    for (const Role role : {Role::input, Role::parameter}) {
      for (const TensorId id : tensors_with(graph, role)) {
        const Tensor& tensor = graph.tensor(id);
        if (tensor.dtype == DType::f64) run.set(tensor.name, random_values(tensor));
      }
    }
    for (const auto& [name, rows] : id_rows_) {
      const Tensor& tensor = graph.tensor(*graph.find_tensor(name));
      std::vector<std::int32_t> values;
      for (std::int64_t i = 0; i < num_elements(tensor.shape); ++i) {
        values.push_back(
            static_cast<std::int32_t>(uniform(kSeed, 1, static_cast<std::uint64_t>(i)) * rows));
      }
      run.set(name, values);
    }
    for (const TensorId id : tensors_with(graph, Role::step_scalar)) {
      const std::string& name = graph.tensor(id).name;
      run.set(name, std::vector<double>{name == scalar_name::kInverseWeight ? 0.25 : 1.0});
    }
  }

  [[nodiscard]] static std::vector<double> random_values(const Tensor& tensor) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < num_elements(tensor.shape); ++i) {
      values.push_back(normal(stream_key(kSeed, tensor.name), 0, static_cast<std::uint64_t>(i)));
    }
    return values;
  }

  GraphBuilder builder;

 private:
  std::vector<TensorId> losses_;
  std::vector<std::pair<std::string, int>> id_rows_;
};

inline std::string total_gradient_name(const Graph& graph, const std::string& parameter) {
  const std::string sum = parameter + ".gradient_sum";
  return graph.find_tensor(sum) ? sum : parameter + ".accumulator";
}

inline double loss_at(Interpreter& run, const std::string& name, std::vector<double> values,
                      std::size_t i, double step) {
  values[i] += step;
  run.set(name, values);
  run.run({Phase::prepare, Phase::forward});
  return run.get(scalar_name::kLoss).at(0);
}

/// Every element of every parameter against a central difference of order 4.
inline void expect_gradients_of_differences(const Case& test, const Graph& graph) {
  Interpreter run(graph);
  test.fill_inputs(graph, run);
  run.run({Phase::prepare, Phase::forward, Phase::backward, Phase::reduce});
  double norm_squared = 0.0;
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    const std::string& name = graph.tensor(id).name;
    const std::vector<double> values = run.get(name);
    const std::vector<double> gradient = run.get(total_gradient_name(graph, name));
    for (const double g : gradient) norm_squared += g * g;
    EXPECT_EQ(gradient.size(), values.size());
    Interpreter probe(graph);
    test.fill_inputs(graph, probe);
    for (std::size_t i = 0; i < values.size(); ++i) {
      constexpr double h = 1e-3;
      const double near = loss_at(probe, name, values, i, h) - loss_at(probe, name, values, i, -h);
      const double far =
          loss_at(probe, name, values, i, 2 * h) - loss_at(probe, name, values, i, -2 * h);
      const double difference = (8 * near - far) / (12 * h);
      EXPECT_NEAR(gradient[i], difference, 1e-8 * std::max(1.0, std::abs(difference)))
          << name << " element " << i;
    }
  }
  EXPECT_GT(norm_squared, 0.0);
  EXPECT_NEAR(run.get(scalar_name::kNormSquared).at(0), norm_squared, 1e-12 * norm_squared);
}

}  // namespace alpa::testing
