#include "neighbours.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "drafts.hpp"
#include "warm_up.hpp"

namespace alpa {
namespace {

/// Stages first..last, which have the same mesh, share out their layers evenly with one more on
/// devices that are idle. Nothing where there is no room or a stage behind them fits no more.
/// Example: layers 9-13 14-18 on 8 devices each, 8 idle: 9-12 13-15 16-18.
std::optional<Draft> with_one_more(SearchWork& work, const Draft& draft, std::size_t first,
                                   std::size_t last) {
  const int size = num_devices(draft.stages[last].mesh);
  const DraftStage& end = draft.stages.back();
  const auto stages = static_cast<int>(draft.stages.size()) + 1;
  const int layers = draft.stages[last].last_layer - draft.stages[first].first_layer + 1;
  const auto among = static_cast<int>(last - first) + 2;
  const bool idle = end.first_device + num_devices(end.mesh) + size <= work.devices();
  if (!idle || stages > work.stage_counts().second || layers < among) return std::nullopt;
  Draft more = draft;
  more.stages.insert(more.stages.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                     draft.stages[last]);
  for (std::size_t s = last + 1; s < more.stages.size(); ++s) {
    DraftStage& stage = more.stages[s];
    stage.first_device += size;
    const std::vector<int> sizes = submesh_sizes(work.cluster(), stage.first_device);
    if (std::find(sizes.begin(), sizes.end(), num_devices(stage.mesh)) == sizes.end()) {
      return std::nullopt;
    }
  }
  int layer = draft.stages[first].first_layer;
  for (int k = 0; k < among; ++k) {
    DraftStage& stage = more.stages[first + static_cast<std::size_t>(k)];
    stage.first_layer = layer;
    layer += (layers + among - 1 - k) / among;
    stage.last_layer = layer - 1;
  }
  if (more.schedule == PipelineKind::one_f_one_b) more.warm_up = work.warm_up(stages);
  return more;
}

/// The same of runs of stages on equal meshes, with and without those at their ends, which may do
/// more than their layers.
void add_stages(SearchWork& work, const Draft& draft, std::vector<Draft>& all) {
  for (std::size_t begin = 0, end = 0; begin < draft.stages.size(); begin = end) {
    while (end < draft.stages.size() && draft.stages[end].mesh == draft.stages[begin].mesh) ++end;
    for (const std::size_t first : {begin, begin + 1}) {
      for (const std::size_t behind : {end, end - 1}) {
        if (first >= behind) continue;
        if (auto more = with_one_more(work, draft, first, behind - 1)) {
          all.push_back(std::move(*more));
        }
      }
    }
  }
}

}  // namespace

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
  add_stages(work, draft, all);
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
