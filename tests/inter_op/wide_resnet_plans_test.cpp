#include <string>

#include <gtest/gtest.h>

#include "inter_op/search_models.hpp"

/// What the search chooses for convolutions is what their sizes say: the batch where activations
/// are large, channels where weights are.
namespace alpa::search_tests {
namespace {

GraphOfMicrobatch wide_resnet(std::int64_t channels, std::int64_t group) {
  return [channels, group](std::int64_t microbatch) {
    ModelConfig model = preset_defaults(Preset::wide_resnet);
    WideResnetConfig shape{.layers = 14,
                           .channels = channels,
                           .width = 2,
                           .image = 64,
                           .classes = 10,
                           .batch_norm = {}};
    shape.batch_norm.group = group;
    model.shape = shape;
    ModelOptions options;
    options.microbatch = microbatch;
    options.global_batch = 8;
    return build_graph(model, OptimizerConfig{}, options);
  };
}

/// Letters that the strategy of an operator splits.
std::string split_letters(const Plan& plan, const std::string& name) {
  std::string letters;
  for (const AxisUse& use : plan.stages.at(0).strategies.at(name).uses) letters += use.factor;
  return letters;
}

TEST(WideResnetPlans, SplitTheBatchFirstAndChannelsWhereWeightsAreLarge) {
  for (const int devices : {4, 8}) {
    SCOPED_TRACE(std::to_string(devices) + " devices");
    SearchRequest request = request_of(wide_resnet(32, 8), cluster(1, devices), 8);
    request.samples_of_group = 8;
    request.constraints.microbatches = 1;
    request.constraints.stages = 1;
    const SearchResult found = search(request);
    ASSERT_TRUE(found.plan.has_value());
    // 8 images of 32 x 32 pixels against 7 x 7 x 3 x 32 weights; 8 of 2 x 2 against 9 x 256 x 512.
    for (const char* early : {"stem.convolution", "layers.0.1.convolution"}) {
      const std::string letters = split_letters(*found.plan, early);
      EXPECT_NE(letters.find('b'), std::string::npos) << early << ": " << letters;
      if (devices == 4) {
        EXPECT_EQ(letters.find_first_not_of('b'), std::string::npos) << early << ": " << letters;
      }
    }
    for (const char* late : {"layers.3.2.convolution", "layers.3.3.convolution"}) {
      EXPECT_NE(split_letters(*found.plan, late).find_first_of("co"), std::string::npos)
          << late << ": " << split_letters(*found.plan, late);
    }
    const double data = price_of(request, methods(request).at(0)).step_time.value;
    EXPECT_LT(found.price.step_time.value, data);
  }
}

}  // namespace
}  // namespace alpa::search_tests
