#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "alpa/simulate/message_times.hpp"

#include "drafts.hpp"
#include "layer_tables.hpp"
#include "search_work.hpp"
#include "stage_answers.hpp"

namespace alpa {

/// Chooses the operators of drafts, stage by stage, and offers the plans.
class StageSolver {
 public:
  using Care = StageAnswers::Care;

  /// @param tables kept by reference
  StageSolver(SearchWork& work, LayerTables& tables)
      : work_(work), tables_(tables), answers_(work, tables) {}

  /// What the figures of the best choice of each stage within its memory come to; nothing where one
  /// has none. Where identical layers are tied, the choice follows the tables.
  [[nodiscard]] std::optional<double> modelled(const Draft& draft);

  /// Found far sooner where each stage is an integer program, as a rule no more than `modelled`:
  /// the choices that are best whatever their memory, taking as long as the least that fits may.
  [[nodiscard]] std::optional<double> hoped_for(const Draft& draft);

  /// Makes the tables that the models of these drafts need, several at once.
  void prepare(const std::vector<Draft>& drafts);

  /// Whether the tables suggest that any layer of a draft is computed again.
  [[nodiscard]] bool recomputes(const Draft& draft);

  /// Best choice of each stage within its memory; where packing takes more than the figures say, a
  /// stage is chosen again with that much less. The plan's price if one was found that fits.
  /// Where identical layers are tied, choices follow the tables unless `care` says otherwise.
  std::optional<double> offer(const Draft& draft, Care care = Care::tables);

  /// Where plans that were offered did not fit: counts what packing took beyond their figures with
  /// every stage from now on. False if nothing was learnt.
  [[nodiscard]] bool learn_packing();
  /// What was modelled and offered; for when more or less is known of packing.
  void forget();

  /// Offers the draft with the least memory that each stage can do with, whatever the time, unless
  /// one of them needs `limit` or more.
  void offer_smallest(const Draft& draft, Bytes limit);

 private:
  [[nodiscard]] std::optional<std::vector<const StageAnswer*>> solve_all(
      const Draft& draft, const std::vector<Bytes>& rooms, Care care);
  [[nodiscard]] std::vector<Bytes> rooms_of(const Draft& draft);

  /// Choices of all stages, what they then send each other, and the draft with the depths that pay.
  struct Chosen {
    std::vector<const StageAnswer*> answers;
    CrossTraffic traffic;
    MessageTimes messages;  ///< of the traffic
    Draft draft;
  };
  [[nodiscard]] Chosen chosen(const Draft& draft, std::vector<const StageAnswer*> answers);
  /// Deeper warm-up than the draft's where messages make it pay.
  /// @param caps what figures and buffers of each stage may come to
  void deepen(Chosen& chosen, const std::vector<Bytes>& caps);
  /// Choices that leave room for what messages are packed into: `rooms` becomes what is left.
  [[nodiscard]] std::optional<Chosen> choose(const Draft& draft, std::vector<Bytes>& rooms,
                                             Care care);
  [[nodiscard]] double price_of(const Chosen& chosen) const;
  [[nodiscard]] double price_of(const Chosen& chosen, const std::vector<StageTimes>& times) const;
  [[nodiscard]] CrossTraffic traffic(const Draft& draft,
                                     const std::vector<const StageAnswer*>& answers);
  [[nodiscard]] FoldedPlan plan_of(const Draft& draft,
                                   const std::vector<const StageAnswer*>& answers);
  /// The line with the layers that tell the choices of all.
  [[nodiscard]] LayerLine line_of(const Draft& draft,
                                  const std::vector<const StageAnswer*>& answers);

  SearchWork& work_;
  LayerTables& tables_;
  StageAnswers answers_;
  /// Of the smallest choice of a stage, by its model, classes of its layers and microbatches in
  /// flight; nothing where there is no choice.
  std::map<std::tuple<const StageModel*, std::vector<int>, int>, std::optional<Bytes>> smallest_;
  std::map<std::string, std::optional<double>> modelled_;
  std::map<int, std::vector<CrossTensor>> cross_;  ///< by microbatches
  std::map<int, Bytes> seen_packing_;  ///< by microbatches: the least of stages that did not fit
  std::map<std::string, std::optional<double>> offered_;
};

}  // namespace alpa
