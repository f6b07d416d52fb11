#include "neighbours.hpp"

#include <algorithm>
#include <set>

#include "drafts.hpp"
#include "warm_up.hpp"

namespace alpa {

std::vector<Draft> neighbours(SearchWork& work, const Draft& given) {
  std::vector<Draft> all;
  const auto stages = static_cast<int>(given.stages.size());
  // Others begin with the least depth, which leaves choices room, and go as deep as there is
  // memory.
  Draft draft = given;
  if (given.schedule == PipelineKind::one_f_one_b) draft.warm_up = work.warm_up(stages);
  if (draft != given) all.push_back(draft);
  for (std::size_t s = 1; s < draft.stages.size(); ++s) {
    for (const int step : {-1, 1}) {
      Draft moved = draft;
      moved.stages[s - 1].last_layer += step;
      moved.stages[s].first_layer += step;
      const auto holds = [](const DraftStage& stage) {
        return stage.first_layer <= stage.last_layer;
      };
      if (holds(moved.stages[s - 1]) && holds(moved.stages[s])) all.push_back(std::move(moved));
    }
  }
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    for (const DeviceMesh& mesh : work.meshes(num_devices(draft.stages[s].mesh))) {
      Draft other = draft;
      other.stages[s].mesh = mesh;
      if (other != draft) all.push_back(std::move(other));
    }
  }
  std::set<int> sizes;
  for (const DraftStage& stage : draft.stages) sizes.insert(num_devices(stage.mesh));
  for (const int size : sizes) {
    for (const DeviceMesh& mesh : work.meshes(size)) {
      Draft other = draft;
      for (DraftStage& stage : other.stages) {
        if (num_devices(stage.mesh) == size) stage.mesh = mesh;
      }
      if (other != draft) all.push_back(std::move(other));
    }
  }
  const auto& counts = work.microbatch_counts();
  const auto now = std::find(counts.begin(), counts.end(), draft.microbatches);
  const auto with_count = [&](int count) {
    Draft other = draft;
    other.microbatches = count;
    const auto schedules = work.schedules(stages, count);
    if (std::find(schedules.begin(), schedules.end(), draft.schedule) == schedules.end()) {
      other.schedule = schedules.front();
      other.warm_up.clear();
      if (other.schedule == PipelineKind::one_f_one_b) other.warm_up = work.warm_up(stages);
    }
    all.push_back(std::move(other));
  };
  if (now != counts.begin() && now != counts.end()) with_count(*(now - 1));
  if (now != counts.end() && now + 1 != counts.end()) with_count(*(now + 1));
  for (const PipelineKind schedule : work.schedules(stages, draft.microbatches)) {
    if (schedule == draft.schedule) continue;
    Draft other = draft;
    other.schedule = schedule;
    other.warm_up.clear();
    if (schedule == PipelineKind::one_f_one_b) other.warm_up = work.warm_up(stages);
    all.push_back(std::move(other));
  }
  // Choices that leave room for all depth there may be.
  if (draft.schedule == PipelineKind::one_f_one_b && work.deepens()) {
    Draft deep = draft;
    deep.warm_up = useful_warm_up(stages, draft.microbatches);
    if (deep != given) all.push_back(std::move(deep));
  }
  return all;
}

}  // namespace alpa
