#include <filesystem>
#include <map>

#include <gtest/gtest.h>

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
