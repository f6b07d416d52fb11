// Solves an instance of the contest on intra-operator parallelism and re-scores the answer.
//
//   iopddl FILE.json[.gz] SECONDS
#include <alpa/base/error.hpp>
#include <alpa/solver/solve.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "iopddl_format.hpp"

namespace alpa {
namespace {

using Clock = std::chrono::steady_clock;

std::optional<double> seconds_of(const char* text) {
  double seconds = 0.0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, seconds);
  if (error != std::errc{} || stop != end || !(seconds > 0.0) || !(seconds <= 1e6)) {
    return std::nullopt;
  }
  return seconds;
}

Solution solve_until(const Problem& problem, Clock::time_point deadline) {
  std::stop_source stop;
  std::mutex mutex;
  std::condition_variable_any finished;
  const std::jthread clock([&](const std::stop_token& done) {
    std::unique_lock lock(mutex);
    finished.wait_until(lock, done, deadline, [] { return false; });
    stop.request_stop();
  });
  SolveLimits limits;
  limits.cbc_nodes = std::numeric_limits<int>::max();
  limits.sweeps = std::numeric_limits<int>::max();
  limits.stop = stop.get_token();
  return solve(problem, limits);
}

void print(const Problem& problem, std::size_t original, const Solution& solution,
           Clock::time_point start) {
  const double cost = solution.choice.empty() ? kForbidden : score(problem, solution.choice).cost;
  std::printf("cost: %.0f\n", cost);
  std::printf("bound: %.0f\n", std::floor(solution.lower_bound));
  const double gap = cost == 0.0 ? 0.0 : (cost - solution.lower_bound) / cost;
  std::printf("gap: %.6f\n", solution.choice.empty() ? 1.0 : gap);
  std::printf("nodes: %zu -> %d\n", original, solution.core_nodes);
  std::printf("seconds: %.2f\n", std::chrono::duration<double>(Clock::now() - start).count());
  std::printf("solution: [");
  for (std::size_t i = 0; i < original && i < solution.choice.size(); ++i) {
    std::printf("%s%d", i == 0 ? "" : ", ", solution.choice[i]);
  }
  std::printf("]\n");
}

int run(const std::string& path, double seconds) {
  const auto start = Clock::now();
  const auto deadline = start + std::chrono::duration_cast<Clock::duration>(
                                    std::chrono::duration<double>(seconds * 0.97));
  std::size_t original = 0;
  const Problem problem = read_problem(path, &original);
  const Solution solution = solve_until(problem, deadline);
  if (solution.proof == Proof::infeasible) {
    std::printf("infeasible: no choice is allowed and fits the usage limit (proven)\n");
    return static_cast<int>(ExitCode::no_plan);
  }
  if (solution.choice.empty()) {
    std::printf("infeasible: no choice that fits was found within %g seconds (not proven)\n",
                seconds);
    return static_cast<int>(ExitCode::no_plan);
  }
  print(problem, original, solution, start);
  return 0;
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) {
  const auto seconds = argc == 3 ? alpa::seconds_of(argv[2]) : std::nullopt;
  if (!seconds) {
    std::fprintf(stderr, "usage: iopddl FILE.json[.gz] SECONDS (a number above 0)\n");
    return static_cast<int>(alpa::ExitCode::usage);
  }
  try {
    return alpa::run(argv[1], *seconds);
  } catch (const alpa::Error& error) {
    std::fprintf(stderr, "iopddl: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
