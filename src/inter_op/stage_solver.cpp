#include "stage_solver.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

#include "alpa/intra_op/folding.hpp"

#include "stage_points.hpp"
#include "warm_up.hpp"

namespace alpa {
namespace {

constexpr int kMostAttempts = 3;     ///< to make a draft fit
constexpr int kMostDepthsTried = 4;  ///< of a draft, until its buffers fit too
constexpr double kSure = 0.999;      ///< share of a modelled price that lowering is not below
constexpr double kClose = 0.9998;    ///< to the best price: stages alone are not worth lowering

StageTimes times_as_long(StageTimes times, double factor) {
  for (Seconds* part :
       {&times.prepare, &times.forward, &times.backward, &times.reduce, &times.update}) {
    *part = *part * factor;
  }
  return times;
}

}  // namespace

std::vector<Bytes> StageSolver::rooms_of(const Draft& draft) {
  std::vector<Bytes> rooms;
  for (const DraftStage& stage : draft.stages) {
    rooms.push_back(work_.room(draft.microbatches, stage.first_device, stage.mesh));
  }
  return rooms;
}

std::optional<std::vector<const StageAnswer*>> StageSolver::solve_all(
    const Draft& draft, const std::vector<Bytes>& rooms, Care care) {
  std::vector<const StageAnswer*> answers;
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    const auto& answer = answers_.of(draft, s, rooms[s], care);
    if (!answer) return std::nullopt;
    answers.push_back(&*answer);
  }
  return answers;
}

CrossTraffic StageSolver::traffic(const Draft& draft,
                                  const std::vector<const StageAnswer*>& answers) {
  const Graph& graph = work_.graph(draft.microbatches);
  const auto [cross, is_new] = cross_.try_emplace(draft.microbatches);
  if (is_new) cross->second = cross_tensors(graph, work_.line());
  std::vector<StageSide> sides;
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    const DraftStage& stage = draft.stages[s];
    const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
    std::vector<int> ranks(static_cast<std::size_t>(num_devices(stage.mesh)));
    std::iota(ranks.begin(), ranks.end(), stage.first_device);
    const auto strategy = [&graph, &model, &answer = *answers[s]](const Operator& op, int layer) {
      return model.strategy(answer, static_cast<int>(&op - graph.operators.data()), layer);
    };
    sides.push_back(
        {stage.first_layer, stage.last_layer, std::move(ranks), stage.mesh, strategy, nullptr});
  }
  return cross_traffic(graph, cross->second, sides, table_shape(draft));
}

LayerLine StageSolver::line_of(const Draft& draft, const std::vector<const StageAnswer*>& answers) {
  if (work_.line().is_whole()) return LayerLine(work_.layers());
  std::map<std::tuple<std::size_t, int, Recompute>, int> numbers;
  std::vector<int> kinds;
  const std::vector<Recompute> recompute = recompute_of(answers, work_.layers());
  for (std::size_t s = 0; s < answers.size(); ++s) {
    const DraftStage& stage = draft.stages[s];
    const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
    for (const int kind : model.kinds_of_choices(*answers[s])) {
      const Recompute again = recompute.empty() ? Recompute::none : recompute[kinds.size()];
      const auto next = static_cast<int>(numbers.size());
      kinds.push_back(numbers.try_emplace({s, kind, again}, next).first->second);
    }
  }
  return counted_line(kinds);
}

FoldedPlan StageSolver::plan_of(const Draft& draft,
                                const std::vector<const StageAnswer*>& answers) {
  const LayerLine line = line_of(draft, answers);
  const Graph& graph =
      work_.graph_of(line, draft.microbatches, recompute_of(answers, work_.layers()));
  const std::vector<int> kept = kept_layers(line);
  Draft of_kept = draft;
  std::vector<StageAnswer> named;
  for (std::size_t s = 0; s < answers.size(); ++s) {
    DraftStage& stage = of_kept.stages[s];
    stage.first_layer = line.like(stage.first_layer);
    stage.last_layer = line.like(stage.last_layer);
    named.push_back(*answers[s]);
    if (!named.back().strategies.empty()) continue;
    work_.model(draft.microbatches, stage.first_device, stage.mesh).name(named.back(), graph, kept);
  }
  std::vector<const StageAnswer*> chosen;
  for (const StageAnswer& answer : named) chosen.push_back(&answer);
  return {assemble(of_kept, chosen, graph, work_.cluster()), line};
}

