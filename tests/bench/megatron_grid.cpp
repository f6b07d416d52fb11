#include "bench/megatron_grid.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"

#include "hand_strategies.hpp"

namespace alpa {
namespace {

struct Degrees {
  int data, tensor, pipeline, microbatches;
  double bound;  ///< seconds that no such plan is below
};

class Grid {
 public:
  Grid(const RunConfig& config, const ClusterSpec& cluster) : config_(config), cluster_(cluster) {}

  [[nodiscard]] std::vector<Degrees> points() {
    std::vector<Degrees> points;
    const int devices = num_devices(cluster_);
    const auto batch = static_cast<int>(config_.training.global_batch);
    for (int data = 1; data <= devices; ++data) {
      for (int tensor = 1; devices % data == 0 && tensor <= devices / data; ++tensor) {
        if (devices / data % tensor != 0) continue;
        const int pipeline = devices / data / tensor;
        for (int count = 1; count <= batch / data; ++count) {
          if (batch % count != 0 || graph(count).num_layers < pipeline) continue;
          Degrees d{data, tensor, pipeline, count, 0.0};
          d.bound = least_time(d);
          points.push_back(d);
        }
      }
    }
    std::sort(points.begin(), points.end(),
              [](const Degrees& a, const Degrees& b) { return a.bound < b.bound; });
    return points;
  }

  [[nodiscard]] GridPoint price_of(const Degrees& d) {
    MethodRequest request;
    request.parallel.method = Method::megatron;
    request.parallel.data = d.data;
    request.parallel.tensor = d.tensor;
    request.parallel.pipeline = d.pipeline;
    request.parallel.microbatches = d.microbatches;
    request.parallel.schedule = PipelineSchedule::one_forward_one_backward;
    request.world_size = num_devices(cluster_);
    request.global_batch = config_.training.global_batch;
    const Graph& of = graph(d.microbatches);
    GridPoint point{d.data, d.tensor, d.pipeline, d.microbatches, {}, {}};
    point.plan = plan_by_method(request, [&](std::int64_t) { return of; });
    HandAxes axes;
    axes.zero = 1;
    if (d.data > 1) axes.data = 0;
    if (d.tensor > 1) axes.tensor = d.data > 1 ? 1 : 0;
    for (StagePlan& stage : point.plan.stages) {
      stage.strategies.clear();
      choose_by_hand(stage, of, axes);
    }
    validate(point.plan, of);
    point.price = price(of, point.plan, cluster_, no_workspace);
    return point;
  }

  /// Bytes that the fullest device is short of; 0 where the plan fits.
  [[nodiscard]] Bytes missing(const GridPoint& point) const {
    Bytes most{0};
    for (std::size_t s = 0; s < point.plan.stages.size(); ++s) {
      for (const int rank : point.plan.stages[s].ranks) {
        const Bytes room =
            config_.parallel.memory_limit.value_or(capacity(kind_of(cluster_, rank)));
        most = std::max(most, point.price.arenas[s] - room);
      }
    }
    return most;
  }

 private:
  const Graph& graph(int microbatches) {
    auto& known = graphs_[microbatches];
    if (!known) {
      known = std::make_unique<Graph>(
          build_graph(config_, config_.training.global_batch / microbatches));
    }
    return *known;
  }

  /// Products split evenly over all devices of a stage: the share of the peak that a product
  /// reaches never falls with its size, so that less evenly split ones take longer. B microbatches
  /// of t_s in stage s take at least sum_{j<i} t_j + B t_i for each i, and with the weights that
  /// give all t_s the same coefficient, sum t_s / (1 - (1 - 1/B)^S).
  double least_time(const Degrees& d) {
    double seconds = 0.0;
    for (const DeviceKind& kind : cluster_.kinds) {
      double here = 0.0;
      for (const Operator& op : graph(d.microbatches).operators) {
        if (op.phase != Phase::forward && op.phase != Phase::backward) continue;
        const Flops piece{flops_of(op).value / (d.data * d.tensor)};
        if (piece.value <= 0.0) continue;
        double rate = 0.0;
        for (const auto& [dtype, peak] : kind.peak_flops) {
          if (dtype == DType::f32 || dtype == product_type()) rate = std::max(rate, peak);
        }
        here += piece.value / (rate * product_share(kind, piece));
      }
      seconds = seconds == 0.0 ? here : std::min(seconds, here);
    }
    return seconds / (1.0 - std::pow(1.0 - 1.0 / d.microbatches, d.pipeline));
  }

  [[nodiscard]] DType product_type() const {
    if (config_.training.precision == Precision::bf16) return DType::bf16;
    return config_.training.precision == Precision::fp16 ? DType::f16 : DType::f32;
  }

  const RunConfig& config_;
  const ClusterSpec& cluster_;
  std::map<int, std::unique_ptr<Graph>> graphs_;
};

}  // namespace

GridResult best_of_megatron_grid(const RunConfig& config, const ClusterSpec& cluster) {
  Grid grid(config, cluster);
  const std::vector<Degrees> points = grid.points();
  GridResult result;
  result.plans = static_cast<int>(points.size());
  for (const Degrees& d : points) {
    if (result.best && d.bound >= result.best->price.step_time.value) break;
    GridPoint point = grid.price_of(d);
    ++result.priced;
    if (const Bytes missing = grid.missing(point); missing > Bytes{0}) {
      result.least_missing = std::min(result.least_missing.value_or(missing), missing);
      continue;
    }
    ++result.fit;
    if (!result.best || point.price.step_time < result.best->price.step_time) {
      result.best = std::move(point);
    }
  }
  return result;
}

}  // namespace alpa
