#pragma once

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "device/tensors.hpp"

/// One case per kernel and shape of its letters; tests run them on pieces of any size.
namespace alpa::test {

enum class Content : std::uint8_t {
  value,       ///< in [-1, 1], of the dtype under test
  positive,    ///< in [1, 2], of the dtype under test
  wide,        ///< in [-1, 1], always f64
  square_sum,  ///< f64, as a sum of squares over the whole letter 'e'
  lse,         ///< near the log of the number of keys
  places,      ///< i32, pixels of an image [y x]
  ids,         ///< i32 in [-1, size of 'v')
  documents,   ///< i32, number of the document at a sample and position: runs of three
  flags,       ///< f64, 0 or 1
  experts,     ///< i32 [b s k], the expert of a choice, another one for each k
  slots,       ///< i32 [b s k], its slot, or -1 if it was dropped
  constant,    ///< f64 scalar
};

/// Integers are never partial sums.
[[nodiscard]] bool is_integer(Content content);

struct Argument {
  Dims dims;
  Content fill = Content::value;
  double value = 0.0;
};

struct Case {
  std::string name;
  Kernel kernel;
  std::vector<Argument> operands, results;
};

/// Offset, extent and full size of each letter.
struct Size {
  std::int64_t offset, extent, full;
};
using Sizes = std::map<char, Size>;

/// Every kernel of the variant, with the shapes of GPT and MLP training and odd ones.
[[nodiscard]] std::vector<Case> all_cases();

/// Kernels that route groups of tokens to experts, and views.
void add_experts(std::vector<Case>& cases);
/// Letters that these kernels take whole; none for others.
[[nodiscard]] std::string whole_letters_of_routing(const Kernel& kernel);
/// Sizes that their letters can have together; others are left alone.
void fit_routing(const Case& each, Sizes& sizes);
/// The integer of content `experts` or `slots` at an index.
[[nodiscard]] double routed(Content content, const std::vector<std::int64_t>& index,
                            const Sizes& sizes);

/// Kernels that move a window over images.
void add_images(std::vector<Case>& cases);
/// The window that a kernel moves over images, if it does.
[[nodiscard]] std::optional<Window> window_of(const Kernel& kernel);
/// Makes the sizes of images and windows fit each other, where the case has a window.
void fit_windows(const Case& each, Sizes& sizes);
/// Makes sizes that go together fit, of letters that the kernel takes whole.
void fit_sizes(const Kernel& kernel, Sizes& sizes);

/// Random sizes of all letters in [1, largest], uneven pieces with offsets where kernels allow one.
[[nodiscard]] Sizes random_sizes(const Case& each, std::int64_t largest, std::mt19937_64& random);

/// Sizes of the whole tensors.
[[nodiscard]] Sizes whole(Sizes sizes);

[[nodiscard]] Box box_of(const Dims& dims, const Sizes& sizes);
[[nodiscard]] Shape full_of(const Dims& dims, const Sizes& sizes);

/// Tensors of these arguments, values drawn from `random`, as `dtype` holds them.
[[nodiscard]] std::vector<Tensor> make(const std::vector<Argument>& arguments, const Sizes& sizes,
                                       DType dtype, std::mt19937_64& random);

}  // namespace alpa::test
