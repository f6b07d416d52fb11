#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"

/// Random joint planning problems that are small enough to price every plan there is.
namespace alpa::enumeration {

/// A model, a cluster and what operators and tensors may choose from.
struct SmallProblem {
  std::uint64_t seed = 0;
  std::int64_t global_batch = 4;
  std::map<std::int64_t, Graph> graphs;  ///< by microbatch
  /// Of every layer; unset: each layer has its own.
  std::optional<Recompute> recompute = Recompute::none;
  ClusterSpec cluster;
  /// By operator and mesh ("name [2, 2]"): all it may do there.
  std::map<std::string, std::vector<Strategy>> strategies;
  std::map<std::string, std::vector<Retention>> retentions;  ///< by tensor

  [[nodiscard]] std::vector<Strategy> allowed(const Operator& op, const DeviceMesh& mesh) const;
  [[nodiscard]] std::vector<Retention> allowed(const Tensor& tensor) const;
  /// The graph of plans with this recomputation.
  [[nodiscard]] Graph graph_of(std::int64_t microbatch,
                               const std::vector<Recompute>& recompute) const;
  /// All that plans may compute again, by layer; operators have no attention.
  [[nodiscard]] std::vector<std::vector<Recompute>> recomputations() const;
};

/// Deterministic in the seed. `free_choices` bounds how many operators and tensors have a choice.
[[nodiscard]] SmallProblem small_problem(std::uint64_t seed, int free_choices);

/// One plan with its price and the bytes of its largest arena.
struct PricedCandidate {
  Plan plan;
  double price = 0.0;
  std::int64_t arena = 0;
};

/// Every plan of the declared space that the problem allows, each lowered, priced and packed:
/// microbatches, what each layer computes again, schedules, cuts, runs of devices (any inside a
/// host, whole hosts beyond, idle ones last), logical meshes, strategies, retentions. Nothing if
/// there are more than `limit`.
[[nodiscard]] std::optional<std::vector<PricedCandidate>> enumerate(const SmallProblem& problem,
                                                                    std::size_t limit);

}  // namespace alpa::enumeration
