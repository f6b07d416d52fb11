#include "alpa/intra_op/stage_model.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "alpa/base/error.hpp"

#include "account.hpp"
#include "bound_problem.hpp"
#include "lawler.hpp"
#include "layer_choices.hpp"
#include "layer_classes.hpp"
#include "question_text.hpp"
#include "stage_problem.hpp"

namespace alpa {
namespace {

using intra_op::Option;
using intra_op::RunChoice;
using intra_op::RunContext;
using intra_op::RunView;
using intra_op::StageProblem;

constexpr std::size_t kFewDeciding = 48;  ///< nodes whose choices are taken in order of cost
constexpr int kMostMisfits = 100;         ///< of these
constexpr int kMostAttempts = 4;          ///< with ever lower limits

/// Calls visit(operator seen, operator) for each operator of the run, those that another stands for
/// included.
template <typename Visit>
void for_each_operator(const RunContext& run, const intra_op::GraphIndex& index,
                       const Visit& visit) {
  const auto& uses = index.uses;
  for (std::size_t l = 0; l < run.view.seen_as.size(); ++l) {
    const int seen = run.view.seen_as[l];
    const int layer = index.line.like(run.view.line_first + static_cast<int>(l));
    const auto& ops = uses.ops_of_layer[static_cast<std::size_t>(layer)];
    const auto& ops_seen = uses.ops_of_layer[static_cast<std::size_t>(seen)];
    for (std::size_t k = 0; k < ops.size(); ++k) {
      visit(static_cast<std::size_t>(ops_seen[k]), static_cast<std::size_t>(ops[k]));
    }
  }
}

Recompute recompute_of(const Graph& graph, int layer) {
  return graph.recompute.empty() ? Recompute::none
                                 : graph.recompute[static_cast<std::size_t>(layer)];
}

StageAnswer answer_of(const RunContext& run, const RunChoice& choice, const StageWeights& weights,
                      const intra_op::Uses* uses) {
  intra_op::Account counted = intra_op::account(run, choice);
  StageAnswer answer = std::move(counted.answer);
  if (uses != nullptr) {
    const auto as = intra_op::choices_of(run, *uses, choice, counted.retention);
    int line = run.view.line_first;
    for (const int seen : run.view.seen_as) {
      const Recompute again = recompute_of(run.graph, seen);
      if (answer.parts.empty() || answer.parts.back().recompute != again) {
        answer.parts.push_back({line, line, as, again});
      }
      answer.parts.back().last = line++;
    }
  }
  answer.cost = weighted(answer.figures, weights);
  answer.lower_bound = answer.cost;
  return answer;
}

/// Classes of operators that tell apart what only some of them are allowed.
std::vector<int> classes_under(const Graph& graph, const intra_op::GraphIndex& index,
                               const std::map<std::size_t, std::vector<Strategy>>& chosen) {
  std::map<std::pair<int, std::string>, int> numbers;
  std::vector<int> classes;
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    std::string only;
    const auto it = chosen.find(o);
    if (it != chosen.end()) {
      only = "only";
      const intra_op::PlainLetters letters(graph.operators[o].rule);
      for (const Strategy& s : it->second) letters.append(only, s);
    }
    const auto next = static_cast<int>(numbers.size());
    classes.push_back(numbers.try_emplace({index.op_class[o], only}, next).first->second);
  }
  return classes;
}

/// Bytes that figures are above the limit of a question; none where there is no limit.
Bytes excess(const StageFigures& f, const StageQuestion& question) {
  if (!question.memory) return {0};
  return f.state + f.stash * std::int64_t{question.in_flight} + f.transient - *question.memory;
}

/// The program counts no bytes that hang on two choices at once, so that its answer may be `over`
/// the limit. The next ones in order of cost where they are few, then answers under lower limits.
/// @param told the answer of a solution
template <typename Told>
std::optional<StageAnswer> first_that_fits(StageProblem& problem, const StageQuestion& question,
                                           Bytes over, const Told& told) {
  if (problem.deciding().size() <= kFewDeciding) {
    intra_op::Lawler choices(problem.problem(), problem.deciding(), question.limits);
    for (int misfits = 0; misfits < kMostMisfits; ++misfits) {
      const std::optional<Solution> found = choices.next();
      if (!found) return std::nullopt;
      StageAnswer answer = told(*found);
      if (excess(answer.figures, question) <= Bytes{0}) return answer;
    }
  }
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    problem.problem().usage_limit = *problem.problem().usage_limit - over.value;
    const Solution found = alpa::solve(problem.problem(), question.limits);
    if (found.choice.empty()) return std::nullopt;
    StageAnswer answer = told(found);
    over = excess(answer.figures, question);
    if (over <= Bytes{0}) {
      answer.proof = Proof::bounded;
      return answer;
    }
  }
  return std::nullopt;
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
  Tables(const Graph& g, const MeshCosts& c, int m, const StageConstraints& given,
         std::shared_ptr<const intra_op::GraphIndex> i, StageRecorder told)
      : graph(g),
        costs(c),
        constraints(given),
        record(std::move(told)),
        microbatches(m),
        index(i ? std::move(i) : index_of(g)),
        options(g, *index, costs),
        graph_classes(index->layer_class) {
    std::map<std::size_t, std::vector<Strategy>> chosen;
    for (std::size_t o = 0; o < graph.operators.size(); ++o) {
      std::optional<std::vector<Strategy>> only;
      const Operator& op = graph.original(graph.operators[o]);
      if (constraints.strategies) only = constraints.strategies(op, costs.mesh());
      if (only) {
        options.add(o, *only);
        chosen.emplace(o, std::move(*only));
      } else {
        options.add(o);
      }
    }
    if (!chosen.empty()) {
      graph_classes = intra_op::layer_classes(graph, index->uses, index->tensor_class,
                                              classes_under(graph, *index, chosen));
    }
    for (int l = 0; l < index->line.length(); ++l) {
      classes.push_back(graph_classes[static_cast<std::size_t>(index->line.like(l))]);
    }
  }

