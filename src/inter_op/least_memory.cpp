#include "least_memory.hpp"

#include <algorithm>

#include "layer_tables.hpp"
#include "stage_solver.hpp"

namespace alpa {

void search_least_memory(SearchWork& work) {
  LayerTables tables(work);
  StageSolver solver(work, tables);
  const auto [fewest, most] = work.stage_counts();
  for (const int microbatches :
       {work.microbatch_counts().back(), work.microbatch_counts().front()}) {
    for (int stages = fewest; stages <= most; stages = stages < 2 ? stages + 1 : stages * 2) {
      const int size = work.devices() / stages;
      Draft draft;
      draft.microbatches = microbatches;
      draft.schedule = work.schedules(stages, microbatches).front();
      if (draft.schedule == PipelineKind::one_f_one_b) draft.warm_up = work.warm_up(stages);
      for (int s = 0; s < stages; ++s) {
        draft.stages.push_back({work.layers() * s / stages, work.layers() * (s + 1) / stages - 1,
                                s * size, DeviceMesh{}});
      }
      const auto placed = [&](const DraftStage& stage) {
        const auto sizes = submesh_sizes(work.cluster(), stage.first_device);
        return std::find(sizes.begin(), sizes.end(), size) != sizes.end();
      };
      if (!std::all_of(draft.stages.begin(), draft.stages.end(), placed)) continue;
      for (const DeviceMesh& mesh : work.meshes(size)) {
        if (work.request().stop.stop_requested()) return;
        for (DraftStage& stage : draft.stages) stage.mesh = mesh;
        solver.offer_smallest(draft);
      }
    }
  }
}

}  // namespace alpa
