#include "stage_answers.hpp"

#include <algorithm>
#include <utility>

#include "alpa/intra_op/folding.hpp"

#include "stage_points.hpp"

namespace alpa {
namespace {

constexpr std::size_t kMostOnHull = 6;  ///< answers
constexpr double kSame = 1e-6;          ///< relative gain that is none
constexpr double kDear = 1e3;           ///< a byte outweighs any time

/// Layers before `split` like one answer, those from there on like another.
StageAnswer joined_at(const StageModel& model, const StageQuestion& question,
                      const std::vector<ChosenLayers>& before,
                      const std::vector<ChosenLayers>& after, int split) {
  std::vector<ChosenLayers> parts;
  for (ChosenLayers part : before) {
    part.last = std::min(part.last, split - 1);
    if (part.first <= part.last) parts.push_back(std::move(part));
  }
  for (ChosenLayers part : after) {
    part.first = std::max(part.first, split);
    if (part.first <= part.last) parts.push_back(std::move(part));
  }
  StageWeights times = question.weights;
  times.state_byte = times.stash_byte = 0.0;
  return model.joined(question.first_layer, question.last_layer, parts, times);
}

/// [layer] equal numbers where layers are of one class and choose alike in every answer.
std::vector<int> kinds_of_layers(const StageModel& model, const MeshTables& tables) {
  std::vector<int> kinds = model.layer_classes();
  for (const LineAnswer& answer : tables) {
    StageAnswer of_line;
    of_line.parts = answer.parts;
    const std::vector<int> choices = model.kinds_of_choices(of_line);
    std::map<std::pair<int, int>, int> numbers;
    for (std::size_t l = 0; l < kinds.size(); ++l) {
      const auto next = static_cast<int>(numbers.size());
      kinds[l] = numbers.try_emplace({kinds[l], choices[l]}, next).first->second;
    }
  }
  return kinds;
}

/// The first layer from which on as many layers have the same kinds as first..last.
int first_like(const std::vector<int>& kinds, int first, int last) {
  const auto begin = kinds.begin() + first;
  for (auto like = kinds.begin(); like != begin; ++like) {
    if (std::equal(begin, kinds.begin() + last + 1, like)) {
      return static_cast<int>(like - kinds.begin());
    }
  }
  return first;
}

/// What is computed again in all layers of an answer, if that is one thing.
std::optional<Recompute> same_recompute(const std::optional<StageAnswer>& answer) {
  if (!answer) return std::nullopt;
  const Recompute first = answer->parts.front().recompute;
  const bool same = std::all_of(answer->parts.begin(), answer->parts.end(),
                                [&](const ChosenLayers& part) { return part.recompute == first; });
  return same ? std::optional(first) : std::nullopt;
}

}  // namespace

StageQuestion StageAnswers::question_of(const Draft& draft, std::size_t s, Bytes memory) {
  StageQuestion question;
  question.first_layer = draft.stages[s].first_layer;
  question.last_layer = draft.stages[s].last_layer;
  question.weights.forward = question.weights.backward = draft.microbatches;
  question.memory = memory;
  question.in_flight = in_flight(draft, s);
  question.tied = ties(work_, draft.microbatches);
  question.named = false;
  question.limits.stop = work_.request().stop;
  question.one_layout = true;
  question.limits.cbc_columns = 4'000;
  question.limits.cbc_nodes = 100;
  question.limits.tableau_cuts = false;  // those few nodes are less work than the cuts
  question.limits.sweeps = 100;
  if (question.tied) {
    question.limits.sweeps = kTiedSweeps;
    question.limits.moves = kTiedMoves;
  }
  question.limits.table_entries = kTableEntries;
  return question;
}

const std::optional<StageAnswer>& StageAnswers::of(const Draft& draft, std::size_t s, Bytes memory,
                                                   Care care) {
  const DraftStage& stage = draft.stages[s];
  const int stashes = in_flight(draft, s);
  const std::string question_key =
      std::to_string(draft.microbatches) + " " + std::to_string(stage.first_layer) + "-" +
      std::to_string(stage.last_layer) + " " + work_.costs(stage.first_device, stage.mesh).key() +
      " x" + std::to_string(stashes);
  const auto [known_tied, is_new] = tied_.try_emplace(draft.microbatches);
  if (is_new) known_tied->second = ties(work_, draft.microbatches);
  const bool tied = known_tied->second;
  const bool follow = tied && care == Care::tables;
  const bool mixed = tables_.several_kinds();
  const std::string key =
      question_key + " " + std::to_string(memory.value) + (follow ? " follows" : "");
  const auto known = answers_.find(key);
  if (known != answers_.end()) return known->second;
  if (follow || mixed) tables_.prepare(draft.microbatches, {{stage.first_device, stage.mesh}});
  const SearchWork::Clock clock(work_, "solving");
  const StageQuestion question = question_of(draft, s, memory);
  auto& answer = answers_[key];
  if (!tied && mixed) return answer = solve_mixed(draft, stage, question);
  if (follow || mixed) answer = follow_like(draft, stage, question);
  const auto kind = mixed ? same_recompute(answer) : std::nullopt;
  if (follow || (mixed && !kind)) return answer;
  work_.solved(key);
  const std::vector<Recompute> alike(static_cast<std::size_t>(work_.layers()),
                                     kind.value_or(Recompute::none));
  const StageModel& model = mixed ? model_of(draft, stage, alike, alike, stage.first_layer)
                                  : work_.model(draft.microbatches, stage.first_device, stage.mesh);
  const std::string hull =
      question_key + (kind ? " " + std::to_string(static_cast<int>(*kind)) : "");
  auto alone = tied ? solve_tied(model, question, hulls_[hull]) : untied_.solve(model, question);
  if (!mixed || (alone && alone->cost < answer->cost)) answer = std::move(alone);
  return answer;
}

/// Solves at the price of a byte at which the neighbours beside the limit cost the same, until that
/// gives nothing new.
void StageAnswers::refine(PricedQuestion& priced, const StageQuestion& question, Hull& hull,
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
    auto between = priced.solve(price, price * question.in_flight);
    const double level = cost(large) + price * bytes(large);
    if (!between || cost(*between) + price * bytes(*between) >= level * (1.0 - kSame)) return;
    if (bytes(*between) >= bytes(large) || bytes(*between) <= bytes(small)) return;
    const bool smaller = memory_of(between->figures, question.in_flight) <= memory;
    hull.points.insert(hull.points.begin() + static_cast<std::ptrdiff_t>(fits),
                       std::move(*between));
    if (!smaller) ++fits;
  }
}

