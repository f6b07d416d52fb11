#include "least_memory.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "layer_tables.hpp"
#include "least_bytes.hpp"
#include "stage_solver.hpp"

namespace alpa {
namespace {

/// A draft and the bytes that its fullest device needs at the least.
struct Small {
  Draft draft;
  double bytes = 0.0;
};

/// Equal numbers of layers and devices a stage, with the fewest and the most microbatches.
std::vector<Small> even_drafts(SearchWork& work) {
  std::vector<Small> found;
  const auto [fewest, most] = work.stage_counts();
  for (const int microbatches :
       {work.microbatch_counts().back(), work.microbatch_counts().front()}) {
    const LeastBytes least({&work.graph(microbatches)}, work.line(), microbatches, true);
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
      double bytes = 0.0;
      for (std::size_t s = 0; s < draft.stages.size(); ++s) {
        const DraftStage& stage = draft.stages[s];
        const double all = least.of(stage.first_layer, stage.last_layer, in_flight(draft, s));
        bytes = std::max(bytes, all / size);
      }
      for (const DeviceMesh& mesh : work.meshes(size)) {
        for (DraftStage& stage : draft.stages) stage.mesh = mesh;
        found.push_back({draft, bytes});
      }
    }
  }
  return found;
}

}  // namespace

void search_least_memory(SearchWork& work) {
  LayerTables tables(work);
  StageSolver solver(work, tables);
  std::vector<Small> drafts = even_drafts(work);
  std::stable_sort(drafts.begin(), drafts.end(),
                   [](const Small& a, const Small& b) { return a.bytes < b.bytes; });
  for (const Small& small : drafts) {
    if (work.request().stop.stop_requested()) return;
    const Bytes least =
        work.least_memory().value_or(Bytes{std::numeric_limits<std::int64_t>::max()});
    if (small.bytes >= static_cast<double>(least.value)) return;
    solver.offer_smallest(small.draft, least);
  }
}

}  // namespace alpa
