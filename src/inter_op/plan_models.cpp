#include "alpa/inter_op/plan_models.hpp"

#include <map>
#include <string>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/intra_op/stage_model.hpp"
#include "alpa/lowering/border.hpp"
#include "alpa/simulate/message_times.hpp"

#include "drafts.hpp"
#include "folded_plan.hpp"
#include "stage_points.hpp"

namespace alpa {

struct PlanModels::Made {
  struct OfCount {
    OfCount(const Graph& g, const LayerLine& line)
        : graph(g), index(index_of(graph, line)), cross(cross_tensors(graph, line)) {}
    Graph graph;
    std::shared_ptr<const intra_op::GraphIndex> index;
    std::vector<CrossTensor> cross;
    std::map<std::string, StageModel> models;
  };

  const ClusterSpec& cluster;
  std::optional<LayerLine> line;
  std::map<int, OfCount> counts;

  const StageModel& model(OfCount& of, int microbatches, const StagePlan& stage) {
    const MeshCosts costs(cluster, stage.ranks, stage.mesh);
    const auto known = of.models.find(costs.key());
    if (known != of.models.end()) return known->second;
    return of.models.emplace(costs.key(), StageModel(of.graph, costs, microbatches, {}, of.index))
        .first->second;
  }
};

PlanModels::PlanModels(const ClusterSpec& cluster, std::optional<LayerLine> line)
    : made_(new Made{cluster, std::move(line), {}}) {}
PlanModels::~PlanModels() = default;

ModelledPlan PlanModels::of(const Graph& graph, const Plan& plan) {
  const int count = plan.num_microbatches;
  const LayerLine line = made_->line.value_or(LayerLine(graph.num_layers));
  auto& kept = made_->counts.try_emplace(count, graph, line).first->second;
  const Draft draft = draft_of(plan);
  std::vector<StageSide> sides;
  for (const StagePlan& stage : plan.stages) sides.push_back(side_of(stage, kept.graph));
  const CrossTraffic traffic = cross_traffic(kept.graph, kept.cross, sides, table_shape(draft));
  ModelledPlan found;
  std::vector<StageTimes> times;
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const DraftStage& layers = draft.stages[s];
    const StageModel& model = made_->model(kept, count, plan.stages[s]);
    if (!line.is_whole() &&
        !model.chooses_alike(layers.first_layer, layers.last_layer, plan.stages[s])) {
      found.known = false;
      return found;
    }
    const StageAnswer answer =
        model.evaluate(layers.first_layer, layers.last_layer, plan.stages[s], {});
    times.push_back(answer.figures.times);
    found.memory.push_back(memory_of(answer.figures, in_flight(draft, s)) + traffic.buffers(s));
  }
  const MessageTimes messages = message_times(traffic.messages, made_->cluster);
  found.step_time = {modelled_price(made_->cluster, draft, times, messages.transfers)};
  found.step_time += messages.once;
  return found;
}

Plan for_all_layers(const Plan& found, const Graph& graph, const LayerLine& line,
                    const Graph& whole) {
  FoldedPlan alike{found, line};  // the stages of a method choose alike
  alike.plan.stages.resize(1);
  alike.plan.stages.front().chunks = {{0, graph.num_layers - 1}};
  Plan plan = found;
  plan.graph_fingerprint = fingerprint(whole);
  plan.recompute = whole.recompute;
  for (StagePlan& stage : plan.stages) {
    stage.strategies.clear();
    stage.retention.clear();
  }
  return with_choices_of(alike, graph, std::move(plan), whole, LayerLine(whole.num_layers));
}

}  // namespace alpa
