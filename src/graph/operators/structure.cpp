#include <algorithm>

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

/// "abc": letters for a tensor of which only the number of dimensions matters.
Dims any_letters(std::size_t rank) {
  Dims dims;
  for (std::size_t i = 0; i < rank; ++i) dims += static_cast<char>('a' + i);
  return dims;
}

}  // namespace

Signature signature(const Select& kernel, Instance /*instance*/) {
  return {.kind = "select",
          .attributes =
              std::string("letter=") + kernel.letter + " index=" + std::to_string(kernel.index),
          .operands = {kernel.operand},
          .results = {without(kernel.operand, kernel.letter)},
          .linear = {{0}},
          .whole = {kernel.letter},
          .index = {{kernel.letter, kernel.index}}};
}

void derive(const Select& kernel, Backward& backward) {
  backward.give_slice(0, kernel.operand.find(kernel.letter), kernel.index, backward.gradient(0));
}

Signature signature(const Stack& kernel, Instance instance) {
  Signature s{
      .kind = "stack",
      .attributes = std::string("letter=") + kernel.letter,
      .operands = std::vector<Dims>(instance.operands, without(kernel.result, kernel.letter)),
      .results = {kernel.result},
      .linear = {{}},
      .whole = {kernel.letter},
      .extent = {{kernel.letter, static_cast<std::int64_t>(instance.operands)}}};
  for (std::size_t i = 0; i < instance.operands; ++i) s.linear[0].push_back(static_cast<int>(i));
  return s;
}

void derive(const Stack& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  for (std::size_t i = 0; i < backward.op().operands.size(); ++i) {
    if (!backward.wanted(i)) continue;
    const Select select{kernel.result, kernel.letter, static_cast<std::int64_t>(i)};
    backward.give(i, backward.add("operand" + std::to_string(i), select, {dy}));
  }
}

namespace {

/// Number of letters that both end with.
std::size_t common_end(const View& kernel) {
  const auto [a, b] = std::mismatch(kernel.operand.rbegin(), kernel.operand.rend(),
                                    kernel.result.rbegin(), kernel.result.rend());
  return static_cast<std::size_t>(a - kernel.operand.rbegin());
}

std::string check_view(const View& kernel, const Shape& operand, const Shape& result) {
  const std::size_t common = common_end(kernel);
  const auto leading = [common](const Shape& shape) {
    return num_elements({shape.begin(), shape.end() - static_cast<long>(common)});
  };
  if (leading(operand) == leading(result)) return "";
  return "the dimensions before \"" + kernel.result.substr(kernel.result.size() - common) +
         "\" have " + std::to_string(leading(operand)) + " and " + std::to_string(leading(result)) +
         " elements";
}

}  // namespace

Signature signature(const View& kernel, Instance /*instance*/) {
  const std::size_t common = common_end(kernel);
  const Dims from = kernel.operand.substr(0, kernel.operand.size() - common);
  const Dims to = kernel.result.substr(0, kernel.result.size() - common);
  Signature s{
      .kind = "view",
      .operands = {kernel.operand},
      .results = {kernel.result},
      .linear = {{0}},
      .check = [kernel](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
        return check_view(kernel, operands.at(0), results.at(0));
      }};
  if (from.empty() || to.empty()) {
    s.whole = from + to;
    return s;
  }
  if (from.front() != to.front()) {
    throw UserError("view " + kernel.operand + "->" + kernel.result + ": '" + from.front() +
                    "' and '" + to.front() + "' are split together and need the same letter");
  }
  s.even = from.front();
  s.whole = from.substr(1) + to.substr(1);
  return s;
}

void derive(const View& kernel, Backward& backward) {
  const Tensor x = backward.tensor(backward.operand(0));
  backward.give(0, backward.add("input", View{kernel.result, kernel.operand},
                                {backward.gradient(0)}, {.shapes = {x.shape}, .dims = {x.dims}}));
}

namespace {

constexpr std::size_t kMostParts = 10;

/// `dims` with another letter, that of part i, in the place of `letter`: parts have extents of
/// their own.
Dims part_of(Dims dims, char letter, std::size_t i) {
  const std::size_t place = dims.find(letter);
  if (place == Dims::npos) {
    throw UserError("\"" + dims + "\" has no letter '" + letter + "'");
  }
  dims[place] = static_cast<char>('0' + i);
  return dims;
}

std::string check_concatenation(const Concatenate& kernel, const std::vector<Shape>& operands,
                                const Shape& result) {
  const std::size_t place = kernel.result.find(kernel.letter);
  std::int64_t total = 0;
  for (const Shape& operand : operands) total += operand.at(place);
  if (total == result.at(place)) return "";
  return std::string("the parts have ") + std::to_string(total) + " indices of '" + kernel.letter +
         "', the result " + std::to_string(result.at(place));
}

}  // namespace

Signature signature(const Concatenate& kernel, Instance instance) {
  if (instance.operands > kMostParts) {
    throw UserError("concatenate: " + std::to_string(instance.operands) + " operands, at most " +
                    std::to_string(kMostParts));
  }
  Signature s{
      .kind = "concatenate",
      .attributes = std::string("letter=") + kernel.letter,
      .results = {kernel.result},
      .linear = {{}},
      .whole = {kernel.letter},
      .check = [kernel](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
        return check_concatenation(kernel, operands, results.at(0));
      }};
  for (std::size_t i = 0; i < instance.operands; ++i) {
    s.operands.push_back(part_of(kernel.result, kernel.letter, i));
    s.linear[0].push_back(static_cast<int>(i));
    s.whole += static_cast<char>('0' + i);
  }
  return s;
}

void derive(const Concatenate& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  const std::size_t place = kernel.result.find(kernel.letter);
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < backward.op().operands.size(); ++i) {
    const Tensor part = backward.tensor(backward.operand(i));
    const std::int64_t extent = part.shape.at(place);
    if (backward.wanted(i)) {
      backward.give(i, backward.add("operand" + std::to_string(i),
                                    Slice{kernel.result, kernel.letter, begin, extent}, {dy},
                                    {.shapes = {part.shape}, .dims = {part.dims}}));
    }
    begin += extent;
  }
}

Signature signature(const Slice& kernel, Instance /*instance*/) {
  return {.kind = "slice",
          .attributes = std::string("letter=") + kernel.letter + " begin=" +
                        std::to_string(kernel.begin) + " extent=" + std::to_string(kernel.extent),
          .operands = {kernel.operand},
          .results = {part_of(kernel.operand, kernel.letter, 0)},
          .linear = {{0}},
          .whole = {kernel.letter, '0'},
          .extent = {{'0', kernel.extent}},
          .index = {{kernel.letter, kernel.begin + kernel.extent - 1}}};
}

Signature signature(const CopyBox& /*kernel*/, Instance instance) {
  const Dims dims = any_letters(instance.rank);
  return {.kind = "copy_box", .operands = {dims}, .results = {dims}, .linear = {{0}}};
}

Signature signature(const Fill& kernel, Instance instance) {
  return {.kind = "fill",
          .attributes = "value=" + number(kernel.value),
          .results = {any_letters(instance.rank)}};
}

}  // namespace alpa::operators
