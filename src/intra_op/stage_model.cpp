#include "alpa/intra_op/stage_model.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"

#include "account.hpp"
#include "lawler.hpp"
#include "layer_classes.hpp"
#include "stage_problem.hpp"

namespace alpa {
namespace {

using intra_op::Option;
using intra_op::RunChoice;
using intra_op::RunContext;
using intra_op::RunView;
using intra_op::StageProblem;

void name_strategies(StageAnswer& answer, const RunContext& run, const RunChoice& choice) {
  for (const int o : run.view.ops) {
    const auto i = static_cast<std::size_t>(o);
    answer.strategies.emplace_hint(answer.strategies.end(), run.graph.operators[i].name,
                                   choice.options[i]->strategy);
  }
}

StageAnswer answer_of(const RunContext& run, const RunChoice& choice, const StageWeights& weights) {
  StageAnswer answer = intra_op::account(run, choice).answer;
  name_strategies(answer, run, choice);
  answer.cost = weighted(answer.figures, weights);
  answer.lower_bound = answer.cost;
  return answer;
}

}  // namespace

double weighted(const StageFigures& figures, const StageWeights& weights) {
  const StageTimes& t = figures.times;
  return weights.prepare * t.prepare.value + weights.forward * t.forward.value +
         weights.backward * t.backward.value + weights.reduce * t.reduce.value +
         weights.update * t.update.value +
         weights.state_byte * static_cast<double>(figures.state.value) +
         weights.stash_byte * static_cast<double>(figures.stash.value);
}

struct StageModel::Tables {
  Tables(const Graph& g, const MeshCosts& c, int m, const StageConstraints& given)
      : graph(g), costs(c), constraints(given), microbatches(m), uses(g), options(g, costs) {
    for (std::size_t o = 0; o < graph.operators.size(); ++o) {
      std::optional<std::vector<Strategy>> chosen;
      if (constraints.strategies) chosen = constraints.strategies(graph.operators[o], costs.mesh());
      options.add(o, chosen ? &*chosen : nullptr);
    }
    classes = intra_op::layer_classes(graph, uses, options);
  }

  [[nodiscard]] RunView view(int first, int last) const {
    ALPA_CHECK(0 <= first && first <= last && last < graph.num_layers);
    return intra_op::view_of(graph, uses, first, last);
  }

  [[nodiscard]] StageProblem problem(const RunContext& run, const StageQuestion& question,
                                     bool named) const {
    return {run, constraints, question, question.tied ? &classes : nullptr, named};
  }

  const Graph& graph;
  MeshCosts costs;
  StageConstraints constraints;
  int microbatches;
  intra_op::Uses uses;
  intra_op::OperatorOptions options;
  std::vector<int> classes;
};

StageModel::StageModel(const Graph& graph, const MeshCosts& costs, int num_microbatches,
                       const StageConstraints& constraints)
    : tables_(std::make_unique<Tables>(graph, costs, num_microbatches, constraints)) {}
StageModel::~StageModel() = default;
StageModel::StageModel(StageModel&&) noexcept = default;
StageModel& StageModel::operator=(StageModel&&) noexcept = default;

const std::vector<int>& StageModel::layer_classes() const { return tables_->classes; }

std::optional<StageAnswer> StageModel::solve(const StageQuestion& question) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  // Most answers fit without being asked to, and are far easier to find.
  if (question.memory) {
    StageQuestion free = question;
    free.memory.reset();
    auto answer = solve(free);
    if (!answer) return std::nullopt;
    const StageFigures& f = answer->figures;
    const Bytes need = f.state + f.stash * std::int64_t{question.in_flight} + f.transient;
    if (need <= *question.memory) return answer;
  }
  const StageProblem problem = tables_->problem(run, question, false);
  if (!problem.contradiction()) {
    const Solution solution = alpa::solve(problem.problem(), question.limits);
    if (!solution.choice.empty()) {
      StageAnswer answer = answer_of(run, problem.decode(solution.choice), question.weights);
      answer.lower_bound = std::min(solution.lower_bound, answer.cost);
      answer.proof = solution.proof;
      answer.stopped = solution.stopped;
      answer.core_nodes = solution.core_nodes;
      return answer;
    }
  }
  if (!question.one_layout) return std::nullopt;
  StageQuestion wider = question;
  wider.one_layout = false;
  return solve(wider);
}

std::vector<StageAnswer> StageModel::best(const StageQuestion& question, int count) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  StageProblem problem = tables_->problem(run, question, false);
  std::vector<StageAnswer> answers;
  if (problem.contradiction()) return answers;
  using Key = std::pair<std::map<std::string, Strategy>, std::map<std::string, Retention>>;
  std::set<Key> seen;
  intra_op::Lawler choices(problem.problem(), problem.deciding(), question.limits);
  while (static_cast<int>(answers.size()) < count) {
    const std::optional<Solution> solution = choices.next();
    if (!solution) break;
    StageAnswer answer = answer_of(run, problem.decode(solution->choice), question.weights);
    if (!seen.insert({answer.strategies, answer.retention}).second) continue;
    answer.lower_bound = std::min(solution->lower_bound, answer.cost);
    answer.proof = solution->proof;
    answer.stopped = solution->stopped;
    answer.core_nodes = solution->core_nodes;
    answers.push_back(std::move(answer));
  }
  return answers;
}

std::optional<std::vector<StageAnswer>> StageModel::all(int first_layer, int last_layer,
                                                        std::size_t limit) const {
  const RunView view = tables_->view(first_layer, last_layer);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  return intra_op::enumerate(run, tables_->constraints, limit);
}

StageAnswer StageModel::evaluate(int first_layer, int last_layer, const StagePlan& stage,
                                 const StageWeights& weights) const {
  const RunView view = tables_->view(first_layer, last_layer);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  std::vector<Option> options(tables_->graph.operators.size());
  RunChoice choice;
  choice.options.resize(options.size(), nullptr);
  for (const int o : view.ops) {
    const auto i = static_cast<std::size_t>(o);
    const std::string& name = tables_->graph.operators[i].name;
    const auto strategy = stage.strategies.find(name);
    if (strategy == stage.strategies.end()) {
      throw PlanError("operator " + name + " has no strategy");
    }
    options[i] = tables_->options.option(i, strategy->second);
    choice.options[i] = &options[i];
  }
  choice.retention = [&](const Tensor& tensor) { return retention_of(stage, tensor); };
  choice.arrivals = stage.arrivals;
  return answer_of(run, choice, weights);
}

StageModel::NamedProblem StageModel::problem(const StageQuestion& question) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  StageProblem problem = tables_->problem(run, question, true);
  return {std::move(problem.problem()), std::move(problem.node_names),
          std::move(problem.option_names)};
}

}  // namespace alpa
