#pragma once

#include <string>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/intra_op/stage_model.hpp"

namespace alpa::intra_op {

/// A question in words, on one line: "layers 0-3 on a mesh of 2 x 2 (devices 0-3), 8 microbatches:
/// 8 forward + 8 backward + prepare + reduce + update, at most 1024 bytes with 2 in flight, one
/// layout for all readers of a tensor".
[[nodiscard]] std::string text_of(const StageQuestion& question, const MeshCosts& costs,
                                  int microbatches, bool recomputes);

}  // namespace alpa::intra_op
