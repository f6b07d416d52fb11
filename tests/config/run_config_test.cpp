#include "alpa/config/run_config.hpp"

#include <filesystem>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "config/test_files.hpp"

namespace alpa {
namespace {

const TransformerConfig& transformer(const RunConfig& config) {
  return std::get<TransformerConfig>(config.model.shape);
}

RunConfig parse(const std::string& text, const std::vector<std::string>& arguments = {}) {
  return parse_run_config(text, "run.yaml", arguments);
}

class GoodFile : public testing::TestWithParam<std::string> {};

TEST_P(GoodFile, PrintedAndReadAgainIsEqual) {
  const RunConfig config = load_run_config(GetParam());
  const std::string printed = print_config(config);
  const RunConfig again = parse_run_config(printed, "another_name.yaml");
  EXPECT_EQ(again, config) << printed;
  EXPECT_EQ(print_config(again), printed);
}

// A truncated file is a smaller configuration or a list of mistakes, never anything else.
TEST_P(GoodFile, EveryTruncationIsReadOrRefused) {
  const std::string text = read_text_file(GetParam(), 1 << 20);
  int refused = 0;
  for (std::size_t length = 0; length < text.size(); length += 7) {
    try {
      (void)parse_run_config(text.substr(0, length), "truncated.yaml");
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::configuration);
      EXPECT_EQ(std::string(error.what()).rfind("truncated.yaml:", 0), 0U) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
}

INSTANTIATE_TEST_SUITE_P(All, GoodFile, testing::ValuesIn(yaml_files("good")), file_test_name);

class GoodCluster : public testing::TestWithParam<std::string> {};

TEST_P(GoodCluster, PrintedAndReadAgainIsEqual) {
  const ClusterConfig cluster = load_cluster(GetParam());
  const std::string printed = print_cluster(cluster);
  EXPECT_EQ(parse_cluster(printed, "elsewhere/c.yaml"), cluster) << printed;
}

INSTANTIATE_TEST_SUITE_P(All, GoodCluster, testing::ValuesIn(yaml_files("good_clusters")),
                         file_test_name);

// The quickstart shows every default, so saying nothing means the same.
TEST(RunConfig, QuickstartShowsTheDefaults) {
  const RunConfig shown = load_run_config(config_test_folder() + "/good/quickstart.yaml");
  EXPECT_EQ(parse_run_config("model: {}\n", "quickstart.yaml"), shown);
  RunConfig defaults;
  defaults.output = "runs/quickstart";
  EXPECT_EQ(defaults, shown);
}

TEST(RunConfig, ArgumentsWinOverFileOverSizeOverPreset) {
  const std::string file = "model: {preset: gpt, size: 1.3B, layers: 12}\n";
  const RunConfig config = parse(file, {"model.heads=16"});
  EXPECT_EQ(transformer(config).hidden, 2048);  // size
  EXPECT_EQ(transformer(config).feed_forward, 8192);
  EXPECT_EQ(transformer(config).layers, 12);    // file
  EXPECT_EQ(transformer(config).heads, 16);     // argument
  EXPECT_EQ(transformer(config).dropout, 0.1);  // default
  EXPECT_EQ(transformer(parse(file, {"model.size=350M"})).hidden, 1024);
  EXPECT_EQ(transformer(parse("model: {preset: llama}")).norm, Norm::rms);
}

TEST(RunConfig, FeedForwardFollowsHidden) {
  EXPECT_EQ(transformer(parse("model: {hidden: 64}")).feed_forward, 256);
  EXPECT_EQ(transformer(parse("model: {hidden: 64, feed_forward: 100}")).feed_forward, 100);
}

TEST(RunConfig, ArgumentsReachIntoLists) {
  const std::string file = "data: {text: [x, y]}\n";
  EXPECT_EQ(parse(file, {"data.text.0=a"}).data.text, (std::vector<std::string>{"a", "y"}));
  EXPECT_EQ(parse(file, {"data.text.2=z"}).data.text, (std::vector<std::string>{"x", "y", "z"}));
  EXPECT_EQ(parse(file, {"data.text=[q]"}).data.text, (std::vector<std::string>{"q"}));
  // of a default that the file does not write
  EXPECT_EQ(parse("model: {}", {"optimizer.betas.1=0.95"}).optimizer.betas[1], 0.95);
  EXPECT_EQ(parse("model: {}", {"optimizer.betas.1=0.95"}).optimizer.betas[0], 0.9);
  // a later argument wins, a mapping takes the place of a word
  EXPECT_EQ(parse("training: {on_nonfinite: stop}",
                  {"training.on_nonfinite.skip=3", "training.on_nonfinite.skip=4"})
                .training.skip_nonfinite,
            4);
}

TEST(RunConfig, UnitsAndWords) {
  const RunConfig config = parse(
      "parallel: {memory_limit: 1.5GiB}\n"
      "training: {time_limit: 90min, clip_norm: none, evaluate: {every: never, samples: 12},\n"
      "  profile: [2, 3], on_nonfinite: {skip: 7}, watchdog: 0}\n"
      "checkpoint: {every: 100, expected_failures: 6h}\n");
  EXPECT_EQ(config.parallel.memory_limit, Bytes{1610612736});
  EXPECT_EQ(config.training.time_limit, (decltype(TrainingConfig::time_limit)(Seconds{5400.0})));
  EXPECT_FALSE(config.training.clip_norm);
  EXPECT_FALSE(config.training.evaluate.every);
  EXPECT_EQ(config.training.evaluate.samples, 12);
  EXPECT_EQ(config.training.profile, (std::pair<std::int64_t, std::int64_t>(2, 3)));
  EXPECT_EQ(config.training.skip_nonfinite, 7);
  EXPECT_EQ(config.training.watchdog, Seconds{0.0});
  EXPECT_EQ(std::get<std::int64_t>(config.checkpoint.every), 100);
  EXPECT_EQ(config.checkpoint.expected_failures, Seconds{21600.0});
  EXPECT_EQ(parse(print_config(config)), config);
}

TEST(RunConfig, WeightDecayIsADefaultOfAdamwOnly) {
  EXPECT_EQ(parse("optimizer: {name: adamw}").optimizer.weight_decay, 0.1);
  EXPECT_EQ(parse("optimizer: {name: momentum}").optimizer.weight_decay, 0.0);
  EXPECT_EQ(parse("optimizer: {name: sgd, weight_decay: 0.2}").optimizer.weight_decay, 0.2);
}

TEST(RunConfig, SyntheticDataTakesTheSizesOfTheModel) {
  const RunConfig mlp =
      parse("model: {preset: mlp, features: 512, classes: 10}\ndata: {source: synthetic}\n");
  EXPECT_EQ(mlp.data.synthetic.features, 512);
  EXPECT_EQ(mlp.data.synthetic.classes, 10);
  const RunConfig gpt = parse("data: {source: synthetic}\n");
  EXPECT_EQ(gpt.data.synthetic.kind, SyntheticKind::tokens);
  EXPECT_EQ(gpt.data.synthetic.vocabulary, 256);
  EXPECT_EQ(gpt.data.synthetic.sequence, 64);
}

TEST(RunConfig, LayersAreAnOrderedTree) {
  const RunConfig config = load_run_config(config_test_folder() + "/good/custom_layers.yaml");
  const auto& layers = std::get<CustomConfig>(config.model.shape).layers;
  ASSERT_EQ(layers.size(), 3U);
  EXPECT_EQ(std::get<LinearLayer>(layers[0].layer), (LinearLayer{.out = 512}));
  const auto& repeat = std::get<RepeatLayer>(layers[1].layer);
  EXPECT_EQ(repeat.count, 6);
  const auto& residual = std::get<ResidualLayer>(repeat.block.at(0).layer);
  ASSERT_EQ(residual.body.size(), 3U);
  EXPECT_EQ(std::get<LinearLayer>(residual.body[1].layer).activation, Activation::gelu);
}

TEST(RunConfig, LayoutsKeepTheirOrder) {
  const RunConfig config = parse("parallel: {layouts: {\"*.qkv\": \"h@1 b@0\", \"*\": \"b@0\"}}");
  ASSERT_EQ(config.parallel.layouts.size(), 2U);
  EXPECT_EQ(config.parallel.layouts[0].first, "*.qkv");
  EXPECT_EQ(parse(print_config(config)), config);
}

TEST(RunConfig, ClusterIsAWordAFileOrItsContent) {
  EXPECT_TRUE(std::holds_alternative<DetectCluster>(parse("cluster: detect").cluster));
  EXPECT_EQ(std::get<ClusterFile>(parse("cluster: a/b.yaml").cluster).path, "a/b.yaml");
  const RunConfig config = parse(
      "cluster: {name: c, hosts: [{count: 1, devices: 1, device: {name: d, peak_flops: {fp32: "
      "1.0e+12}, memory: 1GiB, reserve: 0, memory_bandwidth: 1.0e+10, launch: 0}}]}");
  EXPECT_EQ(std::get<ClusterConfig>(config.cluster).hosts[0].device.peak_flops.fp32, 1e12);
  EXPECT_EQ(parse(print_config(config)), config);
}

TEST(RunConfig, MissingFileSaysWhichAndWhy) {
  try {
    (void)load_run_config("no/such.yaml");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::input_missing);
    EXPECT_STREQ(error.what(), "no/such.yaml: cannot be read: No such file or directory");
  }
}

}  // namespace
}  // namespace alpa
