#pragma once

#include <span>
#include <string>

#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/program/program.hpp"

namespace alpa {

/// A plan for people: what each stage holds, on which ranks, how it is split; then per device of
/// each stage (the largest of its ranks) memory by class, FLOPs and bytes sent by kind in a step.
/// @param ranks totals of the step program of each world rank
[[nodiscard]] std::string plan_table(const Plan& plan, const Graph& graph,
                                     std::span<const ProgramTotals> ranks);

/// What a stage computes again, by runs of its layers: "attention 5, full 0-3"; "-" for nothing.
[[nodiscard]] std::string recompute_text(const Plan& plan, const StagePlan& stage);

/// What a plan computes again: "full in 12 of 24 layers, attention in 3"; empty for nothing.
[[nodiscard]] std::string recompute_text(const Plan& plan);

/// How a stage splits an index of the products (einsums) of its forward pass: the number of pieces
/// and the mesh axes, major first. "2@0", "4@01"; "-" where it is whole or no product has it,
/// "1..2" where products differ in number, "2" where they differ in axes.
[[nodiscard]] std::string split_text(const StagePlan& stage, const Graph& graph, char letter);

}  // namespace alpa
