#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <variant>

#include <gtest/gtest.h>

#include "alpa/graph/recompute.hpp"

#include "intra_op/models.hpp"

/// Answers that are put together of parts of others.
namespace alpa {
namespace {

using test::costs_of;
using test::one_host;

/// The graph with a copy of every gradient sum that `reduce` makes and `update` reads.
Graph with_copies(Graph graph) {
  std::vector<Operator> operators;
  bool updates = false;
  for (const Operator& op : graph.operators) {
    if (op.phase == Phase::update && !updates) {
      updates = true;
      for (Operator& update : graph.operators) {
        if (!std::holds_alternative<Update>(update.kernel)) continue;
        Tensor sum = graph.tensor(update.operands.at(0));
        const Map copy{MapOp::copy, {sum.dims}, sum.dims};
        sum.name += ".kept";
        sum.role = Role::gradient;
        const TensorId kept{static_cast<int>(graph.tensors.size())};
        operators.push_back({sum.name,
                             copy,
                             {update.operands.at(0)},
                             {kept},
                             rule_of(copy, {sum.shape}, {sum.shape}),
                             sum.layer,
                             Phase::reduce});
        update.operands.at(0) = kept;
        graph.tensors.push_back(std::move(sum));
      }
    }
    operators.push_back(op);
  }
  graph.operators = std::move(operators);
  validate(graph);
  return graph;
}

/// Equal layers on a mesh, and the answers at two prices of a byte.
class Joined : public testing::Test {
 protected:
  Joined()
      : graph_(with_copies(
            law::case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp32, 0.5}).make_graph(4))),
        model_(graph_, costs_of(one_host(4), {{4}}), 2, {}) {
    fast_ = solve(0.0);
    small_ = solve(1.0);
  }

  [[nodiscard]] StageAnswer solve(double byte) const {
    StageQuestion question{.first_layer = 0, .last_layer = last()};
    question.weights.state_byte = question.weights.stash_byte = byte;
    question.tied = question.one_layout = true;
    question.limits.cbc_columns = 0;
    question.limits.sweeps = 100;
    question.limits.table_entries = 1 << 17;
    const auto answer = model_.solve(question);
    EXPECT_TRUE(answer.has_value());
    return *answer;
  }
  [[nodiscard]] int last() const { return graph_.num_layers - 1; }

  /// Layers before `split` like the fast answer, the others like the small one.
  [[nodiscard]] StageAnswer joined(int split) const {
    std::vector<ChosenLayers> parts;
    if (split > 0) parts.push_back({0, split - 1, fast_.parts.front().as});
    if (split <= last()) parts.push_back({split, last(), small_.parts.front().as});
    return model_.joined(0, last(), parts, {});
  }

  static void expect_equal(const StageFigures& a, const StageFigures& b) {
    EXPECT_NEAR(test::total(a.times), test::total(b.times), 1e-12 * test::total(b.times));
    EXPECT_EQ(a.state, b.state);
    EXPECT_EQ(a.stash, b.stash);
    EXPECT_EQ(a.transient, b.transient);
    EXPECT_EQ(a.reduced, b.reduced);
  }

  Graph graph_;
  StageModel model_;
  StageAnswer fast_, small_;
};

TEST_F(Joined, AllOfOneAnswerIsThatAnswer) {
  expect_equal(joined(last() + 1).figures, fast_.figures);
  expect_equal(joined(0).figures, small_.figures);
  EXPECT_LT(small_.figures.state + small_.figures.stash, fast_.figures.state + fast_.figures.stash);
}

TEST_F(Joined, PartsTakeWhatThePlanOfTheirChoicesTakes) {
  for (int split = 1; split <= last(); ++split) {
    SCOPED_TRACE(split);
    StageAnswer both = joined(split);
    model_.name(both, graph_);
    StagePlan stage;
    stage.mesh = {{4}};
    stage.strategies = both.strategies;
    stage.retention = both.retention;
    expect_equal(both.figures, model_.evaluate(0, last(), stage, {}).figures);
  }
}

