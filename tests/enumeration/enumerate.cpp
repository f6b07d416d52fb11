#include <algorithm>
#include <functional>

#include "alpa/simulate/price.hpp"

#include "enumeration/small_problem.hpp"

namespace alpa::enumeration {
namespace {

/// A stage before its operators have chosen.
struct Frame {
  int first_layer = 0, last_layer = 0, first_device = 0;
  DeviceMesh mesh;
};

std::vector<DeviceMesh> logical_meshes(int devices) {
  std::vector<DeviceMesh> meshes{{{devices}}};
  for (int rows = 2; rows * 2 <= devices; ++rows) {
    if (devices % rows == 0) meshes.push_back({{rows, devices / rows}});
  }
  return meshes;
}

/// Devices first .. first + count - 1 lie inside a host or are whole hosts.
bool is_submesh(const ClusterSpec& cluster, int first, int count) {
  if (host_of(cluster, first) == host_of(cluster, first + count - 1)) return true;
  int begin = 0;
  bool begins = false;
  bool ends = false;
  for (const Host& host : cluster.hosts) {
    begins = begins || begin == first;
    begin += host.devices;
    ends = ends || begin == first + count;
  }
  return begins && ends;
}

class Enumeration {
 public:
  Enumeration(const SmallProblem& problem, std::size_t limit) : problem_(problem), limit_(limit) {}

  std::optional<std::vector<PricedCandidate>> run() {
    for (const auto& [microbatch, plain] : problem_.graphs) {
      for (const auto& recompute : problem_.recomputations()) {
        const Graph graph = problem_.graph_of(microbatch, recompute);
        graph_ = &graph;
        microbatches_ = static_cast<int>(problem_.global_batch / microbatch);
        add_stages(0, 0);
      }
    }
    if (too_many_) return std::nullopt;
    return std::move(found_);
  }

 private:
  void add_stages(int layer, int device) {
    if (too_many_) return;
    if (layer == graph_->num_layers) {
      schedules();
      return;
    }
    const int devices = num_devices(problem_.cluster);
    for (int last = layer; last < graph_->num_layers; ++last) {
      for (int count = 1; device + count <= devices; ++count) {
        if (!is_submesh(problem_.cluster, device, count)) continue;
        for (const DeviceMesh& mesh : logical_meshes(count)) {
          frames_.push_back({layer, last, device, mesh});
          add_stages(last + 1, device + count);
          frames_.pop_back();
        }
      }
    }
  }

  void schedules() {
    Plan plan;
    plan.method = "auto";
    plan.graph_fingerprint = fingerprint(*graph_);
    plan.world_size = num_devices(problem_.cluster);
    plan.num_microbatches = microbatches_;
    plan.recompute = graph_->recompute;
    for (const Frame& frame : frames_) {
      StagePlan stage;
      stage.chunks = {{frame.first_layer, frame.last_layer}};
      stage.mesh = frame.mesh;
      for (int d = 0; d < num_devices(frame.mesh); ++d)
        stage.ranks.push_back(frame.first_device + d);
      plan.stages.push_back(stage);
    }
    choose_operators(plan, 0);
    if (microbatches_ == 1) return;  // the same order
    plan.schedule = PipelineKind::one_f_one_b;
    choose_depths(plan);
  }

  /// Non-increasing, S - s to 2(S - s) - 1; beyond the number of microbatches nothing changes.
  void choose_depths(Plan& plan) {
    const auto left = static_cast<int>(plan.stages.size() - plan.warm_up.size());
    if (left == 0) {
      choose_operators(plan, 0);
      return;
    }
    int most = std::max(left, std::min(2 * left - 1, microbatches_));
    if (!plan.warm_up.empty()) most = std::min(most, plan.warm_up.back());
    for (int depth = left; depth <= most; ++depth) {
      plan.warm_up.push_back(depth);
      choose_depths(plan);
      plan.warm_up.pop_back();
    }
  }

  void choose_operators(Plan& plan, std::size_t index) {
    if (too_many_) return;
    if (index == graph_->operators.size()) {
      choose_retentions(plan, 0);
      return;
    }
    const Operator& op = graph_->operators[index];
    if (op.copy_of.valid()) {
      choose_operators(plan, index + 1);
      return;
    }
    StagePlan& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
    for (const Strategy& strategy : problem_.allowed(op, stage.mesh)) {
      stage.strategies[op.name] = strategy;
      choose_operators(plan, index + 1);
    }
  }

  /// Retention matters where a tensor lies on several devices.
  void choose_retentions(Plan& plan, std::size_t index) {
    if (too_many_) return;
    if (index == graph_->tensors.size()) {
      price_one(plan);
      return;
    }
    const Tensor& tensor = graph_->tensors[index];
    StagePlan& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, tensor.layer))];
    if (!problem_.retentions.contains(tensor.name) || num_devices(stage.mesh) == 1) {
      choose_retentions(plan, index + 1);
      return;
    }
    for (const Retention retention : problem_.allowed(tensor)) {
      stage.retention[tensor.name] = retention;
      choose_retentions(plan, index + 1);
    }
    stage.retention.erase(tensor.name);
  }

  void price_one(const Plan& plan) {
    if (found_.size() == limit_) {
      too_many_ = true;
      return;
    }
    const PlanPrice priced = price(*graph_, plan, problem_.cluster, no_workspace);
    std::int64_t arena = 0;
    for (const StageMemory& stage : stage_memory(*graph_, plan, no_workspace)) {
      arena = std::max(arena, stage.arena.value);
    }
    found_.push_back({plan, priced.step_time.value, arena});
  }

  const SmallProblem& problem_;
  std::size_t limit_;
  const Graph* graph_ = nullptr;
  int microbatches_ = 1;
  std::vector<Frame> frames_;
  std::vector<PricedCandidate> found_;
  bool too_many_ = false;
};

}  // namespace

std::optional<std::vector<PricedCandidate>> enumerate(const SmallProblem& problem,
                                                      std::size_t limit) {
  return Enumeration(problem, limit).run();
}

}  // namespace alpa::enumeration
