#include "stage_solver.hpp"

#include <algorithm>

#include "alpa/simulate/message_times.hpp"

#include "layer_tables.hpp"
#include "stage_points.hpp"

namespace alpa {
namespace {

constexpr int kMostAttempts = 4;         ///< to make a draft fit
constexpr std::size_t kMostOnHull = 16;  ///< answers
constexpr double kSame = 1e-6;           ///< relative gain that is none
constexpr double kDear = 1e3;            ///< a byte outweighs any time

}  // namespace

const std::optional<StageAnswer>& StageSolver::solve(const Draft& draft, std::size_t s,
                                                     Bytes memory) {
  const DraftStage& stage = draft.stages[s];
  const int stashes = in_flight(draft, s);
  const std::string question_key =
      std::to_string(draft.microbatches) + " " + std::to_string(stage.first_layer) + "-" +
      std::to_string(stage.last_layer) + " " + work_.costs(stage.first_device, stage.mesh).key() +
      " x" + std::to_string(stashes);
  const std::string key = question_key + " " + std::to_string(memory.value);
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
  question.limits.cbc_columns = 4'000;
  question.limits.cbc_nodes = 100;
  question.limits.sweeps = 100;
  question.limits.table_entries = kTableEntries;
  work_.solved(key);
  if (question.tied) return answers_[key] = solve_tied(model, question, hulls_[question_key]);
  return answers_[key] = model.solve(question);
}

/// Solves at the price of a byte at which the neighbours beside the limit cost the same, until that
/// gives nothing new.
void StageSolver::refine(const StageModel& model, const StageQuestion& question, Hull& hull,
                         std::size_t& fits) {
  const Bytes memory = *question.memory;
  const auto bytes = [&](const StageAnswer& answer) {
    const StageFigures& f = answer.figures;
    return static_cast<double>(f.state.value + question.in_flight * f.stash.value);
  };
  const auto cost = [&](const StageAnswer& answer) {
    return weighted(answer.figures, question.weights);
  };
  while (fits > 0 && hull.points.size() < kMostOnHull) {
    const StageAnswer& large = hull.points[fits - 1];
    const StageAnswer& small = hull.points[fits];
    const double saved = bytes(large) - bytes(small);
    const double price = (cost(small) - cost(large)) / saved;
    if (!(saved > 0.0) || !(price > 0.0)) return;
    StageQuestion priced = question;
    priced.memory.reset();
    priced.weights.state_byte = price;
    priced.weights.stash_byte = price * question.in_flight;
    auto between = model.solve(priced);
    const double level = cost(large) + price * bytes(large);
    if (!between || cost(*between) + price * bytes(*between) >= level * (1.0 - kSame)) return;
    if (bytes(*between) >= bytes(large) || bytes(*between) <= bytes(small)) return;
    const bool smaller = memory_of(between->figures, question.in_flight) <= memory;
    hull.points.insert(hull.points.begin() + static_cast<std::ptrdiff_t>(fits),
                       std::move(*between));
    if (!smaller) ++fits;
  }
}

/// Equal layers choose alike, those before some layer like one answer of the hull and those behind
/// it like the next.
std::optional<StageAnswer> StageSolver::solve_tied(const StageModel& model,
                                                   const StageQuestion& question, Hull& hull) {
  StageQuestion free = question;
  free.memory.reset();
  if (hull.points.empty()) {
    auto cheapest = model.solve(free);
    if (!cheapest) return std::nullopt;
    hull.points.push_back(std::move(*cheapest));
  }
  const auto is_small = [&](const StageAnswer& answer) {
    return memory_of(answer.figures, question.in_flight) <= *question.memory;
  };
  if (is_small(hull.points.front())) return hull.points.front();
  if (!hull.has_smallest) {
    hull.has_smallest = true;
    const double time = weighted(hull.points.front().figures, free.weights);
    const Bytes all = memory_of(hull.points.front().figures, question.in_flight);
    free.weights.state_byte = kDear * time / std::max(1.0, static_cast<double>(all.value));
    free.weights.stash_byte = free.weights.state_byte * question.in_flight;
    auto smallest = model.solve(free);
    const bool smaller = smallest && memory_of(smallest->figures, question.in_flight) <
                                         memory_of(hull.points.back().figures, question.in_flight);
    if (smaller) hull.points.push_back(std::move(*smallest));
  }
  std::size_t fits = 0;
  while (fits < hull.points.size() && !is_small(hull.points[fits])) ++fits;
  if (fits == hull.points.size()) return std::nullopt;
  refine(model, question, hull, fits);
  StageAnswer best = hull.points[fits];
  best.cost = weighted(best.figures, question.weights);
  const StageAnswer& large = hull.points[fits - 1];
  const StageAnswer& small = hull.points[fits];
  for (const bool large_first : {false, true}) {
    // The more layers like the larger one the better, as far as they fit.
    int low = 0;
    int high = question.last_layer - question.first_layer + 1;
    while (high - low > 1) {
      const int count = (low + high) / 2;
      const int split =
          large_first ? question.first_layer + count : question.last_layer + 1 - count;
      StageAnswer both =
          model.joined(question, large_first ? large : small, large_first ? small : large, split);
      both.cost = weighted(both.figures, question.weights);
      if (!is_small(both)) {
        high = count;
        continue;
      }
      low = count;
      if (both.cost < best.cost) best = std::move(both);
    }
  }
  return best;
}

std::vector<Bytes> StageSolver::rooms_of(const Draft& draft) {
  std::vector<Bytes> rooms;
  for (const DraftStage& stage : draft.stages) {
    rooms.push_back(work_.room(stage.first_device, stage.mesh));
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

CrossTraffic StageSolver::traffic(const Draft& draft,
                                  const std::vector<const StageAnswer*>& answers) {
  const Graph& graph = work_.graph(draft.microbatches);
  const auto [cross, is_new] = cross_.try_emplace(draft.microbatches);
  if (is_new) cross->second = cross_tensors(graph);
  return cross_traffic(graph, cross->second, sides_of(draft, answers));
}

std::optional<StageSolver::Chosen> StageSolver::choose(const Draft& draft,
                                                       std::vector<Bytes>& rooms) {
  const std::vector<Bytes> given = rooms;
  for (int attempt = 0;; ++attempt) {
    const auto answers = solve_all(draft, rooms);
    if (!answers) return std::nullopt;
    Chosen chosen{*answers, traffic(draft, *answers)};
    bool fits = true;
    for (std::size_t s = 0; s < rooms.size(); ++s) {
      const Bytes left = given[s] - chosen.traffic.staging[s];
      if (memory_of((*answers)[s]->figures, in_flight(draft, s)) <= left) continue;
      rooms[s] = std::min(rooms[s], left);
      fits = false;
    }
    if (fits || attempt > 0) return chosen;
  }
}

std::optional<double> StageSolver::modelled(const Draft& draft) {
  const auto [known, is_new] = modelled_.try_emplace(key_of(draft));
  if (!is_new) return known->second;
  std::vector<Bytes> rooms = rooms_of(draft);
  const auto chosen = choose(draft, rooms);
  if (!chosen) return std::nullopt;
  std::vector<StageTimes> times;
  for (const StageAnswer* answer : chosen->answers) times.push_back(answer->figures.times);
  const MessageTimes messages = message_times(chosen->traffic.messages, work_.cluster());
  return known->second = modelled_price(work_.cluster(), draft, times, messages.transfers) +
                         messages.once.value;
}

std::optional<double> StageSolver::offer(const Draft& draft) {
  const std::string key = key_of(draft);
  if (const auto known = offered_.find(key); known != offered_.end()) return known->second;
  auto& outcome = offered_[key];
  std::vector<Bytes> rooms = rooms_of(draft);
  auto chosen = choose(draft, rooms);
  for (int attempt = 0; chosen && attempt < kMostAttempts && !work_.stopped(); ++attempt) {
    const std::vector<const StageAnswer*>& answers = chosen->answers;
    std::vector<StageTimes> times;
    for (const StageAnswer* answer : answers) times.push_back(answer->figures.times);
    // What lowering finds is never less: no need to look.
    const double modelled = modelled_price(work_.cluster(), draft, times, {});
    if (modelled >= work_.best_time()) return outcome = modelled;
    const auto offered =
        work_.offer(assemble(draft, answers, work_.graph(draft.microbatches), work_.cluster()));
    if (offered.fits) {
      outcome = offered.price.step_time.value;
      return outcome;
    }
    for (std::size_t s = 0; s < rooms.size(); ++s) {
      if (offered.over[s] <= Bytes{0}) continue;
      const Bytes figures = memory_of(answers[s]->figures, in_flight(draft, s));
      rooms[s] = std::min(rooms[s], figures) - offered.over[s];
      const Bytes more = offered.price.arenas[s] - figures - chosen->traffic.staging[s];
      seen_packing_ = std::min(seen_packing_.value_or(more), more);
    }
    const auto again = solve_all(draft, rooms);
    if (!again) return outcome;
    chosen = Chosen{*again, traffic(draft, *again)};
  }
  return outcome;
}

bool StageSolver::learn_packing() {
  if (!seen_packing_ || *seen_packing_ <= work_.packing()) return false;
  work_.packing(*seen_packing_);
  seen_packing_.reset();
  modelled_.clear();
  offered_.clear();
  return true;
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