TEST_F(Joined, PartsMayBeComputedAgainInTwoWays) {
  const auto plain = index_of(graph_);
  for (const bool full_first : {false, true}) {
    const Recompute before = full_first ? Recompute::full : Recompute::none;
    const Recompute after = full_first ? Recompute::none : Recompute::full;
    std::vector<Recompute> of_layer(static_cast<std::size_t>(graph_.num_layers), after);
    Bytes stash = full_first ? fast_.figures.stash + small_.figures.stash : Bytes{0};
    for (int split = 1; split <= last(); ++split) {
      SCOPED_TRACE(split);
      std::fill(of_layer.begin(), of_layer.begin() + split, before);
      const Graph graph = with_recomputation(graph_, of_layer);
      const StageModel model(graph, costs_of(one_host(4), {{4}}), 2, {},
                             mixed_index_of(graph, *plain));
      EXPECT_EQ(model_.seen_split(0, last(), split), split);
      StageAnswer both = model.joined(0, last(),
                                      {{0, split - 1, fast_.parts.front().as, before},
                                       {split, last(), fast_.parts.front().as, after}},
                                      {});
      model.name(both, graph);
      StagePlan stage;
      stage.mesh = {{4}};
      stage.strategies = both.strategies;
      stage.retention = both.retention;
      expect_equal(both.figures, model.evaluate(0, last(), stage, {}).figures);
      // The more layers are computed again, the less they keep.
      EXPECT_EQ(both.figures.stash < stash, full_first);
      stash = both.figures.stash;
    }
  }
}

// What lives between reduce and update adds up over layers, those that others stand for too.
TEST_F(Joined, GradientsOfAllLayersLiveAtOnce) {
  Bytes reduced{0};
  for (const StageFigures& layer : fast_.by_layer) reduced += layer.reduced;
  EXPECT_EQ(fast_.figures.reduced, reduced);
  EXPECT_GT(reduced, Bytes{0});
  EXPECT_GE(fast_.figures.transient, reduced);
}

/// Copies of gradients are there for all layers between reduce and update.
TEST_F(Joined, BoundsOfLayersHoldForEveryAnswer) {
  for (const double byte : {0.0, 1e-12, 1e-10, 1e-8, 1.0}) {
    SCOPED_TRACE(byte);
    StageWeights weights;
    weights.state_byte = weights.stash_byte = byte;
    double bound = 0.0;
    for (int l = 0; l <= last(); ++l) {
      bound += model_.bound(l, l, weights, {}, 5);
      EXPECT_GE(model_.bound(l, l, weights, {}, 5), model_.bound(l, l, weights, {}));
    }
    for (int split = 0; split <= last() + 1; ++split) {
      const StageFigures figures = joined(split).figures;
      EXPECT_GT(figures.reduced, Bytes{0});
      EXPECT_LE(bound,
                weighted(figures, weights) + byte * static_cast<double>(figures.reduced.value));
    }
    const StageFigures& least = byte == 0.0 ? fast_.figures : small_.figures;
    if (byte == 0.0 || byte == 1.0) {
      EXPECT_GT(bound, 0.6 * weighted(least, weights));
    }
  }
}

/// A question whose prices of bytes change is the question asked anew at each of them.
TEST_F(Joined, PricesThatChangeGiveTheProblemOfEachPrice) {
  std::vector<Problem> problems;
  const StageModel recorded(graph_, costs_of(one_host(4), {{2, 2}}), 2, {}, nullptr,
                            [&](const std::string&, const Problem& problem, const Solution&) {
                              problems.push_back(problem);
                            });
  StageQuestion question{.first_layer = 0, .last_layer = last()};
  question.tied = question.one_layout = true;
  question.limits.table_entries = 1 << 17;
  PricedQuestion priced(recorded, question);
  for (const double byte : {0.0, 1e-8, 1.0, 1e-10, 0.0}) {
    SCOPED_TRACE(byte);
    question.weights.state_byte = byte;
    question.weights.stash_byte = 2.0 * byte;
    const auto anew = recorded.solve(question);
    const auto again = priced.solve(byte, 2.0 * byte);
    ASSERT_TRUE(anew.has_value() && again.has_value());
    EXPECT_NEAR(again->cost, anew->cost, 1e-9 * anew->cost);
    EXPECT_EQ(again->proof, anew->proof);
    ASSERT_EQ(problems.size() % 2, 0U);
    const Problem& one = problems[problems.size() - 2];
    const Problem& other = problems[problems.size() - 1];
    EXPECT_EQ(one, other);
  }
}

