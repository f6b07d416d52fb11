#include "alpa/base/error.hpp"
#include "alpa/graph/training.hpp"

namespace alpa {

void add_running_average(GraphBuilder& builder, TensorId statistic, TensorId value,
                         double momentum) {
  const Tensor kept = builder.tensor(statistic);
  ALPA_CHECK(kept.role == Role::parameter && !kept.trained);
  const int layer = builder.layer();
  const Phase phase = builder.phase();
  builder.at(kept.layer, Phase::backward);
  const TensorId sum = builder.add_tensor({kept.name + ".accumulator",
                                           kept.shape,
                                           kept.dtype,
                                           Role::accumulator,
                                           kept.dims,
                                           kept.layer,
                                           {}});
  builder.add_in_place(kept.name + ".accumulate", Accumulate{kept.dims}, {value}, {sum});
  builder.at(kept.layer, Phase::update);
  builder.add_in_place(kept.name + ".update", RunningAverage{kept.dims, momentum},
                       {sum, builder.scalar(scalar_name::kNormSquared, Role::global_scalar)},
                       {statistic});
  builder.at(layer, phase);
}

}  // namespace alpa