StageSolver::Chosen StageSolver::chosen(const Draft& draft,
                                        std::vector<const StageAnswer*> answers) {
  Chosen found{std::move(answers), {}, {}, draft};
  found.traffic = traffic(draft, found.answers);
  found.messages = message_times(found.traffic.messages, work_.cluster());
  return found;
}

std::optional<StageSolver::Chosen> StageSolver::choose(const Draft& draft,
                                                       std::vector<Bytes>& rooms, Care care) {
  const std::vector<Bytes> given = rooms;
  for (int attempt = 0;; ++attempt) {
    const auto answers = solve_all(draft, rooms, care);
    if (!answers) return std::nullopt;
    Chosen found = chosen(draft, *answers);
    bool fits = true;
    for (std::size_t s = 0; s < rooms.size(); ++s) {
      const Bytes left = given[s] - found.traffic.buffers(s);
      if (memory_of((*answers)[s]->figures, in_flight(draft, s)) <= left) continue;
      rooms[s] = std::min(rooms[s], left);
      fits = false;
    }
    if (!fits && attempt == 0) continue;
    deepen(found, given);
    return found;
  }
}

void StageSolver::deepen(Chosen& chosen, const std::vector<Bytes>& caps) {
  const Draft& draft = chosen.draft;
  if (draft.schedule != PipelineKind::one_f_one_b || !work_.deepens()) return;
  std::vector<StageTimes> times;
  for (const StageAnswer* answer : chosen.answers) times.push_back(answer->figures.times);
  const MessageTimes& messages = chosen.messages;
  const SteadyState steady(times, messages.transfers);
  if (!deeper_pays(steady, draft.warm_up)) return;
  std::vector<int> most = useful_warm_up(static_cast<int>(draft.stages.size()), draft.microbatches);
  const auto fits = [&](const Draft& deep, const CrossTraffic& traffic, std::size_t s) {
    const Bytes figures = memory_of(chosen.answers[s]->figures, in_flight(deep, s));
    return figures + traffic.buffers(s) <= caps[s];
  };
  for (int attempt = 0; attempt < kMostDepthsTried; ++attempt) {
    Chosen deep = chosen;
    for (std::size_t s = 0; s < most.size(); ++s) {
      deep.draft.warm_up = most;
      while (most[s] > draft.warm_up[s] && !fits(deep.draft, chosen.traffic, s)) {
        if (!shallower(most, s, most[s] - 1)) return;
        deep.draft.warm_up = most;
      }
    }
    deep.draft.warm_up = steady.least_depths(most);
    for (std::size_t s = 0; s < most.size(); ++s) {
      deep.draft.warm_up[s] = std::max(deep.draft.warm_up[s], draft.warm_up[s]);
    }
    if (deep.draft == draft) return;
    deep.traffic = traffic(deep.draft, deep.answers);
    deep.messages = message_times(deep.traffic.messages, work_.cluster());
    bool all_fit = true;
    for (std::size_t s = 0; s < most.size(); ++s) {
      const int depth = deep.draft.warm_up[s];
      if (depth == draft.warm_up[s] || fits(deep.draft, deep.traffic, s)) continue;
      all_fit = false;
      if (!shallower(most, s, depth - 1)) return;
    }
    if (!all_fit) continue;
    if (price_of(deep) < price_of(chosen)) chosen = std::move(deep);
    return;
  }
}

