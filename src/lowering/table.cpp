#include "alpa/lowering/table.hpp"

#include "alpa/base/error.hpp"

namespace alpa {

Schedule table_of(const Plan& plan) {
  const int stages = static_cast<int>(plan.stages.size());
  switch (plan.schedule) {
    case PipelineKind::gpipe:
      return gpipe(stages, plan.num_microbatches);
    case PipelineKind::one_f_one_b:
      return one_f_one_b(stages, plan.num_microbatches, plan.warm_up);
    case PipelineKind::interleaved:
      return interleaved(stages, chunks_per_stage(plan), plan.num_microbatches);
    case PipelineKind::zero_bubble:
      return zero_bubble(stages, plan.num_microbatches);
  }
  check_failed("known schedule", SourceLine::here());
}

Schedule evaluation_table_of(const Plan& plan) {
  return forward_only(static_cast<int>(plan.stages.size()), plan.num_microbatches,
                      chunks_per_stage(plan));
}

}  // namespace alpa