const StageModel& StageAnswers::model_of(const Draft& draft, const DraftStage& stage,
                                         const std::vector<Recompute>& before,
                                         const std::vector<Recompute>& after, int split) {
  const std::vector<int> kept = kept_layers(work_.line());
  std::vector<Recompute> of_layer;
  for (const int line : kept) of_layer.push_back(before[static_cast<std::size_t>(line)]);
  const auto model = [&](std::vector<Recompute> recompute) -> const StageModel& {
    return work_.model_of(draft.microbatches, stage.first_device, stage.mesh, std::move(recompute));
  };
  if (before == after) return model(std::move(of_layer));
  const int seen = model({}).seen_split(stage.first_layer, stage.last_layer, split);
  for (auto l = static_cast<std::size_t>(seen); l < kept.size(); ++l) {
    of_layer[l] = after[static_cast<std::size_t>(kept[l])];
  }
  return model(std::move(of_layer));
}

std::optional<StageAnswer> StageAnswers::follow_like(const Draft& draft, const DraftStage& stage,
                                                     const StageQuestion& question) {
  const auto& tables = tables_.of(draft.microbatches, stage.first_device, stage.mesh);
  const auto [it, is_new] = followed_.try_emplace(&tables);
  Followed& known = it->second;
  const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
  if (is_new) known.kinds = kinds_of_layers(model, tables);
  DraftStage like = stage;
  like.first_layer = first_like(known.kinds, stage.first_layer, stage.last_layer);
  const int shift = stage.first_layer - like.first_layer;
  like.last_layer -= shift;
  auto& by_memory = known.answers[{like.first_layer, like.last_layer, question.in_flight}];
  auto followed = by_memory.lower_bound(question.memory->value);
  const bool same = followed != by_memory.end() &&
                    (followed->first == question.memory->value || !followed->second ||
                     memory_of(followed->second->figures, question.in_flight) <= *question.memory);
  if (!same) {
    StageQuestion of_like = question;
    of_like.first_layer = like.first_layer;
    of_like.last_layer = like.last_layer;
    followed =
        by_memory.insert_or_assign(question.memory->value, follow_tables(draft, like, of_like))
            .first;
  }
  std::optional<StageAnswer> answer = followed->second;
  if (!answer) return answer;
  for (ChosenLayers& part : answer->parts) {
    part.first += shift;
    part.last += shift;
  }
  return answer;
}