  [[nodiscard]] RunView view(int first, int last, bool tied = false) const {
    ALPA_CHECK(0 <= first && first <= last && last < index->line.length());
    return intra_op::view_of(graph, *index, first, last, tied ? &classes : nullptr);
  }

  [[nodiscard]] StageProblem problem(const RunContext& run, const StageQuestion& question,
                                     bool named) const {
    return {run, constraints, question, question.tied ? &graph_classes : nullptr, named};
  }

  /// Layers of different parts are not alike.
  void tell_apart(std::vector<int>& of_line, int first, int last, int part) const {
    for (int l = first; l <= last; ++l) {
      of_line[static_cast<std::size_t>(l)] += part * index->line.length();
    }
  }

  const Graph& graph;
  MeshCosts costs;
  StageConstraints constraints;
  StageRecorder record;
  int microbatches;
  std::shared_ptr<const intra_op::GraphIndex> index;
  intra_op::OperatorOptions options;
  std::vector<int> graph_classes;  ///< [layer of the graph]
  std::vector<int> classes;        ///< [layer of the line]
};

std::shared_ptr<const intra_op::GraphIndex> index_of(const Graph& graph,
                                                     const intra_op::GraphIndex* beside) {
  return index_of(graph, LayerLine(graph.num_layers), beside);
}

std::shared_ptr<const intra_op::GraphIndex> index_of(const Graph& graph, const LayerLine& line,
                                                     const intra_op::GraphIndex* beside) {
  return std::make_shared<const intra_op::GraphIndex>(graph, line, beside);
}

std::shared_ptr<const intra_op::GraphIndex> mixed_index_of(const Graph& graph,
                                                           const intra_op::GraphIndex& alike) {
  return std::make_shared<const intra_op::GraphIndex>(graph, alike.line, &alike, &alike);
}

StageModel::StageModel(const Graph& graph, const MeshCosts& costs, int num_microbatches,
                       const StageConstraints& constraints,
                       std::shared_ptr<const intra_op::GraphIndex> index, StageRecorder record)
    : tables_(std::make_unique<Tables>(graph, costs, num_microbatches, constraints,
                                       std::move(index), std::move(record))) {}
StageModel::~StageModel() = default;
StageModel::StageModel(StageModel&&) noexcept = default;
StageModel& StageModel::operator=(StageModel&&) noexcept = default;

const std::vector<int>& StageModel::layer_classes() const { return tables_->classes; }

std::optional<StageAnswer> StageModel::solve(const StageQuestion& question) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer, question.tied);
  return solve_seen(question, {tables_->graph, tables_->options, view, tables_->microbatches});
}

