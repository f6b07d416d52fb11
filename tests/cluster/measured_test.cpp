#include <cmath>

#include <gtest/gtest.h>

#include "alpa/cluster/cluster_file.hpp"
#include "alpa/cluster/cluster_spec.hpp"

namespace alpa {
namespace {

ClusterSpec measured() {
  return cluster_spec(
      load_cluster(std::string(ALPA_SOURCE_DIR) + "/tests/config/good_clusters/measured.yaml"));
}

TEST(MeasuredCluster, ItsFileAndItselfAreOneValue) {
  const ClusterSpec cluster = measured();
  ASSERT_EQ(cluster.hosts.size(), 2U);
  EXPECT_EQ(cluster.hosts[1].shared_cores, 2.0);
  EXPECT_EQ(cluster.kinds.at(0).kernels.size(), 4U);
  EXPECT_EQ(cluster.collectives.size(), 3U);
  const std::string text = print_cluster(cluster_config(cluster));
  EXPECT_EQ(cluster_spec(parse_cluster(text, "printed.yaml")), cluster) << text;
}

TEST(MeasuredCluster, EveryShippedClusterComesBackEqual) {
  for (const char* name : {"axis4", "mixed-a100-v100-20", "p3.16xlarge-64"}) {
    const ClusterSpec cluster = cluster_spec(load_cluster(
        std::string(ALPA_SOURCE_DIR) + "/tests/config/good_clusters/" + name + ".yaml"));
    EXPECT_EQ(cluster_spec(cluster_config(cluster)), cluster) << name;
  }
}

TEST(MeasuredKernels, TablesOfTwoIntensitiesMeetBetweenThem) {
  const DeviceKind kind = measured().kinds[0];
  const auto time = [&](double flops, double per_byte) {
    const Bytes moved{static_cast<std::int64_t>(flops / per_byte)};
    return kernel_time(kind, "einsum.nn", DType::f32, {flops}, moved)->value;
  };
  EXPECT_DOUBLE_EQ(time(1e8, 2.0), 4e-3);    // below the least: as its bytes there
  EXPECT_DOUBLE_EQ(time(1e8, 100.0), 1e-3);  // above the most: as it
  EXPECT_NEAR(time(1e8, 16.0), std::sqrt(2e-3 * 1e-3), 1e-9);
  EXPECT_DOUBLE_EQ(time(2e8, 100.0), 2e-3);  // in proportion beyond the last point
}

TEST(MeasuredKernels, WhatHasNoTableFollowsTheRoofline) {
  const DeviceKind kind = measured().kinds[0];
  EXPECT_EQ(kernel_time(kind, "einsum.tt", DType::f32, {1e9}, {1000}),
            kernel_time(kind, DType::f32, {1e9}, {1000}));
  EXPECT_DOUBLE_EQ(kernel_time(kind, "map.gelu", DType::f32, {0}, {1'000'000})->value, 1.5e-4);
}

}  // namespace
}  // namespace alpa