/// As cuts were chosen, or otherwise if layers may be computed again in several ways and that is
/// better.
std::optional<StageAnswer> StageAnswers::follow_tables(const Draft& draft, const DraftStage& stage,
                                                       const StageQuestion& question) {
  const auto& tables = tables_.of(draft.microbatches, stage.first_device, stage.mesh);
  auto answer =
      follow(draft, stage, question, chain_of(tables, draft.microbatches, question.in_flight));
  if (!tables_.several_kinds()) return answer;
  const Chain pair = best_pair(tables, draft.microbatches, stage.first_layer, stage.last_layer,
                               question.in_flight, *question.memory);
  auto other = follow(draft, stage, question, pair);
  return other && (!answer || other->cost < answer->cost) ? other : answer;
}

/// The mixture that the tables suggest, with a layer more or less like the larger answer as the
/// stage's own figures allow.
std::optional<StageAnswer> StageAnswers::follow(const Draft& draft, const DraftStage& stage,
                                                const StageQuestion& question, const Chain& chain) {
  if (chain.empty()) return std::nullopt;
  const int first = question.first_layer;
  const int layers = question.last_layer - first + 1;
  const auto fits = [&](const StageAnswer& answer) {
    return memory_of(answer.figures, question.in_flight) <= *question.memory;
  };
  auto& known = followed_[&tables_.of(draft.microbatches, stage.first_device, stage.mesh)].mixtures;
  const auto mixed = [&](std::size_t small, int large_layers, bool large_first) {
    const LineAnswer& rest = *chain[small];
    const LineAnswer& large = large_layers > 0 ? *chain[small - 1] : rest;
    const int split = first + (large_first ? large_layers : layers - large_layers);
    const LineAnswer& before = large_first ? large : rest;
    const LineAnswer& after = large_first || large_layers == 0 ? rest : large;
    const auto [it, is_new] =
        known.try_emplace({&before, &after, first, question.last_layer, split});
    if (is_new) {
      it->second = joined_at(model_of(draft, stage, before.recompute, after.recompute, split),
                             question, before.parts, after.parts, split);
      it->second.by_layer.clear();
    }
    return it->second;
  };
  const auto guess =
      mixture_within(chain, first, question.last_layer, question.in_flight, *question.memory);
  std::size_t small = guess ? guess->small : chain.size() - 1;
  int large_layers = guess ? guess->large_layers : 0;
  StageAnswer best = mixed(small, large_layers, false);
  if (fits(best)) {
    while (small > 0 && large_layers + 1 < layers) {
      StageAnswer more = mixed(small, large_layers + 1, false);
      if (!fits(more) || more.cost >= best.cost) break;
      best = std::move(more);
      ++large_layers;
    }
  } else {
    while (!fits(best)) {
      if (large_layers > 0) {
        --large_layers;
      } else if (++small == chain.size()) {
        return std::nullopt;
      }
      best = mixed(small, large_layers, false);
    }
  }
  if (large_layers == 0) return best;
  StageAnswer other = mixed(small, large_layers, true);
  return fits(other) && other.cost < best.cost ? other : best;
}

