#include "lawler.hpp"

#include <algorithm>

#include "stage_problem.hpp"

namespace alpa::intra_op {

Lawler::Lawler(const Problem& problem, const std::vector<int>& deciding, const SolveLimits& limits)
    : problem_(problem), deciding_(deciding), limits_(limits) {
  add({}, {});
}

void Lawler::add(std::vector<int> fixed, std::vector<std::pair<int, int>> excluded) {
  Problem part = problem_;
  for (std::size_t j = 0; j < fixed.size(); ++j) {
    auto& costs = part.nodes[static_cast<std::size_t>(deciding_[j])].costs;
    for (std::size_t p = 0; p < costs.size(); ++p) {
      if (static_cast<int>(p) != fixed[j]) costs[p] = kForbidden;
    }
  }
  for (const auto& [node, option] : excluded) {
    auto& costs = part.nodes[static_cast<std::size_t>(node)].costs;
    costs[static_cast<std::size_t>(option)] = kForbidden;
    if (std::all_of(costs.begin(), costs.end(), [](double c) { return c == kForbidden; })) return;
  }
  Solution solution = solve(part, limits_);
  if (solution.choice.empty()) return;
  const double cost = solution.cost;
  parts_.emplace(cost, Part{std::move(fixed), std::move(excluded), std::move(solution)});
}

std::optional<Solution> Lawler::next() {
  if (parts_.empty()) return std::nullopt;
  const Part best = std::move(parts_.begin()->second);
  parts_.erase(parts_.begin());
  std::vector<int> fixed = best.fixed;
  for (std::size_t j = fixed.size(); j < deciding_.size(); ++j) {
    const int node = deciding_[j];
    const int option = best.solution.choice[static_cast<std::size_t>(node)];
    auto excluded = best.excluded;
    excluded.emplace_back(node, option);
    add(fixed, std::move(excluded));
    fixed.push_back(option);
  }
  return best.solution;
}

namespace {

/// Counts up the options of several things, the last fastest; false when all have been seen.
bool count_up(std::vector<std::size_t>& digits, const std::vector<std::size_t>& sizes) {
  for (std::size_t i = digits.size(); i-- > 0;) {
    if (++digits[i] < sizes[i]) return true;
    digits[i] = 0;
  }
  return false;
}

Retention usual(const Tensor& tensor) {
  const bool weight = tensor.role == Role::parameter || tensor.role == Role::replica;
  return weight ? Retention::step : Retention::keep;
}

bool is_read(const Flow& flow, Scope scope) {
  return std::any_of(flow.readers.begin(), flow.readers.end(),
                     [&](const Reader& r) { return scope_of(r.phase) == scope; });
}

}  // namespace

std::optional<std::vector<StageAnswer>> enumerate(const RunContext& run,
                                                  const StageConstraints& constraints,
                                                  std::size_t limit) {
  std::vector<std::size_t> sizes;
  std::vector<int> choosing;  // operators; others repeat one of them
  for (const int o : run.view.ops) {
    if (run.graph.operators[static_cast<std::size_t>(o)].copy_of.valid()) continue;
    choosing.push_back(o);
    sizes.push_back(run.options.options(static_cast<std::size_t>(o)).size());
  }
  std::vector<std::pair<TensorId, std::vector<Retention>>> free;
  for (const Flow& flow : run.view.flows) {
    const Tensor& tensor = run.graph.tensor(flow.tensor);
    if (flow.source == Flow::Source::input) continue;
    const bool forward = is_read(flow, Scope::forward);
    const bool backward = is_read(flow, Scope::backward);
    if (flow.weight ? !forward && !backward : !forward || !backward) continue;
    auto retentions = retentions_of(tensor, constraints);
    if (retentions == std::vector<Retention>{usual(tensor)}) continue;
    sizes.push_back(retentions.size());
    free.emplace_back(flow.tensor, std::move(retentions));
  }
  double total = 1;
  for (const std::size_t n : sizes) total *= static_cast<double>(n);
  if (total > static_cast<double>(limit)) return std::nullopt;
  std::vector<StageAnswer> answers;
  if (total == 0) return answers;
  std::vector<std::size_t> digits(sizes.size(), 0);
  do {
    RunChoice choice;
    choice.options.resize(run.graph.operators.size(), nullptr);
    std::map<std::string, Strategy> strategies;
    for (std::size_t i = 0; i < choosing.size(); ++i) {
      const auto o = static_cast<std::size_t>(choosing[i]);
      choice.options[o] = &run.options.options(o)[digits[i]];
      strategies[run.graph.operators[o].name] = choice.options[o]->strategy;
    }
    for (const int o : run.view.ops) {
      const OperatorId from = run.graph.operators[static_cast<std::size_t>(o)].copy_of;
      if (!from.valid()) continue;
      const Options& all = run.options.options(static_cast<std::size_t>(o));
      const Options& originals = run.options.options(from.index());
      choice.options[static_cast<std::size_t>(o)] =
          &all[static_cast<std::size_t>(choice.options[from.index()] - originals.data())];
    }
    std::map<std::string, Retention> retention;
    for (std::size_t f = 0; f < free.size(); ++f) {
      retention[run.graph.tensor(free[f].first).name] = free[f].second[digits[choosing.size() + f]];
    }
    choice.retention = [&](const Tensor& tensor) {
      const auto it = retention.find(tensor.name);
      return it == retention.end() ? usual(tensor) : it->second;
    };
    Account counted = account(run, choice);
    // Where a retention changes nothing, its first choice stands for all.
    const bool repeats = std::any_of(free.begin(), free.end(), [&](const auto& f) {
      const std::size_t i = choosing.size() + static_cast<std::size_t>(&f - free.data());
      return digits[i] > 0 && !counted.matters.contains(f.first);
    });
    if (repeats) continue;
    counted.answer.strategies = std::move(strategies);
    for (const auto& [t, chosen] : counted.retention) {
      counted.answer.retention[run.graph.tensor(t).name] = chosen;
    }
    answers.push_back(std::move(counted.answer));
  } while (count_up(digits, sizes));
  return answers;
}

}  // namespace alpa::intra_op
