#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "alpa/graph/training.hpp"

#include "intra_op/models.hpp"

/// The integer program against enumeration of every choice.
namespace alpa {
namespace {

using test::costs_of;
using test::one_host;

/// Two layers, the second one tied to the first's weight if `tied`.
Graph small_model(std::int64_t b, std::int64_t width, bool tied) {
  GraphBuilder builder(2, b, DType::f32);
  const Initializer start{Initializer::Kind::normal, 0.0, 0.1};
  const TensorId x = builder.input("x", "be", {b, width}, DType::f32);
  const TensorId w = builder.parameter("w", "ef", {width, width}, start);
  const TensorId y = builder.add("first", Einsum{"be", "ef", "bf"}, {x, w});
  const TensorId r = builder.add("relu", Map{MapOp::relu, {"bf"}, "bf"}, {y});
  builder.at(1);
  const TensorId v = tied ? w : builder.parameter("v", "ef", {width, width}, start);
  const TensorId z = builder.add("second", Einsum{"be", "ef", "bf"}, {r, v});
  const TensorId s = builder.add("sum", Map{MapOp::add, {"bf", "bf"}, "bf"}, {z, r});
  const TensorId squares = builder.add(
      "squares", Reduce{.square = true, .operand = "bf", .result = ""}, {s}, {.dtype = DType::f64});
  builder.add_in_place("loss.contribute", Contribute{}, {squares},
                       {builder.scalar(scalar_name::kLoss, Role::global_scalar)});
  OptimizerSpec optimizer;
  optimizer.kind = OptimizerKind::momentum;
  add_training(builder, {squares}, optimizer);
  return builder.build();
}

/// Leaves a few random strategies to a few random operators, one to the rest.
StageConstraints random_constraints(const Graph& graph, const DeviceMesh& mesh,
                                    std::mt19937_64& random) {
  auto allowed = std::make_shared<std::map<std::string, std::vector<Strategy>>>();
  double total = 1;
  std::vector<const Operator*> order;
  for (const Operator& op : graph.operators) order.push_back(&op);
  std::shuffle(order.begin(), order.end(), random);
  for (const Operator* op : order) {
    auto all = all_strategies(op->rule, mesh);
    std::shuffle(all.begin(), all.end(), random);
    const std::size_t most = total > 200 ? 1 : 1 + random() % 3;
    all.resize(std::min(all.size(), most));
    total *= static_cast<double>(all.size());
    (*allowed)[op->name] = std::move(all);
  }
  StageConstraints constraints;
  constraints.strategies = [allowed](const Operator& op,
                                     const DeviceMesh&) -> std::optional<std::vector<Strategy>> {
    return allowed->at(op.name);
  };
  if (random() % 2 == 0) {
    constraints.retentions = [](const Tensor& tensor) -> std::optional<std::vector<Retention>> {
      if (tensor.role == Role::activation) return {{Retention::keep, Retention::repeat}};
      return std::nullopt;
    };
  }
  return constraints;
}

double bytes(const StageAnswer& a, int in_flight) {
  const StageFigures& f = a.figures;
  return static_cast<double>((f.state + f.stash * std::int64_t{in_flight} + f.transient).value);
}

TEST(Solve, IsTheBestOfAllChoices) {
  std::mt19937_64 random(3);
  int with_memory = 0;
  for (int i = 0; i < 120; ++i) {
    SCOPED_TRACE(i);
    const DeviceMesh mesh = random() % 2 == 0 ? DeviceMesh{{2}} : DeviceMesh{{2, 2}};
    const Graph graph = small_model(4, 4 + static_cast<std::int64_t>(random() % 5), i % 3 == 0);
    const StageModel model(graph, costs_of(one_host(4), mesh), 2,
                           random_constraints(graph, mesh, random));
    StageQuestion q{.first_layer = i % 4 == 3 ? 1 : 0, .last_layer = i % 5 == 4 ? 0 : 1};
    q.first_layer = std::min(q.first_layer, q.last_layer);
    q.weights = {.forward = 2.0, .backward = 2.0};
    q.in_flight = 2;
    if (i % 2 == 0) q.weights.state_byte = 1e-10;
    if (i % 4 == 0) q.weights.stash_byte = 3e-10;
    auto all = model.all(q.first_layer, q.last_layer, 100'000);
    ASSERT_TRUE(all.has_value());
    ASSERT_FALSE(all->empty());
    for (StageAnswer& a : *all) a.cost = weighted(a.figures, q.weights);
    if (i % 3 != 0) {
      auto [least, most] = std::minmax_element(
          all->begin(), all->end(),
          [](const auto& a, const auto& b) { return bytes(a, 2) < bytes(b, 2); });
      q.memory = Bytes{static_cast<std::int64_t>(0.6 * bytes(*least, 2) + 0.4 * bytes(*most, 2))};
    }
    std::vector<double> fitting;
    for (const StageAnswer& a : *all) {
      const bool fits = !q.memory || bytes(a, 2) <= static_cast<double>(q.memory->value);
      if (fits) fitting.push_back(a.cost);
    }
    with_memory += fitting.size() < all->size() ? 1 : 0;
    std::sort(fitting.begin(), fitting.end());
    const auto answer = model.solve(q);
    ASSERT_TRUE(answer.has_value());
    EXPECT_NEAR(answer->cost, fitting.front(), 1e-7 * fitting.front());
    EXPECT_LE(answer->lower_bound, fitting.front() * (1 + 1e-9));
    EXPECT_EQ(answer->proof, Proof::optimal);
    StagePlan plan;
    plan.mesh = mesh;
    plan.strategies = answer->strategies;
    plan.retention = answer->retention;
    const StageAnswer again = model.evaluate(q.first_layer, q.last_layer, plan, q.weights);
    EXPECT_NEAR(again.cost, answer->cost, 1e-12 * answer->cost);
    EXPECT_EQ(again.figures.state, answer->figures.state);
    if (i % 6 != 0) continue;
    const auto best = model.best(q, 12);
    ASSERT_EQ(best.size(), std::min<std::size_t>(12, fitting.size()));
    for (std::size_t k = 0; k < best.size(); ++k) {
      EXPECT_NEAR(best[k].cost, fitting[k], 1e-7 * fitting[k]) << k;
    }
  }
  EXPECT_GT(with_memory, 30);
}

ModelConfig equal_mlp(std::int64_t layers, std::int64_t width) {
  ModelConfig model = preset_defaults(Preset::mlp);
  MlpConfig shape;
  shape.layers = layers;
  shape.hidden = shape.features = shape.classes = width;
  shape.activation = Activation::relu;
  shape.loss = Loss::squared_error;
  shape.bias = false;
  model.shape = shape;
  return model;
}

Graph graph_of(const ModelConfig& model, std::int64_t batch, OptimizerKind kind) {
  OptimizerConfig optimizer;
  optimizer.name = kind;
  ModelOptions options;
  options.microbatch = batch;
  options.clip_norm = std::nullopt;
  return build_graph(model, optimizer, options);
}

TEST(Solve, TiedLayersAreNeverBetterThanFreeOnes) {
  for (const DeviceMesh& mesh : {DeviceMesh{{4}}, DeviceMesh{{2}}}) {
    const Graph graph = graph_of(equal_mlp(5, 64), 64, OptimizerKind::adamw);
    const StageModel model(graph, costs_of(one_host(4), mesh), 1, {});
    EXPECT_EQ(model.layer_classes()[1], model.layer_classes()[2]);
    StageQuestion q{.first_layer = 0, .last_layer = graph.num_layers - 1};
    q.weights.state_byte = 1e-11;
    const auto free = model.solve(q);
    q.tied = true;
    const auto tied = model.solve(q);
    ASSERT_TRUE(free && tied);
    EXPECT_LE(free->cost, tied->cost * (1 + 1e-9));
    StagePlan plan;
    plan.mesh = mesh;
    plan.strategies = tied->strategies;
    plan.retention = tied->retention;
    const StageAnswer again = model.evaluate(q.first_layer, q.last_layer, plan, q.weights);
    EXPECT_NEAR(again.cost, tied->cost, 1e-12 * tied->cost);
    EXPECT_NEAR(tied->lower_bound, tied->cost, 1e-8 * tied->cost);
    for (const Operator& op : graph.operators) {
      if (op.layer != 2) continue;
      std::string twin = op.name;
      const auto at = twin.find("layers.2");
      if (at == std::string::npos) continue;
      twin.replace(at, 8, "layers.3");
      if (!tied->strategies.contains(twin)) continue;
      const auto layout = apply_strategy(op.rule, tied->strategies.at(op.name), mesh).layout;
      const Operator& other = *std::find_if(graph.operators.begin(), graph.operators.end(),
                                            [&](const Operator& o) { return o.name == twin; });
      EXPECT_EQ(layout, apply_strategy(other.rule, tied->strategies.at(twin), mesh).layout) << twin;
    }
  }
}

TEST(Solve, AContradictionHasNoAnswer) {
  const Graph graph = small_model(4, 4, false);
  StageConstraints none;
  none.strategies = [](const Operator& op,
                       const DeviceMesh&) -> std::optional<std::vector<Strategy>> {
    if (op.name == "relu") return std::vector<Strategy>{};
    return std::nullopt;
  };
  const StageModel model(graph, costs_of(one_host(2), {{2}}), 1, none);
  StageQuestion q{.first_layer = 0, .last_layer = 1};
  EXPECT_FALSE(model.solve(q).has_value());
  EXPECT_TRUE(model.best(q, 3).empty());
  const StageModel free(graph, costs_of(one_host(2), {{2}}), 1, {});
  q.memory = Bytes{100};
  EXPECT_FALSE(free.solve(q).has_value());
}

TEST(Solve, TheNamedProblemIsTheOneSolved) {
  const Graph graph = small_model(4, 6, true);
  const StageModel model(graph, costs_of(one_host(4), {{4}}), 2, {});
  StageQuestion q{.first_layer = 0, .last_layer = 1};
  const StageModel::NamedProblem named = model.problem(q);
  ASSERT_EQ(named.nodes.size(), named.problem.nodes.size());
  for (std::size_t n = 0; n < named.nodes.size(); ++n) {
    EXPECT_FALSE(named.nodes[n].empty());
    EXPECT_EQ(named.options[n].size(), named.problem.nodes[n].costs.size());
  }
  const Solution solution = solve(named.problem);
  EXPECT_NEAR(solution.cost, model.solve(q)->cost, 1e-9 * solution.cost);
}

// PLANNER section 4.

double best_cost(const Graph& graph, const DeviceMesh& mesh, const std::vector<AxisCost>& axes) {
  const StageModel model(graph, costs_of(test::priced_axes(axes, num_devices(mesh)), mesh), 1, {});
  const auto answer = model.solve({.first_layer = 0, .last_layer = graph.num_layers - 1});
  return answer ? answer->cost : -1.0;
}

double all_reduce(double bytes, int n) { return 1 + 2 * bytes * (n - 1) / n; }

TEST(Reference, TwoLayersTakeDataParallelismOrColumnThenRow) {
  const AxisCost axis{1.0, 1.0};
  const auto mlp = [&](std::int64_t b, std::int64_t h, std::int64_t layers) {
    return best_cost(graph_of(equal_mlp(layers - 1, h), b, OptimizerKind::sgd), {{4}}, {axis});
  };
  EXPECT_LE(mlp(1024, 128, 2), 196'610);
  EXPECT_LE(mlp(128, 1024, 2), 786'433);
  EXPECT_LE(mlp(1024, 128, 12), 12 * all_reduce(4.0 * 128 * 128, 4));
  EXPECT_LE(mlp(128, 1024, 12), 11 * all_reduce(4.0 * 128 * 1024, 4));
}

TEST(Reference, TheSumOfTwoProductsIsReducedOnce) {
  GraphBuilder builder(1, 64, DType::f32);
  const TensorId x = builder.input("x", "be", {64, 64}, DType::f32);
  const TensorId y = builder.input("y", "ef", {64, 64}, DType::f32);
  const TensorId p = builder.add("p", Einsum{"be", "ef", "bf"}, {x, y});
  const TensorId q = builder.add("q", Einsum{"be", "ef", "bf", 2.0}, {x, y});
  const TensorId s = builder.add("s", Map{MapOp::add, {"bf", "bf"}, "bf"}, {p, q});
  builder.add("t", Map{MapOp::relu, {"bf"}, "bf"}, {s});
  StageConstraints split;
  split.strategies = [](const Operator& op,
                        const DeviceMesh&) -> std::optional<std::vector<Strategy>> {
    if (op.name == "p" || op.name == "q") return {{parse_strategy("e@0")}};
    if (op.name == "t") return {{Strategy{}}};
    return std::nullopt;
  };
  const Graph graph = builder.build();
  const StageModel model(graph, costs_of(test::priced_axes({{1.0, 1.0}}, 4), {{4}}), 1, split);
  const auto answer = model.solve({});
  ASSERT_TRUE(answer.has_value());
  EXPECT_NEAR(answer->cost, all_reduce(4.0 * 64 * 64, 4), 1e-9 * answer->cost);
}

TEST(Reference, TheDearAxisIsSparedWhereBetasDiffer) {
  // A product whose inner index is split over all four devices, and is then wanted whole.
  GraphBuilder builder(1, 64, DType::f32);
  const TensorId x = builder.input("x", "be", {64, 64}, DType::f32);
  const TensorId y = builder.input("y", "ef", {64, 64}, DType::f32);
  const TensorId p = builder.add("p", Einsum{"be", "ef", "bf"}, {x, y});
  builder.add("t", Map{MapOp::relu, {"bf"}, "bf"}, {p});
  const Graph graph = builder.build();
  const auto cost = [&](const std::string& split, double first, double second) {
    StageConstraints constraints;
    constraints.strategies = [&](const Operator& op,
                                 const DeviceMesh&) -> std::optional<std::vector<Strategy>> {
      if (op.name == "p") return {{parse_strategy(split)}};
      return {{Strategy{}}};
    };
    const StageModel model(graph,
                           costs_of(test::priced_axes({{0.0, first}, {0.0, second}}, 4), {{2, 2}}),
                           1, constraints);
    return model.solve({})->cost;
  };
  const double bytes = 4.0 * 64 * 64;
  EXPECT_NEAR(cost("e@0", 1.0, 0.1), bytes, 1e-6);
  EXPECT_NEAR(cost("e@1", 1.0, 0.1), 0.1 * bytes, 1e-6);
  EXPECT_NEAR(cost("e@0", 0.1, 1.0), 0.1 * bytes, 1e-6);
  // Free to choose between the axes, it takes the cheap one.
  StageConstraints either;
  either.strategies = [](const Operator& op,
                         const DeviceMesh&) -> std::optional<std::vector<Strategy>> {
    if (op.name == "p") return {{parse_strategy("e@0"), parse_strategy("e@1")}};
    return {{Strategy{}}};
  };
  const StageModel model(graph, costs_of(test::priced_axes({{0.0, 1.0}, {0.0, 0.1}}, 4), {{2, 2}}),
                         1, either);
  EXPECT_EQ(to_string(model.solve({})->strategies.at("p")), "e@1");
}

}  // namespace
}  // namespace alpa
