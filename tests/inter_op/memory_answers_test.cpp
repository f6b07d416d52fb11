#include "memory_answers.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/cluster/mesh_costs.hpp"

#include "inter_op/search_models.hpp"

namespace alpa {
namespace {

// Whatever was asked before, an answer costs what the model's own does and fits.
TEST(MemoryAnswers, AreThoseOfTheModel) {
  constexpr int kInFlight = 2;
  const auto graph = search_tests::mlp(6, 32)(64);
  const ClusterSpec spec = search_tests::cluster(1, 2);
  const StageModel model(graph, MeshCosts(spec, {0, 1}, DeviceMesh{{2}}), 2, {});
  StageQuestion question{.first_layer = 1, .last_layer = 2};
  question.in_flight = kInFlight;
  question.named = false;
  question.limits.tableau_cuts = false;
  const auto bytes_of = [&](const StageAnswer& answer) {
    return answer.figures.state + answer.figures.stash * kInFlight + answer.figures.transient;
  };
  const auto free = model.solve(question);
  ASSERT_TRUE(free.has_value());
  const std::int64_t most = bytes_of(*free).value;
  int fit = 0;
  int tight = 0;
  for (const std::vector<int>& limits : {std::vector{12, 10, 9, 6, 1}, std::vector{1, 9, 11}}) {
    MemoryAnswers answers;
    for (const int tenths : limits) {
      question.memory = Bytes{most * tenths / 10};
      for (const int first : {1, 3}) {
        SCOPED_TRACE(std::to_string(tenths) + " tenths from layer " + std::to_string(first));
        question.first_layer = first;
        question.last_layer = first + 1;
        const auto own = model.solve(question);
        const auto found = answers.solve(model, question);
        ASSERT_EQ(found.has_value(), own.has_value());
        EXPECT_LE(answers.least_cost(model, question), own ? own->cost * (1.0 + 1e-9) : kForbidden);
        if (!own) continue;
        EXPECT_NEAR(found->cost, own->cost, 1e-9 * own->cost);
        EXPECT_LE(bytes_of(*found), *question.memory);
        EXPECT_EQ(found->parts.front().first, first);
        EXPECT_EQ(found->parts.back().last, first + 1);
        ++fit;
        if (found->cost > free->cost * (1.0 + 1e-9)) ++tight;
      }
    }
  }
  EXPECT_GE(fit, 8);
  EXPECT_LE(fit, 12);  // some limits are too small
  EXPECT_GT(tight, 0);
}

}  // namespace
}  // namespace alpa
