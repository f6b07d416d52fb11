#include "memory_answers.hpp"

#include "alpa/base/error.hpp"

#include "stage_points.hpp"

namespace alpa {
namespace {

bool same_figures(const StageAnswer& a, const StageAnswer& b) {
  return a.cost == b.cost && a.figures.state == b.figures.state &&
         a.figures.stash == b.figures.stash && a.figures.transient == b.figures.transient;
}

}  // namespace

MemoryAnswers::OfRun& MemoryAnswers::of_run(const StageModel& model,
                                            const StageQuestion& question) {
  ALPA_CHECK(question.memory && !question.tied && !question.named);
  const auto begin = model.layer_classes().begin();
  OfRun fresh{question.first_layer, {}, {}};
  return runs_
      .try_emplace({&model,
                    {begin + question.first_layer, begin + question.last_layer + 1},
                    question.in_flight},
                   std::move(fresh))
      .first->second;
}

std::optional<StageAnswer> MemoryAnswers::solve(const StageModel& model,
                                                const StageQuestion& question) {
  OfRun& run = of_run(model, question);
  const std::int64_t bytes = question.memory->value;
  auto known = run.answers.lower_bound(bytes);
  const bool same = known != run.answers.end() &&
                    (known->first == bytes || !known->second ||
                     memory_of(known->second->figures, question.in_flight) <= *question.memory);
  if (!same) {
    StageQuestion of_first = question;
    of_first.first_layer = run.first_layer;
    of_first.last_layer += run.first_layer - question.first_layer;
    known = run.answers.insert_or_assign(bytes, model.solve(of_first)).first;
  }
  const std::optional<StageAnswer>& answer = known->second;
  if (!answer || run.first_layer == question.first_layer) return answer;
  StageAnswer moved = model.moved(*answer, question.first_layer, question.weights);
  if (!same_figures(moved, *answer)) return model.solve(question);
  moved.lower_bound = answer->lower_bound;
  moved.proof = answer->proof;
  moved.stopped = answer->stopped;
  moved.core_nodes = answer->core_nodes;
  return moved;
}

double MemoryAnswers::least_cost(const StageModel& model, const StageQuestion& question) {
  OfRun& run = of_run(model, question);
  const auto [known, is_new] = run.least.try_emplace(question.memory->value, 0.0);
  if (is_new) known->second = model.least_cost(question);
  return known->second;
}

}  // namespace alpa
