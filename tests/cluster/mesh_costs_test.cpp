#include "alpa/cluster/mesh_costs.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace alpa {
namespace {

std::vector<int> first_devices(int count, int from = 0) {
  std::vector<int> devices;
  for (int i = 0; i < count; ++i) devices.push_back(from + i);
  return devices;
}

/// Hosts of four devices.
ClusterSpec hosts(int count) {
  ClusterSpec spec;
  spec.kinds.resize(1);
  spec.kinds[0].peak_flops = {{DType::f32, 1e12}};
  spec.kinds[0].memory_bandwidth = 1e10;
  spec.hosts.assign(static_cast<std::size_t>(count), Host{0, 4, {{1e-6}, 1e11}});
  spec.inter_host = {{1e-5}, 1e10};
  return spec;
}

constexpr Bytes kSize{1 << 20};

TEST(MeshCosts, GroupsThatCrossSideBySideShareTheHostsLink) {
  const ClusterSpec spec = hosts(2);
  const MeshCosts costs(spec, first_devices(8), {{2, 4}});
  EXPECT_EQ(costs.all_reduce(kSize, {1}), ring_all_reduce_time(kSize, 4, {{1e-6}, 1e11}));
  EXPECT_EQ(costs.all_reduce(kSize, {0}), ring_all_reduce_time(kSize, 2, {{1e-5}, 2.5e9}));
  EXPECT_EQ(costs.all_gather(kSize, {0, 1}), ring_all_gather_time(kSize, 8, {{1e-5}, 1e10}));
  const MeshCosts one_a_host(spec, {0, 4}, {{2}});
  EXPECT_EQ(one_a_host.all_to_all(kSize, {0}), all_to_all_time(kSize, 2, Link{{1e-5}, 1e10}));
}

TEST(MeshCosts, AxesOfOneDeviceCostNothing) {
  ClusterSpec spec = hosts(1);
  const MeshCosts costs(spec, first_devices(4), {{1, 4}});
  EXPECT_EQ(costs.all_reduce(kSize, {0}).value, 0.0);
  EXPECT_EQ(costs.all_reduce(kSize, {0, 1}), costs.all_reduce(kSize, {1}));
  spec.axes = {{1.0, 1.0}, {2.0, 1.0}};
  EXPECT_EQ(MeshCosts(spec, first_devices(4), {{1, 4}}).all_reduce(kSize, {0}).value, 0.0);
}

/// The header's example: over axes {0, 1} of a mesh {2, 4}, N over axis 1, then N/4 over axis 0.
TEST(MeshCosts, AxesOfTheClusterStandInPlaceOfLinks) {
  ClusterSpec spec = hosts(2);
  spec.axes = {{1e-3, 1e-9}, {1e-4, 1e-10}};
  const MeshCosts costs(spec, first_devices(8), {{2, 4}});
  const Bytes quarter{kSize.value / 4};
  EXPECT_EQ(costs.all_reduce(kSize, {0}), all_reduce_time(kSize, 2, spec.axes[0]));
  EXPECT_EQ(costs.all_reduce(kSize, {0, 1}),
            all_reduce_time(kSize, 4, spec.axes[1]) + all_reduce_time(quarter, 2, spec.axes[0]));
  EXPECT_EQ(costs.all_gather(kSize, {0, 1}), costs.reduce_scatter(kSize, {0, 1}));
  // An AxisCost counts what the group holds together, 4 times what a device holds.
  EXPECT_DOUBLE_EQ(costs.all_to_all(kSize, {1}).value,
                   1e-4 + 1e-10 * 0.75 * static_cast<double>(kSize.value));
}

/// Planner's reference values: alpha = beta = 1 on an axis of 4.
TEST(MeshCosts, ReferenceValuesOfALogicalMesh) {
  ClusterSpec spec = hosts(1);
  spec.axes = {{1.0, 1.0}};
  const MeshCosts costs(spec, first_devices(4), {{4}});
  EXPECT_DOUBLE_EQ(2 * costs.all_reduce({4 * 128 * 128}, {0}).value, 196'610);
  EXPECT_DOUBLE_EQ(costs.all_reduce({4 * 128 * 1024}, {0}).value, 786'433);
}

TEST(MeshCosts, KernelsAreThoseOfTheSlowestDevice) {
  ClusterSpec spec = hosts(2);
  spec.kinds.push_back(spec.kinds[0]);
  spec.kinds[1].memory_bandwidth = 1e9;
  spec.kinds[1].memory = {1 << 30};
  spec.kinds[1].reserve = {1 << 20};
  spec.kinds[1].peak_flops.clear();
  spec.hosts[1].kind = 1;
  const MeshCosts fast(spec, first_devices(4), {{4}});
  const MeshCosts both(spec, first_devices(8), {{8}});
  EXPECT_DOUBLE_EQ(fast.kernel("map.add", DType::f32, {0}, {1'000'000}).value, 1e-4);
  EXPECT_DOUBLE_EQ(both.kernel("map.add", DType::f32, {0}, {1'000'000}).value, 1e-3);
  EXPECT_DOUBLE_EQ(fast.kernel("einsum", DType::f32, {1e12}, {1}).value, 1.0);
  EXPECT_EQ(both.kernel("einsum", DType::f32, {1e12}, {1}).value,
            std::numeric_limits<double>::infinity());
  EXPECT_EQ(both.capacity(), (Bytes{(1 << 30) - (1 << 20)}));
}

TEST(MeshCosts, EqualMeshesOfEqualHostsHaveEqualKeys) {
  const ClusterSpec spec = hosts(3);
  const auto key = [&](const std::vector<int>& devices, const DeviceMesh& mesh) {
    return MeshCosts(spec, devices, mesh).key();
  };
  EXPECT_EQ(key(first_devices(4), {{4}}), key(first_devices(4, 8), {{4}}));
  EXPECT_EQ(key(first_devices(2), {{2}}), key(first_devices(2, 6), {{2}}));
  EXPECT_NE(key(first_devices(4), {{4}}), key(first_devices(4), {{2, 2}}));
  EXPECT_NE(key(first_devices(4), {{4}}), key(first_devices(4, 2), {{4}}));  // on two hosts
}

CollectiveTable table(int ranks, int of_hosts, std::vector<std::pair<double, double>> points) {
  return {"all_reduce", ranks, of_hosts, std::move(points)};
}

TEST(MeasuredTime, IsTheTableWhereThereIsOne) {
  ClusterSpec spec = hosts(2);
  spec.collectives = {table(4, 1, {{100, 1.0}, {300, 2.0}})};
  const auto time = [&](int ranks, int of_hosts, std::int64_t size) {
    return measured_time(spec, "all_reduce", ranks, of_hosts, {size});
  };
  EXPECT_EQ(time(4, 1, 1)->value, 1.0);      // constant below
  EXPECT_EQ(time(4, 1, 200)->value, 1.5);    // linear between
  EXPECT_EQ(time(4, 1, 3000)->value, 20.0);  // in proportion above
  EXPECT_FALSE(time(4, 2, 100).has_value());
  EXPECT_FALSE(measured_time(spec, "all_gather", 4, 1, {100}).has_value());
  const MeshCosts costs(spec, first_devices(8), {{2, 4}});
  EXPECT_EQ(costs.all_reduce({200}, {1}).value, 1.5);
  EXPECT_EQ(costs.all_reduce({200}, {0}), ring_all_reduce_time({200}, 2, {{1e-5}, 2.5e9}));
}

TEST(MeasuredTime, BetweenTablesIsLinearInTheRanks) {
  ClusterSpec spec = hosts(2);
  spec.collectives = {table(2, 1, {{100, 1.0}}), table(6, 1, {{100, 3.0}})};
  EXPECT_DOUBLE_EQ(measured_time(spec, "all_reduce", 3, 1, {100})->value, 1.5);
  EXPECT_DOUBLE_EQ(measured_time(spec, "all_reduce", 4, 1, {200})->value, 4.0);
}

/// Tables of a ring, used for another number of ranks, give the ring's times.
TEST(MeasuredTime, BeyondTheTablesFollowsARing) {
  const Link link{{1e-6}, 1e9};
  ClusterSpec spec = hosts(2);
  std::vector<std::pair<double, double>> points{{1e-9, ring_all_reduce_time({0}, 4, link).value}};
  for (const std::int64_t size : {1'000, 1'000'000}) {
    points.emplace_back(size, ring_all_reduce_time({size}, 4, link).value);
  }
  spec.collectives = {table(4, 1, points)};
  for (const int ranks : {2, 3, 8, 16}) {
    for (const std::int64_t size : {10, 1'000, 50'000}) {
      EXPECT_NEAR(measured_time(spec, "all_reduce", ranks, 1, {size})->value /
                      ring_all_reduce_time({size}, ranks, link).value,
                  1.0, 1e-9)
          << ranks << " ranks, " << size << " bytes";
    }
  }
}

TEST(MeasuredTime, NeverFallsWithBytesNorRanks) {
  ClusterSpec spec = hosts(2);
  spec.collectives = {table(2, 1, {{10, 1.0}, {100, 2.0}, {1000, 10.0}}),
                      table(4, 1, {{10, 2.0}, {100, 3.0}, {1000, 16.0}}),
                      table(8, 1, {{10, 5.0}, {100, 6.0}, {1000, 20.0}})};
  for (int ranks = 2; ranks < 20; ++ranks) {
    double last = 0.0;
    for (const std::int64_t size : {1, 10, 50, 100, 500, 1000, 5000}) {
      const double time = measured_time(spec, "all_reduce", ranks, 1, {size})->value;
      EXPECT_GE(time, last);
      EXPECT_GE(measured_time(spec, "all_reduce", ranks + 1, 1, {size})->value, time);
      last = time;
    }
  }
}

}  // namespace
}  // namespace alpa
