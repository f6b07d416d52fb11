#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> run_files() {
  const fs::path configs = ALPA_SOURCE_DIR "/configs";
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(configs)) {
    const std::string folder = entry.path().lexically_relative(configs).begin()->string();
    if (folder == "clusters" || folder == "devices") continue;
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  return files;
}

RunConfig read_shipped(const std::string& name) {
  return load_run_config(std::string(ALPA_SOURCE_DIR "/configs/") + name);
}

// A file whose section is not in this version would be refused where it is used, not here.
TEST(ShippedConfigs, AreReadAndPrintedAsTheyAre) {
  const auto files = run_files();
  EXPECT_GE(files.size(), 15U);
  for (const fs::path& file : files) {
    const RunConfig config = load_run_config(file.string());
    EXPECT_EQ(parse_run_config(print_config(config), file.string()), config) << file;
  }
}

/// Type that products need of a device.
DType product_type(const RunConfig& config) {
  switch (config.training.precision) {
    case Precision::fp64:
      return DType::f64;
    case Precision::bf16:
      return DType::bf16;
    case Precision::fp16:
      return DType::f16;
    case Precision::fp32:
    case Precision::tf32:
      break;
  }
  return DType::f32;
}

/// "FILE" of "--cluster FILE" in the comments of a run file; empty without.
std::string cluster_named_in(const fs::path& file) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line) && line.starts_with('#');) {
    const auto at = line.find("--cluster ");
    if (at != std::string::npos) return line.substr(at + 10, line.find(' ', at + 10) - at - 10);
  }
  return "";
}

// Each has a graph, and the cluster that its comment names can compute in its precision.
TEST(ShippedConfigs, HaveAGraphAndAClusterThatRunsIt) {
  int named = 0;
  for (const fs::path& file : run_files()) {
    SCOPED_TRACE(file);
    const RunConfig config = load_run_config(file.string());
    const std::int64_t group = samples_of_group(config.model);
    EXPECT_EQ(config.training.global_batch % group, 0);
    const Graph graph = build_graph(config, group);
    validate(graph);
    EXPECT_GT(num_parameters(graph), 0);
    const std::string cluster = cluster_named_in(file);
    if (cluster.empty()) continue;
    ++named;
    const ClusterSpec spec = cluster_spec(load_cluster(std::string(ALPA_SOURCE_DIR "/") + cluster));
    EXPECT_TRUE(std::any_of(spec.kinds.begin(), spec.kinds.end(), [&](const DeviceKind& kind) {
      return std::any_of(kind.peak_flops.begin(), kind.peak_flops.end(),
                         [&](const auto& peak) { return peak.first == product_type(config); });
    }));
  }
  EXPECT_GE(named, 20);
}

TEST(ShippedClusters, HaveTheDevicesOfTheirNames) {
  std::map<std::string, std::set<int>> sizes;
  for (const auto& entry : fs::directory_iterator(ALPA_SOURCE_DIR "/configs/clusters")) {
    SCOPED_TRACE(entry.path());
    const std::string name = entry.path().stem().string();
    const ClusterSpec spec = cluster_spec(load_cluster(entry.path().string()));
    EXPECT_EQ(spec.name, name);
    const auto dash = name.rfind('-');
    if (dash == std::string::npos) continue;
    EXPECT_EQ(num_devices(spec), std::stoi(name.substr(dash + 1)));
    sizes[name.substr(0, dash)].insert(num_devices(spec));
  }
  const std::set<int> powers = {8, 16, 32, 64, 128, 256, 512, 1024};
  EXPECT_EQ(sizes["dgx-a100"], powers);
  EXPECT_EQ(sizes["dgx-h100"], powers);
  EXPECT_EQ(sizes["dgx-h200"], powers);
  EXPECT_EQ(sizes["p3.16xlarge"], (std::set<int>{1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64}));
  EXPECT_EQ(sizes["mixed-a100-v100"], std::set<int>{20});
  EXPECT_EQ(sizes["laptop-cpu"], std::set<int>{4});
}

/// GPT and MoE were published in fp16 with 1024 samples a step, Wide-ResNet in fp32 with 1536.
TEST(ShippedConfigs, TrainAsPublished) {
  const std::map<std::string, std::vector<std::string>> sizes = {
      {"gpt", {"350m", "1.3b", "2.6b", "6.7b", "15b", "39b", "175b"}},
      {"moe", {"380m", "1.3b", "2.4b", "10b", "27b", "70b"}},
      {"wide_resnet", {"250m", "1b", "2b", "4b", "6.8b", "13b"}}};
  for (const auto& [family, all] : sizes) {
    for (const std::string& size : all) {
      const RunConfig config = read_shipped(family + "/" + family + "-" + size + ".yaml");
      const bool images = family == "wide_resnet";
      EXPECT_EQ(config.training.precision, images ? Precision::fp32 : Precision::fp16) << size;
      EXPECT_EQ(config.training.global_batch, images ? 1536 : 1024) << family << size;
    }
  }
}

/// Parameters L(12 h^2 + 13 h) + (V + T) h + 2 h of a GPT with tied embedding.
std::int64_t gpt_parameters(std::int64_t layers, std::int64_t h, std::int64_t vocabulary) {
  return layers * (12 * h * h + 13 * h) + (vocabulary + 1024) * h + 2 * h;
}

TEST(ShippedConfigs, HoldThePublishedNumbersOfParameters) {
  const std::map<std::string, std::int64_t> published = {
      {"gpt/gpt-350m", 355'788'800},
      {"gpt/gpt-1.3b", 1'315'557'376},
      {"gpt/gpt-2.6b", 2'651'345'920},
      {"gpt/gpt-6.7b", 6'658'072'576},
      {"gpt/gpt-15b", 15'370'086'400},
      {"gpt/gpt-39b", 39'087'652'864},
      {"gpt/gpt-175b", 174'603'264'000},
      {"transformer-24x1024", 355'788'800},
      {"gpt/gpt2-medium", gpt_parameters(24, 1024, 50257)},
      {"gpt/gpt2-large", gpt_parameters(36, 1280, 50257)},
  };
  for (const auto& [name, parameters] : published) {
    const RunConfig config = read_shipped(name + ".yaml");
    const Graph graph = build_graph(config, 1);
    EXPECT_EQ(num_parameters(graph), parameters) << name;
    EXPECT_EQ(config.training.global_batch, name.find("gpt2") == std::string::npos ? 1024 : 512);
    const auto& shape = std::get<TransformerConfig>(config.model.shape);
    EXPECT_EQ(shape.sequence, 1024) << name;
    EXPECT_TRUE(shape.tied_embedding) << name;
  }
}

}  // namespace
}  // namespace alpa
