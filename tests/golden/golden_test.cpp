#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/graph/training.hpp"
#include "alpa/model/build_graph.hpp"

#include "graph/interpreter.hpp"

/// Losses and gradients against those of PyTorch: the files that the scripts beside this one wrote.
namespace alpa {
namespace {

using testing::Interpreter;

nlohmann::json read_golden(const std::string& name) {
  std::ifstream file(std::string(ALPA_SOURCE_DIR) + "/tests/golden/" + name + ".json");
  EXPECT_TRUE(file.good()) << name;
  return nlohmann::json::parse(file);
}

struct Precisely {
  Precision precision;
  double tolerance;  ///< of the loss, and of each gradient relative to its norm
  /// A gradient of smaller norm, a sum that nearly cancels, is measured with this share of the norm
  /// of the whole gradient.
  double least_share;
};

/// The values of a tensor: as they stand there, or those of the formula of quadratic() in
/// golden.py.
std::vector<double> values_of(const nlohmann::json& tensor) {
  if (!tensor.contains("quadratic")) return tensor.at("values").get<std::vector<double>>();
  const auto [a, b, m] = tensor.at("quadratic").get<std::array<std::int64_t, 3>>();
  std::vector<double> values;
  for (std::int64_t i = 0; i < num_elements(tensor.at("shape").get<Shape>()); ++i) {
    const auto number = static_cast<double>((a * i * i + b * i) % m - (m - 1) / 2);
    values.push_back(number * tensor.at("scale").get<double>() + tensor.at("offset").get<double>());
  }
  return values;
}

void set_all(const Graph& graph, const nlohmann::json& tensors, Interpreter& run) {
  for (const auto& [name, tensor] : tensors.items()) {
    const auto id = graph.find_tensor(name);
    ASSERT_TRUE(id.has_value()) << name;
    EXPECT_EQ(graph.tensor(*id).shape, tensor.at("shape").get<Shape>()) << name;
    run.set(name, values_of(tensor));
  }
}

double norm(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

void expect_gradient(const Graph& graph, const Interpreter& run, const std::string& name,
                     const std::vector<double>& expected, double whole, const Precisely& how) {
  const bool tied = graph.find_tensor(name + ".gradient_sum").has_value();
  const auto found = run.get(name + (tied ? ".gradient_sum" : ".accumulator"));
  ASSERT_EQ(found.size(), expected.size()) << name;
  std::vector<double> difference;
  for (std::size_t i = 0; i < found.size(); ++i) difference.push_back(found[i] - expected[i]);
  EXPECT_LE(norm(difference), how.tolerance * std::max(norm(expected), how.least_share * whole))
      << name << " " << norm(expected);
}

void expect_golden(const nlohmann::json& golden, std::unique_ptr<Device> device,
                   const Precisely& how) {
  RunConfig config = parse_run_config(golden.at("run_file").get<std::string>(), "golden.yaml");
  config.training.precision = how.precision;
  const Graph graph = build_graph(config, config.training.global_batch);
  Interpreter run(graph, std::move(device));
  set_all(graph, golden.at("inputs"), run);
  set_all(graph, golden.at("parameters"), run);
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    if (!graph.tensor(id).trained) continue;
    EXPECT_TRUE(golden.at("parameters").contains(graph.tensor(id).name)) << graph.tensor(id).name;
  }
  for (const TensorId id : tensors_with(graph, Role::step_scalar)) {
    const std::string& name = graph.tensor(id).name;
    const double inverse = golden.at("inverse_weight").get<double>();
    run.set(name, std::vector<double>{name == scalar_name::kInverseWeight ? inverse : 1.0});
  }
  run.run({Phase::prepare, Phase::forward, Phase::backward, Phase::reduce});
  const double loss = golden.at("loss").get<double>();
  EXPECT_NEAR(run.get(scalar_name::kLoss).at(0), loss, how.tolerance * std::abs(loss));
  double whole = 0.0;
  for (const auto& [name, tensor] : golden.at("gradients").items()) {
    whole = std::hypot(whole, norm(values_of(tensor)));
  }
  for (const auto& [name, tensor] : golden.at("gradients").items()) {
    expect_gradient(graph, run, name, values_of(tensor), whole, how);
  }
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, LossAndGradientsAreThoseOfPyTorch) {
  const nlohmann::json golden = read_golden(GetParam());
  for (const Precisely& how :
       {Precisely{Precision::fp64, 1e-6, 1e-3}, {Precision::fp32, 1e-5, 0.03}}) {
    SCOPED_TRACE(name_of(how.precision));
    expect_golden(golden, make_reference_device(), how);
    expect_golden(golden, make_cpu_device(1), how);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Golden,
                         ::testing::Values("gpt", "gpt_documents", "llama", "bert", "moe",
                                           "wide_resnet"),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace alpa
