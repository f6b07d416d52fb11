#pragma once

#include <span>
#include <vector>

#include "alpa/base/recompute.hpp"
#include "alpa/graph/graph.hpp"

namespace alpa {

/// The same choice for every layer, as Plan and Graph hold it: nothing where it is `none`.
[[nodiscard]] std::vector<Recompute> recompute_everywhere(const Graph& graph, Recompute choice);

/// The graph in which backward computes again what `of_layer` says (empty: nothing), instead of
/// reading what forward has made.
///
/// A copy `recomputed.<operator>` of a forward operator stands in `backward`, in the operator's
/// layer, before the first that reads what it makes, `recomputed.<tensor>`; operators of the
/// layer's backward read that. What nothing of backward reads is not made again, nor what operators
/// of other layers read (the layer's border), nor what is changed in place: statistics and sums are
/// taken once. Kernels are the same, so random numbers are. Prepare and forward stay as they are,
/// with their operators' and tensors' ids; new tensors stand at the end.
///
/// Example, one layer x -> a -> b -> y with y read by the next layer:
///
///     none        forward a b y; backward dy(b) db(a) da(x)      keeps a, b, x
///     full        forward a b y; backward a' b' dy(b') db(a') da(x)   keeps x
///
/// @throws PlanError if `of_layer` is neither empty nor of the length of the line of layers
/// @pre nothing of `graph` is computed again yet
[[nodiscard]] Graph with_recomputation(const Graph& graph, std::span<const Recompute> of_layer);

/// The graph that with_recomputation was given.
[[nodiscard]] Graph without_recomputation(const Graph& graph);

}  // namespace alpa
