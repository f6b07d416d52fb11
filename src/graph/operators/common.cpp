#include <array>
#include <charconv>

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {

Dims without(const Dims& dims, char letter) {
  Dims rest;
  for (const char c : dims) {
    if (c != letter) rest += c;
  }
  return rest;
}

bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

std::string number(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

Signature signature_of(const Kernel& kernel, Instance instance) {
  return std::visit([&](const auto& k) { return signature(k, instance); }, kernel);
}

void no_derivative(const Backward& backward) {
  throw UserError("operator " + backward.op().name + " (" + kind_of(backward.op().kernel) +
                  ") lies on a path from a parameter to the loss but has no derivative of its own");
}

}  // namespace alpa::operators

namespace alpa {

std::string kind_of(const Kernel& kernel) { return operators::signature_of(kernel, {}).kind; }

}  // namespace alpa
