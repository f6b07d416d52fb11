#include <CbcEventHandler.hpp>
#include <CbcModel.hpp>
#include <CbcSolver.hpp>
#include <ClpEventHandler.hpp>
#include <OsiClpSolverInterface.hpp>
#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core_solvers.hpp"
#include "integer_program.hpp"
#include "lagrangian.hpp"

namespace alpa {
namespace {

/// CBC gives wrong answers when two threads solve at once, so one solves per process.
std::mutex& cbc_lock() {
  static std::mutex lock;
  return lock;
}

class StopSearch : public CbcEventHandler {
 public:
  explicit StopSearch(std::stop_token token) : stop_(std::move(token)) {}
  CbcAction event(CbcEvent /*which*/) override { return stop_.stop_requested() ? stop : noAction; }
  CbcAction event(CbcEvent which, void* /*data*/) override { return event(which); }
  [[nodiscard]] CbcEventHandler* clone() const override { return new StopSearch(*this); }

 private:
  std::stop_token stop_;
};

class StopSimplex : public ClpEventHandler {
 public:
  explicit StopSimplex(std::stop_token stop) : stop_(std::move(stop)) {}
  int event(Event /*which*/) override { return stop_.stop_requested() ? 5 : -1; }
  [[nodiscard]] ClpEventHandler* clone() const override { return new StopSimplex(*this); }

 private:
  std::stop_token stop_;
};

void load(OsiClpSolverInterface& solver, const IntegerProgram& program) {
  const auto columns = static_cast<std::size_t>(program.columns());
  const std::vector<double> lower(columns, 0.0);
  const std::vector<double> upper(columns, 1.0);
  solver.messageHandler()->setLogLevel(0);
  solver.loadProblem(program.columns(), static_cast<int>(program.row_lower.size()),
                     program.starts.data(), program.rows.data(), program.values.data(),
                     lower.data(), upper.data(), program.objective.data(), program.row_lower.data(),
                     program.row_upper.data());
  for (int column = 0; column < program.binaries; ++column) {
    solver.setInteger(column);
    solver.setColName(column, "x" + std::to_string(column));
  }
}

std::vector<std::pair<std::string, double>> named_start(const IntegerProgram& program,
                                                        const std::vector<int>& start) {
  std::vector<std::pair<std::string, double>> names;
  for (std::size_t i = 0; i < start.size(); ++i) {
    names.emplace_back("x" + std::to_string(program.first_of_node[i] + start[i]), 1.0);
  }
  return names;
}

std::vector<int> rounded(const Core& core, const IntegerProgram& program, const double* values) {
  std::vector<int> choice;
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    const double* first = values + program.first_of_node[i];
    const double* last = first + core.nodes[i].costs.size();
    choice.push_back(static_cast<int>(std::max_element(first, last) - first));
  }
  return choice;
}

void take_if_better(const Core& core, std::vector<int> choice, CoreAnswer& answer) {
  const double cost = core_cost(core, choice);
  if (cost < answer.cost) {
    answer.cost = cost;
    answer.choice = std::move(choice);
  }
}

/// CBC's status, its incumbent checked exactly and its bound, less what its tolerances allow.
void read_answer(const Core& core, const IntegerProgram& program, CbcModel& model,
                 CoreAnswer& answer) {
  const bool finished = model.status() == 0;
  const double* values = model.bestSolution();
  const double found = model.getObjValue();  // 1e50 and the like without an incumbent
  if (values == nullptr || found > 1e30) {
    // Secondary status 1 alone says only that the relaxation is no better than the start.
    if (finished && model.secondaryStatus() == 1 && answer.choice.empty()) {
      answer.lower_bound = kForbidden;
    }
    return;
  }
  take_if_better(core, rounded(core, program, values), answer);
  const double possible = finished ? found : model.getBestPossibleObjValue();
  if (std::abs(possible) > 1e30) {
    return;
  }
  const double tolerance = 2e-5 + 1e-9 * std::abs(possible);  // CBC's own: 1e-5 between incumbents
  const double bound = program.offset + program.scale * (possible - tolerance);
  const bool whole = all_whole(core);
  const bool proven = bound > better_cost(answer.cost, whole);
  answer.lower_bound = proven ? answer.cost : whole ? std::ceil(bound - 1e-6) : bound;
}

}  // namespace

CoreAnswer solve_by_cbc(const Core& core, const std::vector<int>& start,
                        const std::vector<double>& prices, const SolveLimits& limits) {
  CoreAnswer answer;
  if (!start.empty()) {
    take_if_better(core, start, answer);
  }
  // Tolerances are absolute: costs that are moved between nodes and edges until they are small,
  // of either sign, keep more digits than those given.
  const double known = answer.choice.empty() ? largest_cost(core) : std::abs(answer.cost);
  const double digits_wanted = all_whole(core) ? 1e4 : 1e-5 * known;
  constexpr int kSweeps = 40;
  Lagrangian moved(core);
  moved.set_prices(prices);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    (void)moved.sweep();
  }
  const IntegerProgram program = integer_program(moved.reparametrized(), digits_wanted);
  const std::lock_guard<std::mutex> alone(cbc_lock());
  if (limits.stop.stop_requested()) {
    answer.stopped = true;
    return answer;
  }
  OsiClpSolverInterface solver;
  load(solver, program);
  const StopSimplex stop_simplex(limits.stop);
  solver.getModelPtr()->passInEventHandler(&stop_simplex);
  CbcModel model(solver);
  CbcSolverUsefulData data;
  data.noPrinting_ = true;
  CbcMain0(model, data);
  model.setLogLevel(0);
  const StopSearch stop_search(limits.stop);
  model.passInEventHandler(&stop_search);
  if (!answer.choice.empty()) {
    model.setMIPStart(named_start(program, answer.choice));
  }
  const std::string nodes = std::to_string(limits.cbc_nodes);
  std::vector<const char*> arguments{"alpa",        "-log",      "0", "-maxNodes",
                                     nodes.c_str(), "-ratioGap", "0"};
  if (!limits.tableau_cuts) {
    arguments.insert(arguments.end(), {"-gomoryCuts", "off", "-flowCoverCuts", "off"});
  }
  arguments.insert(arguments.end(), {"-solve", "-quit"});
  const auto never = [](CbcModel*, int) { return 0; };
  CbcMain1(static_cast<int>(arguments.size()), arguments.data(), model, never, data);
  read_answer(core, program, model, answer);
  answer.stopped = limits.stop.stop_requested();
  return answer;
}

}  // namespace alpa
