#include <algorithm>
#include <limits>

#include "alpa/inter_op/search.hpp"

#include "drafts.hpp"
#include "search_work.hpp"
#include "stage_solver.hpp"

namespace alpa {
namespace {

/// Equal numbers of layers and of devices a stage; nothing where such stages have no place.
std::optional<Draft> even_draft(SearchWork& work, int microbatches, int stages,
                                const DeviceMesh& mesh) {
  const int size = num_devices(mesh);
  Draft draft;
  draft.microbatches = microbatches;
  draft.schedule = work.schedules(stages, microbatches).front();
  if (draft.schedule == PipelineKind::one_f_one_b) draft.warm_up = work.warm_up(stages);
  for (int s = 0; s < stages; ++s) {
    const int first = s * size;
    if (first + size > work.devices()) return std::nullopt;
    const auto sizes = submesh_sizes(work.cluster(), first);
    if (std::find(sizes.begin(), sizes.end(), size) == sizes.end()) return std::nullopt;
    draft.stages.push_back(
        {work.layers() * s / stages, work.layers() * (s + 1) / stages - 1, first, mesh});
  }
  return draft;
}

bool each_has_a_strategy(SearchWork& work, int microbatches, const DeviceMesh& mesh) {
  const auto& allowed = work.request().constraints.stage.strategies;
  if (!allowed) return true;
  const auto& operators = work.graph(microbatches).operators;
  return std::all_of(operators.begin(), operators.end(), [&](const Operator& op) {
    const auto some = allowed(op, mesh);
    return !some || !some->empty();
  });
}

std::vector<DeviceMesh> meshes_of(SearchWork& work, int stages) {
  const auto& given = work.request().constraints.logical_mesh;
  if (given) return {DeviceMesh{*given}};
  return work.meshes(work.devices() / stages);
}

}  // namespace

bool has_plan(const SearchRequest& request) {
  SearchWork work(request);
  LayerTables tables(work);
  StageSolver solver(work, tables);
  const auto [fewest, most] = work.stage_counts();
  for (const int microbatches : work.microbatch_counts()) {
    for (int stages = fewest; stages <= most; ++stages) {
      for (const DeviceMesh& mesh : meshes_of(work, stages)) {
        const auto draft = even_draft(work, microbatches, stages, mesh);
        if (!draft || !each_has_a_strategy(work, microbatches, mesh)) continue;
        if (request.stop.stop_requested()) return true;  // not known: left to the search
        solver.offer_smallest(*draft, Bytes{std::numeric_limits<std::int64_t>::max()});
        if (work.least_memory_plan()) return true;
      }
    }
  }
  return false;
}

}  // namespace alpa
