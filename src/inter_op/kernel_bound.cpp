#include "kernel_bound.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "alpa/graph/kernel_work.hpp"

#include "search_work.hpp"

namespace alpa {
namespace {

/// The least that the largest of `devices` pieces of a kernel takes. Infinite if the device cannot
/// run it.
double least_seconds(const DeviceKind& device, const KernelWork& work, double devices) {
  const double flops = work.flops.value / devices;
  const auto moved = static_cast<double>(work.moved.value) / devices;
  double rate = 0.0;
  bool by_flops = false;
  for (const KernelTable& table : device.kernels) {
    if (table.kernel != work.kind || table.dtype != work.dtype) continue;
    by_flops = table.by_flops;
    for (const auto& [amount, seconds] : table.points) rate = std::max(rate, amount / seconds);
  }
  if (rate > 0.0) return (by_flops ? flops : moved) / rate;
  const auto time = kernel_time(device, work.dtype, Flops{flops},
                                Bytes{static_cast<std::int64_t>(std::floor(moved))});
  return time ? time->value : std::numeric_limits<double>::infinity();
}

/// Operators whose kernel every plan runs on the whole of their tensors, at least once.
bool always_runs(const Graph& graph, const Operator& op) {
  if (op.phase == Phase::prepare || op.phase == Phase::reduce) return false;  // may be no kernel
  return op.results.empty() || graph.tensor(op.results.front()).role != Role::global_scalar;
}

KernelWork whole_work(const Graph& graph, const Operator& op) {
  const auto pieces = [&](const std::vector<TensorId>& tensors) {
    std::vector<KernelPiece> all;
    for (const TensorId t : tensors) all.push_back({graph.tensor(t).dtype, graph.tensor(t).shape});
    return all;
  };
  const auto operands = pieces(op.operands);
  const auto results = pieces(op.results);
  return work_of(op.kernel, operands, results, flops_of_pieces(op.rule, operands, results));
}

}  // namespace

KernelBound::KernelBound(const Graph& graph, LayerLine line, const ClusterSpec& cluster,
                         int microbatches)
    : line_(std::move(line)), cluster_(cluster), microbatches_(microbatches) {
  layers_.resize(static_cast<std::size_t>(graph.num_layers));
  std::map<std::tuple<std::string, DType, double, std::int64_t>, int> known;
  for (const Operator& op : graph.operators) {
    if (!always_runs(graph, op)) continue;
    const KernelWork work = whole_work(graph, op);
    const auto [it, is_new] =
        known.try_emplace({work.kind, work.dtype, work.flops.value, work.moved.value},
                          static_cast<int>(works_.size()));
    if (is_new) works_.push_back(work);
    ++layers_[static_cast<std::size_t>(op.layer)][{it->second, op.phase}];
  }
}

std::vector<double> KernelBound::sums(int devices, double forwards, double backwards,
                                      double updates) const {
  std::vector<double> seconds;
  for (const KernelWork& work : works_) {
    double least = std::numeric_limits<double>::infinity();
    for (const DeviceKind& kind : cluster_.kinds) {
      least = std::min(least, least_seconds(kind, work, devices));
    }
    seconds.push_back(std::isfinite(least) ? least : 0.0);
  }
  std::vector<double> of_layer;
  for (const auto& layer : layers_) {
    double all = 0.0;
    for (const auto& [work, count] : layer) {
      const auto& [place, phase] = work;
      const double times = phase == Phase::update     ? updates
                           : phase == Phase::backward ? backwards
                                                      : forwards;
      all += count * times * seconds[static_cast<std::size_t>(place)];
    }
    of_layer.push_back(all);
  }
  std::vector<double> sums{0.0};
  for (int l = 0; l < line_.length(); ++l) {
    sums.push_back(sums.back() + of_layer[static_cast<std::size_t>(line_.like(l))]);
  }
  return sums;
}

double work_bound(SearchWork& work) {
  double least = std::numeric_limits<double>::infinity();
  work.make_graphs({});
  for (const int microbatches : work.microbatch_counts()) {
    const KernelBound kernels(work.graph(microbatches, {}), work.line(), work.cluster(),
                              microbatches);
    // One device reaches the best rates: n of them take no less than an n-th of its time.
    least = std::min(least, kernels.step(1).back() / work.devices());
  }
  return least;
}

}  // namespace alpa