/// Layers are computed again as the tables suggest, with a layer more or less like the larger
/// answer as the stage's own choices allow; or all alike.
std::optional<StageAnswer> StageAnswers::solve_mixed(const Draft& draft, const DraftStage& stage,
                                                     const StageQuestion& question) {
  const auto& tables = tables_.of(draft.microbatches, stage.first_device, stage.mesh);
  const Chain chain = chain_of(tables, draft.microbatches, question.in_flight);
  if (chain.empty()) return std::nullopt;
  const int first = question.first_layer;
  const int last = question.last_layer;
  const auto text = [](const std::vector<Recompute>& recompute) {
    std::string all;
    for (const Recompute choice : recompute) all += std::to_string(static_cast<int>(choice));
    return all;
  };
  const auto solve = [&](const std::vector<Recompute>& before, const std::vector<Recompute>& after,
                         int split) {
    work_.solved("mixed " + key_of(draft) + " " + std::to_string(first) + " " + text(before) + " " +
                 text(after) + " " + std::to_string(split));
    return untied_.solve(model_of(draft, stage, before, after, split), question);
  };
  std::optional<StageAnswer> best;
  const auto take = [&](std::optional<StageAnswer> answer) {
    const bool better = answer && (!best || answer->cost < best->cost);
    if (better) best = std::move(answer);
    return better;
  };
  const auto guess = mixture_within(chain, first, last, question.in_flight, *question.memory);
  const std::size_t small = guess ? guess->small : chain.size() - 1;
  const std::vector<Recompute>& rest = chain[small]->recompute;
  (void)take(solve(rest, rest, first));
  const std::vector<Recompute>& large = small > 0 ? chain[small - 1]->recompute : rest;
  if (large == rest || first == last) return best;
  (void)take(solve(large, large, first));
  for (const bool large_first : {false, true}) {
    const auto with = [&](int count) {
      return large_first ? solve(large, rest, first + count) : solve(rest, large, last + 1 - count);
    };
    const int begin = std::clamp(guess ? guess->large_layers : 0, 1, last - first);
    int count = begin;
    while (count <= last - first && take(with(count))) ++count;
    if (count > begin) continue;
    while (--count > 0 && !take(with(count))) {
    }
  }
  return best;
}

/// Equal layers choose alike, those before some layer like one answer of the hull and those behind
/// it like the next.
std::optional<StageAnswer> StageAnswers::solve_tied(const StageModel& model,
                                                    const StageQuestion& question, Hull& hull) {
  StageQuestion free = question;
  free.memory.reset();
  PricedQuestion priced(model, free);
  if (hull.points.empty()) {
    auto cheapest = priced.solve(0.0, 0.0);
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
    const double price = kDear * time / std::max(1.0, static_cast<double>(all.value));
    auto smallest = priced.solve(price, price * question.in_flight);
    const bool smaller = smallest && memory_of(smallest->figures, question.in_flight) <
                                         memory_of(hull.points.back().figures, question.in_flight);
    if (smaller) hull.points.push_back(std::move(*smallest));
  }
  std::size_t fits = 0;
  while (fits < hull.points.size() && !is_small(hull.points[fits])) ++fits;
  if (fits == hull.points.size()) return std::nullopt;
  refine(priced, question, hull, fits);
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
      StageAnswer both = joined_at(model, question, large_first ? large.parts : small.parts,
                                   large_first ? small.parts : large.parts, split);
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

double StageAnswers::least_cost(const Draft& draft, std::size_t s, Bytes memory) {
  const DraftStage& stage = draft.stages[s];
  const StageModel& model = work_.model(draft.microbatches, stage.first_device, stage.mesh);
  const SearchWork::Clock clock(work_, "solving");
  return untied_.least_cost(model, question_of(draft, s, memory));
}

}  // namespace alpa
