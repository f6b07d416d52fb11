#pragma once

#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// A plan for a line of layers, told of some of them: of a run of layers that are alike and choose
/// alike in one chunk, a few stand for all. Its chunks, its names and what is computed again are of
/// the graph that holds those layers.
struct FoldedPlan {
  Plan plan;
  LayerLine line;
};

/// The line of which as few layers are kept as programs need to be counted by (see count_steps).
/// @param kinds of its layers; equal ones are alike, choose alike and are in one chunk. All layers
///   are kept where few could be left out.
[[nodiscard]] LayerLine counted_line(const std::vector<int>& kinds);

/// What is computed again in the layers of the line.
[[nodiscard]] std::vector<Recompute> recompute_of(const FoldedPlan& folded);
/// What of it is, in the layers that a graph of another line holds.
[[nodiscard]] std::vector<Recompute> kept_of(const std::vector<Recompute>& of_line,
                                             const LayerLine& line);

/// Whether some tensors are not kept as they are by default.
[[nodiscard]] bool keeps_unusually(const Plan& plan);

/// The plan with other stages or for a graph of other layers: each layer chooses as it did.
/// @param graph of folded.line
/// @param to stages with chunks, ranks and meshes, of the graph `other`; the choices are filled in
/// @param other of the layers that `line`, of the same length, keeps
/// @pre no arrivals are given
[[nodiscard]] Plan with_choices_of(const FoldedPlan& folded, const Graph& graph, Plan to,
                                   const Graph& other, const LayerLine& line);

/// The plan for all layers, but for the fingerprint.
/// @param whole graph that holds them; nothing need be computed again in it unless the plan keeps
///   tensors unusually
[[nodiscard]] Plan unfolded(const FoldedPlan& folded, const Graph& graph, const Graph& whole);

}  // namespace alpa
