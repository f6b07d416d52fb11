#include "alpa/probe/probe.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/cluster/cluster_file.hpp"
#include "alpa/graph/kernel_work.hpp"

namespace alpa {
namespace {

constexpr int kPatience = 60'000;

ProbeRequest request(DType dtype = DType::f32) {
  ProbeRequest request;
  request.dtype = dtype;
  request.threads = 1;
  request.usable_cores = 2.0;
  request.memory_per_rank = Bytes{std::int64_t{1} << 28U};
  return request;
}

/// What each rank found.
std::vector<ClusterSpec> probe_ranks(int ranks, const ProbeRequest& asked) {
  std::vector<ClusterSpec> found(static_cast<std::size_t>(ranks));
  run_ranks(ranks, kPatience, [&](Communicator& world) {
    const auto device = make_cpu_device(1);
    found[static_cast<std::size_t>(world.rank())] = probe(world, *device, asked);
  });
  return found;
}

void expect_rising(const std::vector<std::pair<double, double>>& points, const std::string& what) {
  ASSERT_FALSE(points.empty()) << what;
  for (std::size_t i = 0; i < points.size(); ++i) {
    EXPECT_TRUE(std::isfinite(points[i].second) && points[i].second > 0.0) << what;
    if (i == 0) continue;
    EXPECT_GT(points[i].first, points[i - 1].first) << what;
    EXPECT_GE(points[i].second, points[i - 1].second) << what;
  }
}

class ProbeOnRanks : public testing::TestWithParam<int> {};

TEST_P(ProbeOnRanks, EveryRankFindsTheSameFiniteRisingTables) {
  const int ranks = GetParam();
  const std::vector<ClusterSpec> found = probe_ranks(ranks, request());
  const ClusterSpec& cluster = found[0];
  for (const ClusterSpec& other : found) EXPECT_EQ(other, cluster);
  EXPECT_EQ(num_devices(cluster), ranks);
  EXPECT_EQ(cluster.hosts.at(0).shared_cores, ranks > 2 ? 2.0 : 0.0);
  for (const KernelTable& table : cluster.kinds.at(0).kernels) {
    expect_rising(table.points, table.kernel);
  }
  for (const CollectiveTable& table : cluster.collectives) {
    expect_rising(table.points, table.kind + " of " + std::to_string(table.ranks));
  }
  EXPECT_EQ(cluster.collectives.empty(), ranks == 1);
  const std::string text = print_cluster(cluster_config(cluster));
  EXPECT_EQ(cluster_spec(parse_cluster(text, "profile.yaml")), cluster);
}

INSTANTIATE_TEST_SUITE_P(All, ProbeOnRanks, testing::Values(1, 2, 4));

TEST(Probe, KnowsEveryKindOfKernelThatTrainingRuns) {
  const ClusterSpec cluster = probe_ranks(1, request())[0];
  const std::vector<Kernel> kernels = {Einsum{"be", "ef", "bf"},
                                       Einsum{"bf", "ef", "be"},
                                       Einsum{"be", "bf", "ef"},
                                       Map{MapOp::gelu, {"bte"}, "bte"},
                                       Reduce{ReduceOp::sum, false, "bte", "e"},
                                       Reduce{ReduceOp::sum, true, "ef", ""},
                                       Attention{},
                                       AttentionGradient{},
                                       NormApply{},
                                       Update{},
                                       Embedding{"ve", "bt", "bte"},
                                       CopyBox{}};
  for (const Kernel& kernel : kernels) {
    const std::string kind = kernel_kind(kernel);
    const auto& tables = cluster.kinds.at(0).kernels;
    EXPECT_TRUE(std::any_of(tables.begin(), tables.end(), [&](const KernelTable& table) {
      return table.kernel == kind;
    })) << kind;
  }
  const DeviceKind& device = cluster.kinds[0];
  EXPECT_GT(device.peak_flops.at(0).second, 0.0);
  EXPECT_GT(device.memory_bandwidth, 0.0);
  EXPECT_GT(device.launch.value, 0.0);
  EXPECT_EQ(device.memory, request().memory_per_rank);
}

TEST(Probe, SlowDevicesMeasureLessNotLonger) {
  const auto start = std::chrono::steady_clock::now();
  run_alone([&](Communicator& world) {
    const auto device = make_reference_device();
    const ClusterSpec cluster = probe(world, *device, request(DType::f64));
    EXPECT_GT(cluster.kinds.at(0).kernels.size(), 40U);
    EXPECT_EQ(cluster.kinds[0].peak_flops.at(0).first, DType::f64);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

std::string key_of(int ranks, const ProbeRequest& asked) {
  std::vector<std::string> keys(static_cast<std::size_t>(ranks));
  run_ranks(ranks, kPatience, [&](Communicator& world) {
    const auto device = make_cpu_device(1);
    keys[static_cast<std::size_t>(world.rank())] = hardware_key(world, *device, asked);
  });
  for (const std::string& key : keys) EXPECT_EQ(key, keys[0]);
  return keys[0];
}

TEST(HardwareKey, ChangesWithWhatMatters) {
  const std::string key = key_of(2, request());
  EXPECT_EQ(key_of(2, request()), key);
  EXPECT_NE(key_of(1, request()), key);
  EXPECT_NE(key_of(2, request(DType::f64)), key);
  ProbeRequest threads = request();
  threads.threads = 2;
  EXPECT_NE(key_of(2, threads), key);
  ProbeRequest cores = request();
  cores.usable_cores = 1.0;
  EXPECT_NE(key_of(2, cores), key);
  ProbeRequest memory = request();  // what is free at the moment does not
  memory.memory_per_rank = Bytes{std::int64_t{1} << 29U};
  EXPECT_EQ(key_of(2, memory), key);
  EXPECT_EQ(key.find_first_of("/ \n"), std::string::npos);
}

class Profiles : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  static std::string text_of(const std::filesystem::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::filesystem::path& file, const std::string& text) {
    std::ofstream(file) << text;
  }

  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("alpa_profiles_" + std::to_string(getpid()));
  const std::filesystem::path file = folder / "a" / "b.yaml";
  const ClusterSpec cluster = cluster_spec(
      load_cluster(std::string(ALPA_SOURCE_DIR) + "/tests/config/good_clusters/measured.yaml"));
};

TEST_F(Profiles, WhatIsSavedIsLoaded) {
  std::string warning = "before";
  EXPECT_FALSE(load_profile(file, &warning));
  EXPECT_EQ(warning, "");  // a first run has no profile
  save_profile(cluster, file);
  EXPECT_EQ(load_profile(file, &warning), cluster);
  EXPECT_EQ(warning, "");
}

TEST_F(Profiles, ADamagedOneIsRefusedWithItsPlace) {
  save_profile(cluster, file);
  const std::string text = text_of(file);
  std::string damaged = text;
  damaged.replace(damaged.find("2.0e-05"), 7, "-2.0000");
  write(file, damaged);
  std::string warning;
  EXPECT_FALSE(load_profile(file, &warning));
  EXPECT_NE(warning.find("b.yaml:"), std::string::npos) << warning;
  EXPECT_NE(warning.find("points[0][1]"), std::string::npos) << warning;
}

// Wherever a file ends too early, it is refused or still a cluster; nothing else happens.
TEST_F(Profiles, HalfAFileNeverCrashes) {
  save_profile(cluster, file);
  const std::string text = text_of(file);
  for (std::size_t length = 0; length < text.size(); length += 7) {
    write(file, text.substr(0, length));
    std::string warning;
    const bool loaded = load_profile(file, &warning).has_value();
    EXPECT_EQ(loaded, warning.empty()) << length;
  }
}

TEST_F(Profiles, AFolderInItsPlaceIsAWarning) {
  std::filesystem::create_directories(file);
  std::string warning;
  EXPECT_FALSE(load_profile(file, &warning));
  EXPECT_NE(warning, "");
  EXPECT_THROW(save_profile(cluster, file), SystemError);
}

TEST(ProfileCache, FollowsTheEnvironment) {
  setenv("XDG_CACHE_HOME", "/x/cache", 1);
  EXPECT_EQ(profile_cache(), "/x/cache/alpa");
  setenv("XDG_CACHE_HOME", "relative", 1);  // as the standard says: ignored
  setenv("HOME", "/home/me", 1);
  EXPECT_EQ(profile_cache(), "/home/me/.cache/alpa");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  EXPECT_EQ(profile_cache(), std::nullopt);
}

}  // namespace
}  // namespace alpa