bool StageSolver::recomputes(const Draft& draft) {
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    const DraftStage& stage = draft.stages[s];
    const int stashes = in_flight(draft, s);
    tables_.prepare(draft.microbatches, {{stage.first_device, stage.mesh}});
    const auto& tables = tables_.of(draft.microbatches, stage.first_device, stage.mesh);
    const Chain chain = chain_of(tables, draft.microbatches, stashes);
    const auto guess =
        mixture_within(chain, stage.first_layer, stage.last_layer, stashes,
                       work_.room(draft.microbatches, stage.first_device, stage.mesh));
    if (!guess) continue;
    const bool mixed = guess->large_layers > 0;
    if (chain[guess->small]->computes_again() ||
        (mixed && chain[guess->small - 1]->computes_again())) {
      return true;
    }
  }
  return false;
}

std::optional<double> StageSolver::modelled(const Draft& draft) {
  const auto [known, is_new] = modelled_.try_emplace(key_of(draft));
  if (!is_new) return known->second;
  std::vector<Bytes> rooms = rooms_of(draft);
  const auto chosen = choose(draft, rooms, Care::tables);
  if (!chosen) return std::nullopt;
  return known->second = price_of(*chosen);
}

std::optional<double> StageSolver::hoped_for(const Draft& draft) {
  if (ties(work_, draft.microbatches)) return modelled(draft);
  const Bytes any{std::numeric_limits<std::int64_t>::max()};
  const std::vector<Bytes> free(draft.stages.size(), any);
  const auto answers = solve_all(draft, free, Care::tables);
  if (!answers) return std::nullopt;
  const std::vector<Bytes> rooms = rooms_of(draft);
  std::vector<StageTimes> times;
  for (std::size_t s = 0; s < rooms.size(); ++s) {
    const StageAnswer& answer = *(*answers)[s];
    times.push_back(answer.figures.times);
    const bool fits = memory_of(answer.figures, in_flight(draft, s)) <= rooms[s];
    // Some layers alone computed again may take less than any choice of all alike that fits.
    if (fits || tables_.several_kinds()) continue;
    const double least = answers_.least_cost(draft, s, rooms[s]);
    if (least == kForbidden) return std::nullopt;
    times.back() = times_as_long(times.back(), std::max(1.0, least / answer.cost));
  }
  Chosen found = chosen(draft, *answers);
  deepen(found, free);
  return price_of(found, times);
}

double StageSolver::price_of(const Chosen& chosen) const {
  std::vector<StageTimes> times;
  for (const StageAnswer* answer : chosen.answers) times.push_back(answer->figures.times);
  return price_of(chosen, times);
}

double StageSolver::price_of(const Chosen& chosen, const std::vector<StageTimes>& times) const {
  return modelled_price(work_.cluster(), chosen.draft, times, chosen.messages.transfers) +
         chosen.messages.once.value;
}

std::optional<double> StageSolver::offer(const Draft& draft, Care care) {
  const std::string key = key_of(draft) + (care == Care::alone ? " alone" : "");
  if (const auto known = offered_.find(key); known != offered_.end()) return known->second;
  auto& outcome = offered_[key];
  std::vector<Bytes> rooms = rooms_of(draft);
  std::vector<Bytes> caps = rooms;
  auto found = choose(draft, rooms, care);
  for (int attempt = 0; found && attempt < kMostAttempts && !work_.stopped(); ++attempt) {
    const std::vector<const StageAnswer*>& answers = found->answers;
    // No need to look at what cannot be better.
    const double modelled = price_of(*found);
    const bool worse = care == Care::alone ? modelled + work_.norm() >= kClose * work_.best_time()
                                           : kSure * modelled >= work_.best_time();
    if (worse) return outcome = modelled;
    const auto offered = work_.offer(plan_of(found->draft, answers));
    if (offered.fits) {
      outcome = offered.price.step_time.value;
      return outcome;
    }
    for (std::size_t s = 0; s < rooms.size(); ++s) {
      if (offered.over[s] <= Bytes{0}) continue;
      const Bytes figures = memory_of(answers[s]->figures, in_flight(found->draft, s));
      // Less depth first, then other choices.
      const bool deeper = in_flight(found->draft, s) > in_flight(draft, s);
      caps[s] = figures + found->traffic.buffers(s) - offered.over[s];
      if (!deeper) rooms[s] = std::min(rooms[s], figures) - offered.over[s];
      const Bytes more = offered.price.arenas[s] - figures - found->traffic.buffers(s);
      auto& seen = seen_packing_.try_emplace(draft.microbatches, more).first->second;
      seen = std::min(seen, more);
    }
    const auto again = solve_all(draft, rooms, care);
    if (!again) return outcome;
    found = chosen(draft, *again);
    deepen(*found, caps);
  }
  return outcome;
}

