// Instances of Alpa's kind with proven optima: shipped tests, transformers, embeddings, experts and
// random ones, some tied node by node, some with budgets that bind or cannot be met.
#include <alpa/solver/solve.hpp>
#include <string>

#include <gtest/gtest.h>

#include "../bench/iopddl_format.hpp"

namespace alpa {
namespace {

TEST(Cases, AllOptimal) {
  const auto file =
      nlohmann::json::parse(read_packed(ALPA_SOURCE_DIR "/tests/solver/data/intra_op.json.gz"));
  int infeasible = 0;
  for (const nlohmann::json& entry : file.at("cases")) {
    const auto name = entry.at("name").get<std::string>();
    const Problem problem = problem_of(entry);
    const Solution solution = solve(problem);
    if (entry.at("optimum").is_null()) {
      EXPECT_EQ(solution.proof, Proof::infeasible) << name;
      ++infeasible;
      continue;
    }
    const auto optimum = entry.at("optimum").get<double>();
    EXPECT_EQ(solution.proof, Proof::optimal)
        << name << ": " << solution.cost << " >= " << solution.lower_bound;
    EXPECT_NEAR(solution.cost, optimum, 1e-9 * std::max(1.0, optimum)) << name;
    ASSERT_EQ(solution.choice.size(), problem.nodes.size()) << name;
    EXPECT_TRUE(score(problem, solution.choice).feasible()) << name;
  }
  EXPECT_EQ(infeasible, 2);
  EXPECT_GE(file.at("cases").size(), 40U);
}

}  // namespace
}  // namespace alpa
