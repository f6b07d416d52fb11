#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "drafts.hpp"
#include "layer_tables.hpp"
#include "memory_answers.hpp"
#include "search_work.hpp"

namespace alpa {

/// Chooses the operators of stages of drafts within their memory, one by one; each question once.
class StageAnswers {
 public:
  enum class Care { tables, alone };  ///< a stage as the tables say, or chosen by itself

  /// @param tables kept by reference
  StageAnswers(SearchWork& work, LayerTables& tables) : work_(work), tables_(tables) {}

  /// Nothing where no choice fits. Where identical layers are tied, choices follow the tables
  /// unless `care` says otherwise. Lives as long as this.
  [[nodiscard]] const std::optional<StageAnswer>& of(const Draft& draft, std::size_t s,
                                                     Bytes memory, Care care);

  /// No choice of a stage costs less; kForbidden if there is none.  @pre layers are not tied
  [[nodiscard]] double least_cost(const Draft& draft, std::size_t s, Bytes memory);

 private:
  [[nodiscard]] StageQuestion question_of(const Draft& draft, std::size_t s, Bytes memory);
  /// As `follow_tables`, which is asked once for stages that are alike wherever they begin.
  [[nodiscard]] std::optional<StageAnswer> follow_like(const Draft& draft, const DraftStage& stage,
                                                       const StageQuestion& question);
  [[nodiscard]] std::optional<StageAnswer> follow_tables(const Draft& draft,
                                                         const DraftStage& stage,
                                                         const StageQuestion& question);
  [[nodiscard]] std::optional<StageAnswer> follow(const Draft& draft, const DraftStage& stage,
                                                  const StageQuestion& question,
                                                  const Chain& chain);
  [[nodiscard]] std::optional<StageAnswer> solve_mixed(const Draft& draft, const DraftStage& stage,
                                                       const StageQuestion& question);
  /// Of a stage whose layers before `split` are computed again in one way, the others in another.
  [[nodiscard]] const StageModel& model_of(const Draft& draft, const DraftStage& stage,
                                           const std::vector<Recompute>& before,
                                           const std::vector<Recompute>& after, int split);

  /// Answers of one stage whatever its memory, on the lower convex hull of time over bytes, as far
  /// as it was looked at: cheapest first.
  struct Hull {
    std::vector<StageAnswer> points;
    bool has_smallest = false;
  };
  [[nodiscard]] std::optional<StageAnswer> solve_tied(const StageModel& model,
                                                      const StageQuestion& question, Hull& hull);
  static void refine(PricedQuestion& priced, const StageQuestion& question, Hull& hull,
                     std::size_t& fits);

  SearchWork& work_;
  LayerTables& tables_;
  std::map<std::string, Hull> hulls_;
  MemoryAnswers untied_;
  std::map<std::string, std::optional<StageAnswer>> answers_;
  /// Of the first stage of those that are alike: layers and microbatches in flight.
  using FollowKey = std::tuple<int, int, int>;
  struct Followed {
    std::vector<int> kinds;  ///< [layer] equal where all answers of the tables choose alike
    /// Layers like one answer, then like another: both, layers first and last, where those begin.
    std::map<std::tuple<const LineAnswer*, const LineAnswer*, int, int, int>, StageAnswer> mixtures;
    /// By memory: what fits in less as well is the answer there too.
    std::map<FollowKey, std::map<std::int64_t, std::optional<StageAnswer>>> answers;
  };
  std::map<const MeshTables*, Followed> followed_;
  std::map<int, bool> tied_;  ///< by microbatches
};

}  // namespace alpa
