#include "stage_solver.hpp"

#include <algorithm>

#include "layer_tables.hpp"

namespace alpa {
namespace {

constexpr int kMostAttempts = 4;  ///< to make a draft fit

}  // namespace

const std::optional<StageAnswer>& StageSolver::solve(const Draft& draft, std::size_t s,
                                                     Bytes memory) {
  const DraftStage& stage = draft.stages[s];
  const int stashes = in_flight(draft, s);
  const std::string key =
      std::to_string(draft.microbatches) + " " + std::to_string(stage.first_layer) + "-" +
      std::to_string(stage.last_layer) + " " + work_.costs(stage.first_device, stage.mesh).key() +
      " x" + std::to_string(stashes) + " " + std::to_string(memory.value);
  const auto known = answers_.find(key);
  if (known != answers_.end()) return known->second;
  const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
  const SearchWork::Clock clock(work_, "solving");
  StageQuestion question;
  question.first_layer = stage.first_layer;
  question.last_layer = stage.last_layer;
  question.weights.forward = question.weights.backward = draft.microbatches;
  question.memory = memory;
  question.in_flight = stashes;
  question.tied = ties(work_.graph(draft.microbatches));
  question.limits.stop = work_.request().stop;
  question.one_layout = true;
  question.limits.cbc_columns = 600;
  question.limits.cbc_nodes = 100;
  question.limits.sweeps = 100;
  work_.solved(key);
  return answers_[key] = model.solve(question);
}

std::vector<Bytes> StageSolver::rooms_of(const Draft& draft) {
  std::vector<Bytes> rooms;
  for (const DraftStage& stage : draft.stages) {
    rooms.push_back(work_.capacity(stage.first_device, stage.mesh));
  }
  return rooms;
}

std::optional<std::vector<const StageAnswer*>> StageSolver::solve_all(
    const Draft& draft, const std::vector<Bytes>& rooms) {
  std::vector<const StageAnswer*> answers;
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    const auto& answer = solve(draft, s, rooms[s]);
    if (!answer) return std::nullopt;
    answers.push_back(&*answer);
  }
  return answers;
}

const BorderTraffic& StageSolver::traffic(int microbatches) {
  const auto known = traffic_.find(microbatches);
  if (known != traffic_.end()) return known->second;
  return traffic_.emplace(microbatches, border_traffic(work_.graph(microbatches))).first->second;
}

std::optional<double> StageSolver::modelled(const Draft& draft) {
  const auto [known, is_new] = modelled_.try_emplace(key_of(draft));
  if (!is_new) return known->second;
  const auto answers = solve_all(draft, rooms_of(draft));
  if (!answers) return std::nullopt;
  std::vector<StageTimes> times;
  for (const StageAnswer* answer : *answers) times.push_back(answer->figures.times);
  const auto transfers = estimated_transfers(draft, traffic(draft.microbatches), work_.cluster());
  return known->second = modelled_price(work_.cluster(), draft, times, transfers);
}

std::optional<double> StageSolver::offer(const Draft& draft) {
  const std::string key = key_of(draft);
  if (const auto known = offered_.find(key); known != offered_.end()) return known->second;
  auto& outcome = offered_[key];
  std::vector<Bytes> rooms = rooms_of(draft);
  for (int attempt = 0; attempt < kMostAttempts && !work_.stopped(); ++attempt) {
    const auto answers = solve_all(draft, rooms);
    if (!answers) return outcome;
    std::vector<StageTimes> times;
    for (const StageAnswer* answer : *answers) times.push_back(answer->figures.times);
    // What lowering finds is never less: no need to look.
    const double modelled = modelled_price(work_.cluster(), draft, times, {});
    if (modelled >= work_.best_time()) return outcome = modelled;
    const auto offered =
        work_.offer(assemble(draft, *answers, work_.graph(draft.microbatches), work_.cluster()));
    if (offered.fits) {
      outcome = offered.price.step_time.value;
      return outcome;
    }
    for (std::size_t s = 0; s < rooms.size(); ++s) rooms[s] -= offered.over[s];
  }
  return outcome;
}

void StageSolver::offer_smallest(const Draft& draft) {
  std::vector<StageAnswer> answers;
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    const DraftStage& stage = draft.stages[s];
    const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
    const SearchWork::Clock clock(work_, "solving");
    StageQuestion question;
    question.first_layer = stage.first_layer;
    question.last_layer = stage.last_layer;
    question.weights = {.forward = 1e-6,
                        .backward = 1e-6,
                        .prepare = 1e-6,
                        .reduce = 1e-6,
                        .update = 1e-6,
                        .state_byte = 1.0,
                        .stash_byte = static_cast<double>(in_flight(draft, s))};
    question.tied = ties(work_.graph(draft.microbatches));
    question.limits.stop = work_.request().stop;
    question.one_layout = true;
    question.limits.cbc_columns = 0;
    question.limits.sweeps = 100;
    work_.solved("smallest " + key_of(draft) + " " + std::to_string(s));
    auto answer = model.solve(question);
    if (!answer) return;
    answers.push_back(std::move(*answer));
  }
  std::vector<const StageAnswer*> chosen;
  for (const StageAnswer& answer : answers) chosen.push_back(&answer);
  (void)work_.offer(assemble(draft, chosen, work_.graph(draft.microbatches), work_.cluster()));
}

}  // namespace alpa