std::optional<StageAnswer> StageModel::solve_seen(const StageQuestion& question,
                                                  const RunContext& run,
                                                  StageProblem* built) const {
  // Most answers fit without being asked to, and are far easier to find.
  if (question.memory) {
    StageQuestion free = question;
    free.memory.reset();
    auto answer = solve_seen(free, run);
    if (!answer) return std::nullopt;
    if (excess(answer->figures, question) <= Bytes{0}) return answer;
  }
  std::optional<StageProblem> made;
  if (built != nullptr) {
    built->price_bytes(question.weights.state_byte, question.weights.stash_byte);
  } else {
    made.emplace(tables_->problem(run, question, false));
  }
  StageProblem& problem = built != nullptr ? *built : *made;
  if (!problem.contradiction()) {
    const Solution solution = alpa::solve(problem.problem(), question.limits);
    if (tables_->record) {
      tables_->record(intra_op::text_of(question, tables_->costs, tables_->microbatches,
                                        !tables_->graph.recompute.empty()),
                      problem.problem(), solution);
    }
    const auto told = [&](const Solution& found) {
      StageAnswer answer =
          answer_of(run, problem.decode(found.choice), question.weights, &tables_->index->uses);
      if (question.named) name(answer, tables_->graph);
      const bool all = &found == &solution || found.proof == Proof::optimal;
      answer.lower_bound = std::min(all ? found.lower_bound : solution.lower_bound, answer.cost);
      answer.proof = found.proof;
      answer.stopped = found.stopped;
      answer.core_nodes = found.core_nodes;
      return answer;
    };
    if (!solution.choice.empty()) {
      StageAnswer answer = told(solution);
      if (excess(answer.figures, question) <= Bytes{0}) return answer;
      if (auto other = first_that_fits(problem, question, excess(answer.figures, question), told)) {
        return other;
      }
    }
  }
  if (!question.one_layout || !question.or_several) return std::nullopt;
  StageQuestion wider = question;
  wider.one_layout = false;
  return solve_seen(wider, run);
}

double StageModel::least_cost(const StageQuestion& question) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer, question.tied);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  const StageProblem problem = tables_->problem(run, question, false);
  double least = kForbidden;
  if (!problem.contradiction()) {
    SolveLimits limits = question.limits;
    limits.cbc_columns = 0;
    limits.moves = 0;
    least = alpa::solve(problem.problem(), limits).lower_bound;
  }
  if (least < kForbidden || !question.one_layout || !question.or_several) return least;
  StageQuestion wider = question;
  wider.one_layout = false;
  return least_cost(wider);
}

StageAnswer StageModel::moved(const StageAnswer& answer, int first_layer,
                              const StageWeights& weights) const {
  const int shift = first_layer - answer.parts.front().first;
  std::vector<ChosenLayers> parts;
  for (const ChosenLayers& part : answer.parts) {
    parts.push_back(part);
    parts.back().first += shift;
    parts.back().last += shift;
    parts.back().as = intra_op::moved(*part.as, shift);
  }
  const RunView view = tables_->view(first_layer, parts.back().last);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  const RunChoice choice = intra_op::choice_of(run, tables_->index->uses, parts);
  return answer_of(run, choice, weights, &tables_->index->uses);
}

struct PricedQuestion::Built {
  Built(const StageModel& model, const StageQuestion& question)
      : view(model.tables_->view(question.first_layer, question.last_layer, question.tied)),
        run{model.tables_->graph, model.tables_->options, view, model.tables_->microbatches},
        problem(model.tables_->problem(run, question, false)) {}
  RunView view;
  RunContext run;
  StageProblem problem;
};

PricedQuestion::PricedQuestion(const StageModel& model, StageQuestion question)
    : model_(model), question_(std::move(question)) {
  ALPA_CHECK(question_.one_layout && !question_.memory);
}
PricedQuestion::~PricedQuestion() = default;
PricedQuestion::PricedQuestion(PricedQuestion&&) noexcept = default;

std::optional<StageAnswer> PricedQuestion::solve(double state_byte, double stash_byte) {
  question_.weights.state_byte = state_byte;
  question_.weights.stash_byte = stash_byte;
  if (!built_) built_ = std::make_unique<Built>(model_, question_);
  return model_.solve_seen(question_, built_->run, &built_->problem);
}

std::vector<StageAnswer> StageModel::best(const StageQuestion& question, int count) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer, question.tied);
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
    StageAnswer answer =
        answer_of(run, problem.decode(solution->choice), question.weights, &tables_->index->uses);
    if (excess(answer.figures, question) > Bytes{0}) continue;
    name(answer, tables_->graph);
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

