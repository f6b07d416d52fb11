#include <iostream>

#include <gtest/gtest.h>

#include "law/brute_force.hpp"

/// Kernels whose windows move over an image, on pieces of it: every strategy of the rule, with the
/// margins that its layouts say, gives what the whole kernel gives.
namespace alpa::test {
namespace {

struct Image {
  std::int64_t rows, columns, side;
  Window window;
  std::int64_t channels = 3, outputs = 2;
};

const std::vector<Image>& images() {
  static const std::vector<Image> all = {
      {8, 4, 3, {.size = 3, .stride = 1, .padding = 1}},
      {8, 8, 1, {.size = 1, .stride = 1, .padding = 0}},
      {8, 8, 1, {.size = 1, .stride = 2, .padding = 0}},
      {8, 16, 3, {.size = 3, .stride = 2, .padding = 1}},
      {16, 8, 7, {.size = 7, .stride = 2, .padding = 3}},
      {8, 8, 2, {.size = 2, .stride = 2, .padding = 0}},
      {4, 4, 5, {.size = 5, .stride = 1, .padding = 2}},
      {8, 8, 3, {.size = 3, .stride = 1, .padding = 0}},  // other extents: rows stay whole
  };
  return all;
}

Subject subject_of(const Case& each, const Image& image) {
  const auto places = [&](std::int64_t extent) {
    return (extent + 2 * image.window.padding - image.side) / image.window.stride + 1;
  };
  const std::map<char, std::int64_t> extents = {{'b', 2},
                                                {'y', image.rows},
                                                {'x', image.columns},
                                                {'c', image.channels},
                                                {'h', places(image.rows)},
                                                {'w', places(image.columns)},
                                                {'k', image.side},
                                                {'l', image.side},
                                                {'o', image.outputs},
                                                {'v', 4}};
  Subject s{each, {}, {}, false};
  for (const auto& [letter, extent] : extents) s.sizes[letter] = {0, extent, extent};
  std::vector<Shape> operands, results;
  for (const Argument& a : each.operands) operands.push_back(full_of(a.dims, s.sizes));
  for (const Argument& a : each.results) results.push_back(full_of(a.dims, s.sizes));
  s.rule = rule_of(each.kernel, operands, results);
  return s;
}

std::vector<Case> cases_of(const Window& window) {
  return {{"convolution", Convolution{window}, {{"byxc"}, {"klco"}}, {{"bhwo"}}},
          {"input", ConvolutionGradientInput{window}, {{"bhwo"}, {"klco"}}, {{"byxc"}}},
          {"weight", ConvolutionGradientWeight{window}, {{"byxc"}, {"bhwo"}}, {{"klco"}}},
          {"max_pool", MaxPool{window}, {{"byxc"}}, {{"bhwc"}, {"bhwc", Content::ids}}},
          {"max_pool_gradient",
           MaxPoolGradient{window},
           {{"bhwc"}, {"bhwc", Content::ids}},
           {{"byxc"}}},
          {"average_pool", AveragePool{window}, {{"byxc"}}, {{"bhwc"}}},
          {"average_pool_gradient", AveragePoolGradient{window}, {{"bhwc"}}, {{"byxc"}}}};
}

/// Gradients of maxima need places that are some.
void choose_places(Device& device, const Subject& s, Draw& d, std::mt19937_64& random) {
  if (!std::holds_alternative<MaxPoolGradient>(s.each.kernel)) return;
  const Window window = std::get<MaxPoolGradient>(s.each.kernel).window;
  const std::vector<Argument> image{{"byxc"}};
  const auto x = make(image, s.sizes, DType::f64, random);
  const auto pooled = run(device, MaxPool{window}, x, {d.operands[0], d.operands[1]});
  d.operands[1] = pooled[1];
  d.expected = run(device, s.each.kernel, d.operands, d.initial);
}

/// Checks all strategies; returns how many of them cut an image.
int check(Device& device, const Subject& s, const DeviceMesh& mesh, DType dtype = DType::f64) {
  std::mt19937_64 random(7);
  Draw d = draw(device, s, random, dtype);
  choose_places(device, s, d, random);
  int cut_images = 0;
  for (const Strategy& strategy : all_strategies(s.rule, mesh)) {
    const auto layout = apply_strategy(s.rule, strategy, mesh).layout;
    EXPECT_TRUE(layout.has_value());
    if (!layout) continue;
    std::vector<ShardingSpec> specs = layout->operands;
    specs.insert(specs.end(), layout->results.begin(), layout->results.end());
    const Outputs outputs = run_pieces(device, s, d, mesh, specs, random);
    for (std::size_t r = 0; r < layout->results.size(); ++r) {
      EXPECT_TRUE(stands_for(outputs, r, d.expected[r], layout->results[r], mesh))
          << s.each.name << " " << to_string(strategy) << " result " << r;
    }
    for (const AxisUse& use : strategy.uses) {
      cut_images += use.factor != '\0' && std::string("yxhw").find(use.factor) != std::string::npos;
    }
  }
  return cut_images;
}

TEST(Windows, EveryStrategyWithItsMarginsGivesTheWhole) {
  std::vector<std::unique_ptr<Device>> devices;
  devices.push_back(make_reference_device());
  devices.push_back(make_cpu_device(2));
  std::map<std::string, int> cut;
  for (const auto& device : devices) {
    for (const Image& image : images()) {
      for (const Case& each : cases_of(image.window)) {
        const Subject s = subject_of(each, image);
        for (const DeviceMesh& mesh : {DeviceMesh{{2}}, DeviceMesh{{4}}, DeviceMesh{{2, 2}}}) {
          cut[each.name] += check(*device, s, mesh);
        }
      }
    }
  }
  for (const Case& each : cases_of({})) EXPECT_GT(cut[each.name], 100) << each.name;
}

// In fp32 convolutions are the library's. Pieces of odd sizes with margins, up to margins as large
// as the pieces; channels that fill its vectors and channels that do not.
TEST(Windows, PiecesInFp32ThroughTheLibraryGiveTheWhole) {
  const std::vector<Image> odd = {{15, 9, 3, {.size = 3, .stride = 1, .padding = 1}, 5, 7},
                                  {9, 21, 3, {.size = 3, .stride = 1, .padding = 1}, 16, 32},
                                  {30, 18, 3, {.size = 3, .stride = 2, .padding = 1}, 16, 5},
                                  {18, 30, 7, {.size = 7, .stride = 2, .padding = 3}, 3, 16},
                                  {15, 9, 1, {.size = 1, .stride = 1, .padding = 0}, 17, 16},
                                  {6, 9, 5, {.size = 5, .stride = 1, .padding = 2}, 4, 6}};
  const auto device = make_cpu_device(2);
  std::map<std::string, int> cut;
  for (const Image& image : odd) {
    const auto cases = cases_of(image.window);
    for (std::size_t i = 0; i < 3; ++i) {  // the convolution and its two gradients
      SCOPED_TRACE(std::to_string(image.rows) + " rows, side " + std::to_string(image.side));
      const Subject s = subject_of(cases[i], image);
      cut[s.each.name] += check(*device, s, {{3}}, DType::f32);
      if (image.rows == 15) cut[s.each.name] += check(*device, s, {{3, 3}}, DType::f32);
    }
  }
  EXPECT_EQ(cut.size(), 3U);
  for (const auto& [name, times] : cut) EXPECT_GT(times, 30) << name;
}

TEST(Windows, ImagesThatWindowsShrinkStayWhole) {
  const Subject s = subject_of(cases_of(images().back().window).front(), images().back());
  for (const Strategy& strategy : all_strategies(s.rule, {{2}})) {
    for (const AxisUse& use : strategy.uses) EXPECT_NE(use.factor, 'h');
  }
}

}  // namespace
}  // namespace alpa::test
