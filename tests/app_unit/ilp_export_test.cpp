#include "ilp_export.hpp"

#include <CbcModel.hpp>
#include <OsiClpSolverInterface.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "inter_op/search_models.hpp"

/// Programs of a search, written, read by CBC, solved anew, and their answers mapped back.
namespace alpa {
namespace {

namespace fs = std::filesystem;

struct Solved {
  std::string question;
  Problem problem;
  Solution solution;
};

std::size_t pairs_of(const Problem& problem) {
  std::size_t pairs = 0;
  for (const Problem::Edge& edge : problem.edges) pairs += edge.costs.size();
  return pairs;
}

/// What a search solves for a transformer, and the model of a stage whose memory binds; the
/// smallest first.
std::vector<Solved> programs() {
  std::vector<Solved> all;
  std::mutex mutex;
  const StageRecorder record = [&](const std::string& question, const Problem& problem,
                                   const Solution& solution) {
    const std::lock_guard lock(mutex);
    all.push_back({question, problem, solution});
  };
  SearchRequest request =
      search_tests::request_of(search_tests::transformer(1, 16), search_tests::cluster(1, 2), 8);
  request.constraints.microbatches = 2;
  request.record = record;
  static_cast<void>(search(request));
  const Graph graph = search_tests::mlp(3, 32)(8);
  const StageModel model(graph, MeshCosts(request.cluster, {0, 1}, {{2}}), 1, {}, nullptr, record);
  StageQuestion question{.last_layer = graph.num_layers - 1};
  const StageFigures free = model.solve(question)->figures;
  question.memory = Bytes{(free.state + free.stash + free.transient).value * 95 / 100};
  static_cast<void>(model.solve(question));
  std::stable_sort(all.begin(), all.end(), [](const Solved& a, const Solved& b) {
    return pairs_of(a.problem) < pairs_of(b.problem);
  });
  return all;
}

fs::path scratch() { return fs::temp_directory_path() / ("alpa_ilp_" + std::to_string(getpid())); }

std::vector<std::vector<std::string>> rows_of(const fs::path& file) {
  std::vector<std::vector<std::string>> rows;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    auto& row = rows.emplace_back();
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, '\t');) row.push_back(cell);
  }
  return rows;
}

/// Option of each node in the columns x<node>_<option> that are given.
std::vector<int> choice_of(const std::vector<std::string>& columns, std::size_t nodes) {
  std::vector<int> choice(nodes, -1);
  for (const std::string& column : columns) {
    const auto bar = column.find('_');
    choice.at(std::stoul(column.substr(1, bar - 1))) = std::stoi(column.substr(bar + 1));
  }
  return choice;
}

std::vector<std::string> columns_in(const fs::path& file) {
  std::vector<std::string> columns;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) columns.push_back(line);
  return columns;
}

TEST(IlpExport, AnotherSolverFindsTheClaimedOptimumAndItsAnswerCostsThat) {
  const auto all = programs();
  int solved = 0, with_memory = 0;
  for (const Solved& each : all) {
    if (each.solution.proof != Proof::optimal || pairs_of(each.problem) > 8'000) continue;
    SCOPED_TRACE(each.question);
    const fs::path folder = scratch();
    IlpExport out(folder);
    out.add(each.question, each.problem, each.solution);
    ASSERT_EQ(out.finish(), 1U);
    const auto rows = rows_of(folder / "index.tsv");
    ASSERT_EQ(rows.size(), 2U);
    const std::string name = rows[1][0];
    const double claimed = std::stod(rows[1][4]);
    EXPECT_EQ(rows[1][1], std::to_string(each.problem.nodes.size()));
    EXPECT_EQ(rows[1][6], "optimal");
    EXPECT_EQ(rows[1][7], each.question);
    EXPECT_NEAR(claimed, each.solution.cost * 1e6, 1e-9 * claimed);

    OsiClpSolverInterface lp;
    lp.messageHandler()->setLogLevel(0);
    lp.setIntParam(OsiNameDiscipline, 2);  // names of columns
    ASSERT_EQ(lp.readMps((folder / name).string().c_str(), ""), 0);
    CbcModel model(lp);
    model.setLogLevel(0);
    model.branchAndBound();
    ASSERT_TRUE(model.isProvenOptimal());
    EXPECT_NEAR(model.getObjValue(), claimed, 1e-6 * claimed);
    std::vector<std::string> chosen;
    for (int c = 0; c < model.getNumCols(); ++c) {
      const std::string column = lp.getColName(c);
      if (column[0] == 'x' && model.bestSolution()[c] > 0.5) chosen.push_back(column);
    }
    const auto nodes = each.problem.nodes.size();
    const Score theirs = score(each.problem, choice_of(chosen, nodes));
    EXPECT_TRUE(theirs.feasible());
    EXPECT_NEAR(theirs.cost * 1e6, claimed, 1e-6 * claimed);
    const std::string answer = name.substr(0, name.size() - 3) + "sol";
    const Score ours = score(each.problem, choice_of(columns_in(folder / answer), nodes));
    EXPECT_TRUE(ours.feasible());
    EXPECT_NEAR(ours.cost * 1e6, claimed, 1e-9 * claimed);
    fs::remove_all(folder);
    ++solved;
    if (each.problem.usage_limit) ++with_memory;
  }
  EXPECT_GE(solved, 5);
  EXPECT_GE(with_memory, 1);
}

TEST(IlpExport, WritesEachProgramOnceUnderANameOfItsOwn) {
  const auto all = programs();
  std::set<std::string> names;
  for (const bool backwards : {false, true}) {
    const fs::path folder = scratch();
    IlpExport out(folder);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Solved& each = all[backwards ? all.size() - 1 - i : i];
      out.add(each.question, each.problem, each.solution);
      out.add(each.question, each.problem, each.solution);
    }
    EXPECT_LE(out.finish(), all.size());
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder)) {
      found.insert(entry.path().filename().string());
    }
    EXPECT_TRUE(names.empty() || names == found);
    names = found;
    fs::remove_all(folder);
  }
}

TEST(IlpExport, RefusesAFolderWithSomethingInIt) {
  const fs::path folder = scratch();
  fs::create_directories(folder);
  std::ofstream(folder / "mine") << "text";
  try {
    IlpExport out(folder);
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::run_directory);
  }
  EXPECT_TRUE(fs::exists(folder / "mine"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace alpa