namespace {

/// Whether the layers that others stand for choose as those do.
bool alike_in(const RunContext& run, const intra_op::GraphIndex& index, const StagePlan& stage) {
  bool alike = true;
  const auto same_retention = [&](const std::vector<TensorId>& a, const std::vector<TensorId>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      const Tensor& x = run.graph.tensor(a[i]);
      const Tensor& y = run.graph.tensor(b[i]);
      alike = alike && retention_of(stage, x) == retention_of(stage, y);
    }
  };
  const auto strategy = [&](std::size_t op) {
    const Operator& chosen = run.graph.original(run.graph.operators[op]);
    const auto it = stage.strategies.find(chosen.name);
    return it == stage.strategies.end() ? nullptr : &it->second;
  };
  const auto compare = [&](std::size_t seen, std::size_t op) {
    if (seen == op || !alike) return;
    const Strategy* a = strategy(seen);
    const Strategy* b = strategy(op);
    alike = a != nullptr && b != nullptr && *a == *b && index.op_list[seen] == index.op_list[op];
    if (stage.retention.empty()) return;
    same_retention(run.graph.operators[seen].operands, run.graph.operators[op].operands);
    same_retention(run.graph.operators[seen].results, run.graph.operators[op].results);
  };
  for_each_operator(run, index, compare);
  // The layers before and behind those that others stand for are seen as the next of each of them.
  const auto compare_layer = [&](int seen, int layer) {
    const auto& ops = index.uses.ops_of_layer[static_cast<std::size_t>(layer)];
    const auto& ops_seen = index.uses.ops_of_layer[static_cast<std::size_t>(seen)];
    for (std::size_t k = 0; k < ops.size(); ++k) {
      compare(static_cast<std::size_t>(ops_seen[k]), static_cast<std::size_t>(ops[k]));
    }
  };
  const auto end_of = [&](int l, const auto& is) {
    while (l <= run.view.last && is(run.view.count(l))) ++l;
    return l;
  };
  for (int l = run.view.first; l <= run.view.last; ++l) {
    if (run.view.count(l) <= 1) continue;
    const int end = end_of(l, [](int count) { return count > 1; });
    const int behind = end_of(end, [](int count) { return count == 0; });
    for (int k = 0; k < end - l; ++k) {
      compare_layer(l + k, l + k - (end - l));
      compare_layer(l + k, behind + k);
    }
    l = end - 1;
  }
  return alike;
}

}  // namespace

StageAnswer StageModel::evaluate(int first_layer, int last_layer, const StagePlan& stage,
                                 const StageWeights& weights) const {
  const auto run_of = [&](const RunView& view) {
    return RunContext{tables_->graph, tables_->options, view, tables_->microbatches};
  };
  RunView view = tables_->view(first_layer, last_layer, stage.arrivals.empty());
  if (!alike_in(run_of(view), *tables_->index, stage)) {
    view = tables_->view(first_layer, last_layer);
  }
  return evaluate_seen(run_of(view), stage, weights);
}

bool StageModel::chooses_alike(int first_layer, int last_layer, const StagePlan& stage) const {
  const RunView view = tables_->view(first_layer, last_layer, true);
  return alike_in({tables_->graph, tables_->options, view, tables_->microbatches}, *tables_->index,
                  stage);
}

StageAnswer StageModel::evaluate_seen(const RunContext& run, const StagePlan& stage,
                                      const StageWeights& weights) const {
  std::vector<Option> options(run.view.ops.size());
  RunChoice choice;
  choice.options.resize(tables_->graph.operators.size(), nullptr);
  for (std::size_t k = 0; k < options.size(); ++k) {
    const auto i = static_cast<std::size_t>(run.view.ops[k]);
    const std::string& name = tables_->graph.original(tables_->graph.operators[i]).name;
    const auto strategy = stage.strategies.find(name);
    if (strategy == stage.strategies.end()) {
      throw PlanError("operator " + name + " has no strategy");
    }
    options[k] = tables_->options.option(i, strategy->second);
    choice.options[i] = &options[k];
  }
  choice.retention = [&](const Tensor& tensor) { return retention_of(stage, tensor); };
  choice.arrivals = stage.arrivals;
  return answer_of(run, choice, weights, nullptr);
}

