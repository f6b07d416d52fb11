#include "alpa/solver/mps.hpp"

#include <CbcModel.hpp>
#include <OsiClpSolverInterface.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "alpa/solver/solve.hpp"

#include "solver/random_problems.hpp"

/// Programs as text, read and solved anew by solvers that share nothing with ours.
namespace alpa {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("alpa_mps_" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

void write(const Problem& problem, const std::string& file) {
  std::ofstream out(file);
  write_mps(out, problem, "test");
}

/// Optimum as CBC finds it in the file; kForbidden if there is none.
double solve_file(const std::string& file) {
  OsiClpSolverInterface lp;
  lp.messageHandler()->setLogLevel(0);
  EXPECT_EQ(lp.readMps(file.c_str(), ""), 0);
  CbcModel model(lp);
  model.setLogLevel(0);
  model.branchAndBound();
  return model.isProvenOptimal() ? model.getObjValue() : kForbidden;
}

TEST(Mps, AnotherReaderFindsTheSameOptimum) {
  const Folder folder;
  int infeasible = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = random_problem(seed, {});
    const Solution ours = solve(problem);
    ASSERT_NE(ours.proof, Proof::bounded);
    write(problem, folder.file("small.mps"));
    const double theirs = solve_file(folder.file("small.mps"));
    if (ours.proof == Proof::infeasible) {
      ++infeasible;
      EXPECT_EQ(theirs, kForbidden);
    } else {
      EXPECT_NEAR(theirs, ours.cost, 1e-6 * (1 + std::abs(ours.cost)));
    }
  }
  EXPECT_GT(infeasible, 0);
  EXPECT_LT(infeasible, 100);
}

TEST(Mps, GlpsolFindsTheSameOptimum) {
  if (std::system("command -v glpsol >/dev/null 2>&1") != 0) GTEST_SKIP() << "no glpsol";
  const Folder folder;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Problem problem = random_problem(seed, {});
    const Solution ours = solve(problem);
    if (ours.proof != Proof::optimal) continue;
    write(problem, folder.file("small.mps"));
    const std::string command = "glpsol --freemps " + folder.file("small.mps") + " -w " +
                                folder.file("out.txt") + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0);
    std::ifstream answer(folder.file("out.txt"));
    std::string line;
    double theirs = kForbidden;
    while (std::getline(answer, line)) {
      std::sscanf(line.c_str(), "s mip %*d %*d o %lf", &theirs);
    }
    EXPECT_NEAR(theirs, ours.cost, 1e-6 * (1 + std::abs(ours.cost))) << seed;
  }
}

}  // namespace
}  // namespace alpa
