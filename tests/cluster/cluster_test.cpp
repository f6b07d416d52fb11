#include <algorithm>
#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/cluster/cluster_file.hpp"
#include "alpa/cluster/mesh.hpp"

namespace alpa {
namespace {

const Link kLink{{1e-6}, 1e9};

TEST(CollectiveCost, TheHeadersExample) {
  EXPECT_DOUBLE_EQ(ring_all_reduce_time({1'000'000}, 4, kLink).value, 6e-6 + 1.5e-3);
  EXPECT_DOUBLE_EQ(ring_all_gather_time({1'000'000}, 4, kLink).value, 3e-6 + 0.75e-3);
  EXPECT_EQ(ring_all_reduce_time({1'000'000}, 1, kLink).value, 0.0);
}

TEST(CollectiveCost, AllReduceIsReduceScatterThenAllGather) {
  for (const int n : {1, 2, 3, 8, 64}) {
    const Bytes size{12'345};
    EXPECT_DOUBLE_EQ(
        ring_all_reduce_time(size, n, kLink).value,
        (ring_reduce_scatter_time(size, n, kLink) + ring_all_gather_time(size, n, kLink)).value);
  }
}

TEST(CollectiveCost, GrowsWithBytes) {
  for (const auto time : {ring_all_reduce_time, ring_all_gather_time, ring_reduce_scatter_time}) {
    Seconds last{0};
    for (const std::int64_t bytes : {1, 100, 10'000, 1'000'000}) {
      const Seconds now = time({bytes}, 8, kLink);
      EXPECT_GT(now, last);
      last = now;
    }
  }
}

/// Reference values of the planner: batch 1024, width 128, 4-byte floats, an axis of 4 with
/// alpha = beta = 1: two all-reduces of a 4 H^2 byte gradient cost 196,610; batch 128, width 1024:
/// one all-reduce of 4 B H bytes costs 786,433.
TEST(CollectiveCost, PricesALogicalMeshDirectly) {
  const AxisCost one{1.0, 1.0};
  EXPECT_DOUBLE_EQ(2 * all_reduce_time({4 * 128 * 128}, 4, one).value, 196'610);
  EXPECT_DOUBLE_EQ(all_reduce_time({4 * 128 * 1024}, 4, one).value, 786'433);
  EXPECT_DOUBLE_EQ(all_to_all_time({1600}, 4, one).value, 1 + 1600 * 0.75 / 4);
}

ClusterSpec two_hosts() {
  ClusterSpec spec;
  spec.kinds.resize(1);
  spec.hosts.assign(2, Host{0, 4, {{1e-6}, 1e11}});
  spec.inter_host = {{1e-5}, 1e10};
  return spec;
}

TEST(Links, GroupsThatCrossShareTheHostsLink) {
  const ClusterSpec spec = two_hosts();
  EXPECT_EQ(link_of_groups(spec, {{0, 1, 2, 3}, {4, 5, 6, 7}}).bandwidth, 1e11);
  EXPECT_EQ(link_of_groups(spec, {{0, 4}, {1, 5}, {2, 6}, {3, 7}}).bandwidth, 2.5e9);
  EXPECT_EQ(link_of_groups(spec, {{0, 1, 2, 3, 4, 5, 6, 7}}).bandwidth, 1e10);
  EXPECT_EQ(link_of_groups(spec, {{0, 4}}).latency.value, 1e-5);
  EXPECT_EQ(link_between(spec, 0, 3).bandwidth, 1e11);
  EXPECT_EQ(link_between(spec, 3, 4).bandwidth, 1e10);
}

TEST(KernelTime, IsARoofline) {
  DeviceKind kind;
  kind.peak_flops = {{DType::f32, 1e12}};
  kind.memory_bandwidth = 1e9;
  kind.launch = {1e-6};
  kind.product_efficiency = {{1e6, 0.25}, {1e8, 0.75}};
  EXPECT_DOUBLE_EQ(product_share(kind, {1e3}), 0.25);
  EXPECT_DOUBLE_EQ(product_share(kind, {1e7}), 0.5);
  EXPECT_DOUBLE_EQ(product_share(kind, {1e12}), 0.75);
  EXPECT_DOUBLE_EQ(kernel_time(kind, DType::f32, {1e12}, {1})->value, 1 / 0.75 + 1e-6);
  EXPECT_DOUBLE_EQ(kernel_time(kind, DType::f32, {0}, {1'000'000})->value, 1e-3 + 1e-6);
  EXPECT_FALSE(kernel_time(kind, DType::f16, {1}, {1}).has_value());
}

TEST(ClusterFile, EveryShippedClusterIsRead) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(ALPA_SOURCE_DIR "/configs/clusters")) {
    const ClusterSpec spec = cluster_spec(load_cluster(entry.path().string()));
    const std::string stem = entry.path().stem().string();
    EXPECT_EQ(std::to_string(num_devices(spec)),
              stem.substr(stem.find_last_not_of("0123456789") + 1))
        << stem;
    EXPECT_EQ(spec.kinds.size(), stem.starts_with("mixed") ? 2U : 1U) << stem;
    EXPECT_EQ(host_of(spec, num_devices(spec) - 1), static_cast<int>(spec.hosts.size()) - 1);
    ++files;
  }
  EXPECT_GE(files, 37);
}

TEST(DeviceMesh, GroupsOfTheHeadersExample) {
  const DeviceMesh mesh{{2, 4}};
  EXPECT_EQ(coordinates(mesh, 6), (std::vector<int>{1, 2}));
  EXPECT_EQ(device_at(mesh, {1, 2}), 6);
  EXPECT_EQ(devices_along(mesh, 6, {0}), (std::vector<int>{2, 6}));
  EXPECT_EQ(devices_along(mesh, 6, {1}), (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(devices_along(mesh, 6, {0, 1}).size(), 8U);
}

}  // namespace
}  // namespace alpa