StageAnswer StageModel::joined(int first_layer, int last_layer,
                               const std::vector<ChosenLayers>& parts,
                               const StageWeights& weights) const {
  std::vector<int> classes = tables_->classes;
  std::vector<ChosenLayers> clipped;
  std::vector<std::pair<const intra_op::LayerChoices*, Recompute>> kinds;
  for (const ChosenLayers& part : parts) {
    const int first = std::max(part.first, first_layer);
    const int last = std::min(part.last, last_layer);
    if (first > last) continue;
    const std::pair kind(part.as.get(), part.recompute);
    const auto like = std::find(kinds.begin(), kinds.end(), kind);
    tables_->tell_apart(classes, first, last, static_cast<int>(like - kinds.begin()));
    if (like == kinds.end()) kinds.push_back(kind);
    clipped.push_back({first, last, part.as, part.recompute});
  }
  const RunView view =
      intra_op::view_of(tables_->graph, *tables_->index, first_layer, last_layer, &classes);
  for (const ChosenLayers& part : clipped) {
    for (int l = part.first; l <= part.last; ++l) {
      const int seen = view.seen_as[static_cast<std::size_t>(l - first_layer)];
      ALPA_CHECK(recompute_of(tables_->graph, seen) == part.recompute);
    }
  }
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  const RunChoice choice = intra_op::choice_of(run, tables_->index->uses, clipped);
  StageAnswer answer = answer_of(run, choice, weights, nullptr);
  answer.parts = std::move(clipped);
  return answer;
}

int StageModel::seen_split(int first_layer, int last_layer, int split) const {
  ALPA_CHECK(first_layer < split && split <= last_layer);
  std::vector<int> classes = tables_->classes;
  tables_->tell_apart(classes, split, last_layer, 1);
  const auto seen = intra_op::seen_layers(*tables_->index, first_layer, last_layer, classes);
  return seen[static_cast<std::size_t>(split - first_layer)];
}

void StageModel::name(StageAnswer& answer, const Graph& whole) const {
  std::vector<int> layers(static_cast<std::size_t>(whole.num_layers));
  std::iota(layers.begin(), layers.end(), 0);
  name(answer, whole, layers);
}

void StageModel::name(StageAnswer& answer, const Graph& some,
                      const std::vector<int>& layers) const {
  intra_op::name_choices(tables_->graph, tables_->options, tables_->index->uses, some, layers,
                         answer);
}

std::vector<int> StageModel::kinds_of_choices(const StageAnswer& answer) const {
  return intra_op::kinds_of_choices(tables_->classes, answer.parts);
}

const Strategy& StageModel::strategy(const StageAnswer& answer, int op, int layer) const {
  return intra_op::strategy_in(answer.parts, layer, tables_->options, tables_->index->uses, op);
}

double StageModel::bound(int first_layer, int last_layer, const StageWeights& weights,
                         const SolveLimits& limits, int rounds, bool joined,
                         BoundHints* hints) const {
  BoundHints known = hints != nullptr ? *hints : BoundHints{};
  if (!known.problem) {
    known.problem = std::make_shared<const intra_op::BoundProblem>(
        tables_->graph, tables_->options, tables_->view(first_layer, last_layer),
        tables_->microbatches, tables_->index->uses, tables_->constraints, joined);
  }
  if (known.problem->contradicts()) return kForbidden;
  intra_op::CopyShares shares = known.shares ? *known.shares : intra_op::CopyShares{};
  double bound = 0.0;
  for (int round = 0; round < rounds; ++round) {
    const Solution solution = alpa::solve(known.problem->with(weights, shares), limits);
    bound = std::max(bound, solution.lower_bound);
    if (solution.choice.empty()) break;
    ++known.rounds;
    if (!shares.lean(known.problem->run(), solution.choice, 1.0 / std::sqrt(known.rounds + 1.0)))
      break;
  }
  if (hints != nullptr) {
    known.shares = std::make_shared<const intra_op::CopyShares>(std::move(shares));
    *hints = std::move(known);
  }
  return bound;
}

StageModel::NamedProblem StageModel::problem(const StageQuestion& question) const {
  const RunView view = tables_->view(question.first_layer, question.last_layer, question.tied);
  const RunContext run{tables_->graph, tables_->options, view, tables_->microbatches};
  StageProblem problem = tables_->problem(run, question, true);
  return {std::move(problem.problem()), std::move(problem.node_names),
          std::move(problem.option_names)};
}

}  // namespace alpa
