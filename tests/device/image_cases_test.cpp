#include "device/cases.hpp"

namespace alpa::test {
namespace {

using enum Content;

const Argument kImages{"byxc"}, kWeight{"klco"}, kOutputs{"bhwo"}, kPooled{"bhwc"};

}  // namespace

void add_images(std::vector<Case>& cases) {
  for (const Window& window : {Window{.stride = 1, .padding = 1}, Window{.stride = 2, .padding = 1},
                               Window{.stride = 2}, Window{}}) {
    const std::string name =
        " stride " + std::to_string(window.stride) + " padding " + std::to_string(window.padding);
    cases.push_back({"convolution" + name, Convolution{window}, {kImages, kWeight}, {kOutputs}});
    cases.push_back({"convolution_gradient_input" + name,
                     ConvolutionGradientInput{window},
                     {kOutputs, kWeight},
                     {kImages}});
    cases.push_back({"convolution_gradient_weight" + name,
                     ConvolutionGradientWeight{window},
                     {kImages, kOutputs},
                     {kWeight}});
  }
  for (const Window& window : {Window{.size = 3, .stride = 2, .padding = 1},
                               Window{.size = 2, .stride = 2}, Window{.size = 3, .stride = 1}}) {
    const std::string name = " " + std::to_string(window.size);
    cases.push_back({"max_pool" + name, MaxPool{window}, {kImages}, {kPooled, {"bhwc", places}}});
    cases.push_back({"max_pool_gradient" + name,
                     MaxPoolGradient{window},
                     {kPooled, {"bhwc", places}},
                     {kImages}});
    cases.push_back({"average_pool" + name, AveragePool{window}, {kImages}, {kPooled}});
    cases.push_back(
        {"average_pool_gradient" + name, AveragePoolGradient{window}, {kPooled}, {kImages}});
  }
}

std::optional<Window> window_of(const Kernel& kernel) {
  return std::visit(
      [](const auto& k) -> std::optional<Window> {
        if constexpr (requires { k.window; }) return k.window;
        return std::nullopt;
      },
      kernel);
}

void fit_windows(const Case& each, Sizes& sizes) {
  const auto window = window_of(each.kernel);
  if (!window) return;
  const auto fit = [&](char in, char out, char side) {
    std::int64_t length = window->size;
    if (sizes.contains(side)) {
      length = std::max(sizes.at(side).full % 4, window->padding + 1);
      sizes[side] = {0, length, length};
    }
    const std::int64_t extent = sizes.at(in).full + length;
    const std::int64_t places = (extent + 2 * window->padding - length) / window->stride + 1;
    sizes[in] = {0, extent, extent};
    sizes[out] = {0, places, places};
  };
  fit('y', 'h', 'k');
  fit('x', 'w', 'l');
}

}  // namespace alpa::test