/// Layouts and options that models of several graphs share change no answer.
TEST_F(Joined, ModelsThatShareTablesAnswerAsAlone) {
  const auto other = law::case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp16, 0.5});
  const Graph wider = other.make_graph(8);
  const auto first = index_of(graph_);
  const auto second = index_of(wider, first.get());
  StageQuestion question{.first_layer = 0, .last_layer = last()};
  question.tied = question.one_layout = true;
  for (const DeviceMesh& mesh : {DeviceMesh{{4}}, DeviceMesh{{2, 2}}}) {
    for (int round = 0; round < 2; ++round) {  // the second finds what the first left
      for (const Graph* graph : std::initializer_list<const Graph*>{&graph_, &wider}) {
        const MeshCosts costs = costs_of(one_host(4), mesh);
        const StageModel alone(*graph, costs, 2, {});
        const StageModel sharing(*graph, costs, 2, {}, graph == &wider ? second : first);
        const auto expected = alone.solve(question);
        const auto found = sharing.solve(question);
        ASSERT_TRUE(expected.has_value() && found.has_value());
        EXPECT_EQ(found->cost, expected->cost);
        EXPECT_EQ(found->strategies, expected->strategies);
        EXPECT_EQ(found->retention, expected->retention);
        EXPECT_EQ(found->borders, expected->borders);
        for (int l = 0; l <= last(); ++l) {
          EXPECT_EQ(sharing.bound(l, l, {}, {}), alone.bound(l, l, {}, {}));
        }
      }
    }
  }
}

/// Parameters in 16 bits have replicas, which microbatches read as they are or gathered; the
/// embedding is the first layer's and the last one's.
TEST(LayerBounds, HoldForEveryAnswerWithReplicas) {
  for (const auto& [precision, mesh] : {std::pair(Precision::bf16, DeviceMesh{{4}}),
                                        std::pair(Precision::fp16, DeviceMesh{{2, 2}})}) {
    const Graph graph =
        law::case_of({Preset::gpt, OptimizerKind::adamw, precision, 0.5}).make_graph(4);
    const int last = graph.num_layers - 1;
    const StageModel model(graph, costs_of(one_host(4), mesh), 2, {});
    const std::vector<double> prices{0.0, 1e-10};
    std::vector<StageFigures> answers;
    for (const double byte : prices) {
      StageQuestion question{.first_layer = 0, .last_layer = last};
      question.weights.state_byte = question.weights.stash_byte = byte;
      question.tied = question.one_layout = true;
      question.limits.cbc_columns = 0;
      question.limits.sweeps = 50;
      question.limits.table_entries = 1 << 17;
      const auto answer = model.solve(question);
      ASSERT_TRUE(answer.has_value());
      answers.push_back(answer->figures);
    }
    std::map<int, BoundHints> hints;
    for (const double byte : prices) {
      SCOPED_TRACE(byte);
      StageWeights weights;
      weights.state_byte = weights.stash_byte = byte;
      double bound = 0.0;
      double hinted = 0.0;
      for (int l = 0; l <= last; ++l) {
        bound += model.bound(l, l, weights, {}, 5);
        hinted += model.bound(l, l, weights, {}, 1, false, &hints[l]);
      }
      double least = std::numeric_limits<double>::infinity();
      for (const StageFigures& figures : answers) {
        least = std::min(
            least, weighted(figures, weights) + byte * static_cast<double>(figures.reduced.value));
      }
      EXPECT_LE(bound, least);
      EXPECT_GT(bound, 0.6 * least);
      EXPECT_LE(hinted, least);
      EXPECT_GT(hinted, 0.6 * least);
    }
  }
}

}  // namespace
}  // namespace alpa