bool StageSolver::learn_packing() {
  bool learnt = false;
  for (auto it = seen_packing_.begin(); it != seen_packing_.end();) {
    const auto& [microbatches, bytes] = *it;
    if (bytes <= work_.packing(microbatches)) {
      ++it;
      continue;
    }
    work_.packing(microbatches, bytes);
    learnt = true;
    it = seen_packing_.erase(it);
  }
  return learnt;
}

void StageSolver::forget() {
  modelled_.clear();
  offered_.clear();
}

void StageSolver::prepare(const std::vector<Draft>& drafts) {
  std::map<int, std::vector<PlacedMesh>> wanted;
  for (const Draft& draft : drafts) {
    if (!ties(work_, draft.microbatches)) continue;
    for (const DraftStage& stage : draft.stages) {
      wanted[draft.microbatches].push_back({stage.first_device, stage.mesh});
    }
  }
  for (const auto& [microbatches, meshes] : wanted) tables_.prepare(microbatches, meshes);
}

void StageSolver::offer_smallest(const Draft& draft, Bytes limit) {
  std::vector<std::optional<StageAnswer>> answers(draft.stages.size());
  const auto solve = [&](const StageModel& model, std::size_t s) {
    const SearchWork::Clock clock(work_, "solving");
    StageQuestion question;
    question.first_layer = draft.stages[s].first_layer;
    question.last_layer = draft.stages[s].last_layer;
    question.weights = {.forward = 1e-6,
                        .backward = 1e-6,
                        .prepare = 1e-6,
                        .reduce = 1e-6,
                        .update = 1e-6,
                        .state_byte = 1.0,
                        .stash_byte = static_cast<double>(in_flight(draft, s))};
    question.tied = ties(work_, draft.microbatches);
    question.named = !question.tied;
    question.limits.stop = work_.request().stop;
    question.one_layout = true;
    question.limits.cbc_columns = 0;
    question.limits.sweeps = question.tied ? kTiedSweeps : 100;
    if (question.tied) question.limits.moves = kTiedMoves;
    work_.solved("smallest " + key_of(draft) + " " + std::to_string(s));
    return model.solve(question);
  };
  for (const bool all : {false, true}) {  // whether any needs too much first
    for (std::size_t s = 0; s < draft.stages.size(); ++s) {
      const DraftStage& stage = draft.stages[s];
      const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
      const auto begin = model.layer_classes().begin();
      const auto [known, is_new] = smallest_.try_emplace(
          {&model, {begin + stage.first_layer, begin + stage.last_layer + 1}, in_flight(draft, s)});
      if ((is_new || all) && !answers[s]) {
        answers[s] = solve(model, s);
        if (answers[s]) known->second = memory_of(answers[s]->figures, in_flight(draft, s));
      }
      if (!known->second || *known->second >= limit || (all && !answers[s])) return;
    }
  }
  std::vector<const StageAnswer*> chosen;
  for (const auto& answer : answers) chosen.push_back(&*answer);
  (void)work_.offer(plan_of(draft, chosen));
}

}  // namespace alpa
