#pragma once

#include "alpa/graph/training.hpp"

namespace alpa {

/// Adds the operators that change one parameter, and its states, from the gradient of the whole
/// step in the parameter's dtype. They stand where the builder stands.
void add_update(GraphBuilder& builder, TensorId parameter, TensorId gradient,
                const OptimizerSpec& optimizer);

}  // namespace alpa
