#pragma once

#include <random>
#include <string>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/methods.hpp"

#include "law/models.hpp"

/// What the tests of the intra-mesh model share.
namespace alpa::test {

/// One host, on which launches, bytes and links all matter.
inline ClusterSpec one_host(int devices) {
  ClusterSpec cluster;
  cluster.kinds.resize(1);
  cluster.kinds[0].peak_flops = {
      {DType::f32, 1e11}, {DType::f64, 1e11}, {DType::bf16, 2e11}, {DType::f16, 2e11}};
  cluster.kinds[0].memory_bandwidth = 1e10;
  cluster.kinds[0].launch = {1e-7};
  cluster.hosts.push_back({0, devices, {{1e-6}, 1e9}});
  return cluster;
}

/// A cluster that prices a logical mesh directly; compute is free.
inline ClusterSpec priced_axes(const std::vector<AxisCost>& axes, int devices) {
  ClusterSpec cluster = one_host(devices);
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  cluster.kinds[0].peak_flops = {{DType::f32, kInfinite}, {DType::f64, kInfinite}};
  cluster.kinds[0].memory_bandwidth = kInfinite;
  cluster.kinds[0].launch = {0.0};
  cluster.axes = axes;
  return cluster;
}

inline MeshCosts costs_of(const ClusterSpec& cluster, const DeviceMesh& mesh, int first = 0) {
  std::vector<int> devices;
  for (int d = 0; d < num_devices(mesh); ++d) devices.push_back(first + d);
  return {cluster, devices, mesh};
}

inline double total(const StageTimes& t) {
  return (t.prepare + t.forward + t.backward + t.reduce + t.update).value;
}

}  // namespace alpa::test
