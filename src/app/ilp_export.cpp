#include "ilp_export.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/solver/mps.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/sha256.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// Steps take milliseconds, and other solvers take less than 1e-7 for nothing.
constexpr double kMicroseconds = 1e6;

/// In microseconds.
std::string text_of(Problem problem) {
  for (Problem::Node& node : problem.nodes) {
    for (double& cost : node.costs) cost *= kMicroseconds;
  }
  for (Problem::Edge& edge : problem.edges) {
    for (double& cost : edge.costs) cost *= kMicroseconds;
  }
  std::ostringstream out;
  write_mps(out, problem, "stage");
  return out.str();
}

std::string columns_of(const std::vector<int>& choice) {
  std::string text;
  for (std::size_t i = 0; i < choice.size(); ++i) {
    text += "x" + std::to_string(i) + "_" + std::to_string(choice[i]) + "\n";
  }
  return text;
}

std::string microseconds(double seconds) {
  return std::isfinite(seconds) ? float_text(seconds * kMicroseconds) : "none";
}

std::string name_of(Proof proof) {
  switch (proof) {
    case Proof::optimal:
      return "optimal";
    case Proof::bounded:
      return "bounded";
    case Proof::infeasible:
      return "infeasible";
  }
  check_failed("known proof", SourceLine::here());
}

}  // namespace

IlpExport::IlpExport(fs::path directory) : directory_(std::move(directory)) {
  make_directories(directory_);
  std::error_code error;
  const bool empty = fs::is_empty(directory_, error);
  if (error || empty) return;
  throw UserError(
      "--export-ilp: " + directory_.string() + " is not empty; expected a folder that is, or none",
      ExitCode::run_directory);
}

void IlpExport::add(const std::string& question, const Problem& problem, const Solution& solution) {
  const std::string text = text_of(problem);
  const std::string name = "ilp-" + sha256_of(text).substr(0, 16);
  Entry entry{question, problem.nodes.size(), 0, problem.edges.size(), solution};
  for (const Problem::Node& node : problem.nodes) entry.options += node.costs.size();
  entry.solution.choice.clear();
  const std::lock_guard lock(mutex_);
  const auto [known, is_new] = entries_.try_emplace(name, entry);
  if (is_new) replace_file(directory_ / (name + ".mps"), text);
  Entry& kept = known->second;
  kept.question = std::min(kept.question, question);
  if (!solution.choice.empty() && (is_new || solution.cost < kept.solution.cost)) {
    kept.solution.cost = solution.cost;
    replace_file(directory_ / (name + ".sol"), columns_of(solution.choice));
  }
  if (solution.lower_bound > kept.solution.lower_bound) {
    kept.solution.lower_bound = solution.lower_bound;
  }
  if (solution.proof != Proof::bounded) kept.solution.proof = solution.proof;
}

std::size_t IlpExport::finish() {
  std::vector<std::pair<std::string, std::string>> lines;  // question, line
  for (const auto& [name, entry] : entries_) {
    const Solution& s = entry.solution;
    lines.emplace_back(entry.question,
                       name + ".mps\t" + std::to_string(entry.nodes) + "\t" +
                           std::to_string(entry.options) + "\t" + std::to_string(entry.edges) +
                           "\t" + microseconds(s.cost) + "\t" + microseconds(s.lower_bound) + "\t" +
                           name_of(s.proof) + "\t" + entry.question + "\n");
  }
  std::sort(lines.begin(), lines.end());
  std::string text = "file\tnodes\toptions\tedges\tclaimed_optimum\tlower_bound\tproof\tquestion\n";
  for (const auto& [question, line] : lines) text += line;
  replace_file(directory_ / "index.tsv", text);
  return lines.size();
}

}  // namespace alpa
