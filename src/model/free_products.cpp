#include <algorithm>
#include <cctype>

#include "alpa/base/error.hpp"

#include "free_layers.hpp"

// Layers of several inputs: products over named indices, sums, values side by side.
namespace alpa::model {
namespace {

struct Equation {
  Dims left, right, result;
};

/// "bte,ef->btf"; blanks do not count.
Equation parse(const FreeLayer& at, const std::string& text) {
  std::string plain;
  std::copy_if(text.begin(), text.end(), std::back_inserter(plain),
               [](char c) { return c != ' '; });
  const auto comma = plain.find(',');
  const auto arrow = plain.find("->");
  const auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  if (comma != std::string::npos && arrow != std::string::npos && comma < arrow) {
    const Equation e{plain.substr(0, comma), plain.substr(comma + 1, arrow - comma - 1),
                     plain.substr(arrow + 2)};
    const Dims all = e.left + e.right + e.result;
    if (!e.left.empty() && !e.right.empty() && !e.result.empty() &&
        std::all_of(all.begin(), all.end(), is_letter)) {
      return e;
    }
  }
  at.refuse("equation " + text, "two factors and a result in letters, as bte,ef->btf");
}

bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

/// Every letter once in a tensor and in two of the three; the sample first.
void check(const FreeLayer& at, const EinsumLayer& layer, const Equation& e) {
  for (const Dims& dims : {e.left, e.right, e.result}) {
    for (const char c : dims) {
      if (std::count(dims.begin(), dims.end(), c) > 1) {
        at.refuse("equation " + layer.equation, "each letter once in " + dims);
      }
      if (has(e.left, c) + has(e.right, c) + has(e.result, c) < 2) {
        at.refuse("equation " + layer.equation, std::string("letter ") + c +
                                                    " in two of its three parts (a sum over a "
                                                    "letter of one factor alone is not there)");
      }
    }
  }
  const char sample = e.left.front();
  const bool weight = !layer.weight.empty();
  if (e.result.front() != sample || (!weight && e.right.front() != sample) ||
      (weight && has(e.right, sample))) {
    at.refuse("equation " + layer.equation,
              std::string("letter ") + sample + ", the sample, first in " +
                  (weight ? "the input and the result and not in the weight"
                          : "both inputs and in the result"));
  }
}

void check_extents(const FreeLayer& at, const EinsumLayer& layer, const Equation& e,
                   const Shape& left, const Shape& right) {
  const std::string shapes = "shapes " + to_string(left) + " and " + to_string(right);
  const auto fits = [&](const Dims& dims, const Shape& shape) {
    if (dims.size() == shape.size()) return;
    at.refuse(shapes, "as many dimensions as letters in " + layer.equation + " (the first is the " +
                          "sample's)");
  };
  fits(e.left, left);
  fits(e.right, right);
  for (std::size_t i = 0; i < e.left.size(); ++i) {
    const auto j = e.right.find(e.left[i]);
    if (j == Dims::npos || left[i] == right[j]) continue;
    at.refuse(shapes, std::string("equal sizes of ") + e.left[i] + " in " + layer.equation +
                          ", found " + std::to_string(left[i]) + " and " +
                          std::to_string(right[j]));
  }
}

/// The letter of the samples is 'b' everywhere else.
Dims with_batch(Dims dims, char sample) {
  for (char& c : dims) c = c == sample ? 'b' : c == 'b' ? sample : c;
  return dims;
}

}  // namespace

Value build(const FreeLayer& at, const EinsumLayer& layer, const std::vector<Value>& inputs) {
  GraphBuilder& builder = at.context.builder;
  Equation e = parse(at, layer.equation);
  check(at, layer, e);
  const std::string name = at.name + ".einsum";
  const Shape left = builder.tensor(inputs.front().id).shape;
  const Shape right = layer.weight.empty() ? builder.tensor(inputs.at(1).id).shape
                                           : Shape(layer.weight.begin(), layer.weight.end());
  check_extents(at, layer, e, left, right);
  const char sample = e.left.front();
  for (Dims* dims : {&e.left, &e.right, &e.result}) *dims = with_batch(*dims, sample);
  TensorId factor;
  if (layer.weight.empty()) {
    factor = inputs.at(1).id;
  } else {
    std::int64_t summed = 1;
    for (std::size_t i = 0; i < right.size(); ++i) {
      if (!has(e.result, e.right[i])) summed *= right[i];
    }
    factor = builder.parameter(name + ".weight", e.right, right,
                               weight_initializer(at.context, summed, at.ends_residual));
  }
  const Dims dims = value_dims(e.result.size(), at.letter);
  return {builder.add(name, Einsum{e.left, e.right, e.result}, {inputs.front().id, factor},
                      {.dims = {dims}}),
          dims};
}

namespace {

void check_equal(const FreeLayer& at, const Value& x, const Value& y, const std::string& what) {
  const Shape left = sample_shape(at.context, x), right = sample_shape(at.context, y);
  if (left == right) return;
  at.refuse("shapes " + to_string(left) + " and " + to_string(right) + " a sample",
            "equal shapes to " + what);
}

Value concatenate(const FreeLayer& at, const std::vector<Value>& inputs) {
  GraphBuilder& builder = at.context.builder;
  Shape shape = builder.tensor(inputs.front().id).shape;
  std::vector<TensorId> ids{inputs.front().id};
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    const Shape other = builder.tensor(inputs[i].id).shape;
    const bool alike = other.size() == shape.size() && shape.size() > 1 &&
                       std::equal(shape.begin(), shape.end() - 1, other.begin());
    if (!alike) {
      at.refuse("shapes " + to_string(sample_shape(at.context, inputs.front())) + " and " +
                    to_string(sample_shape(at.context, inputs[i])) + " a sample",
                "shapes that are equal but for the last dimension");
    }
    shape.back() += other.back();
    ids.push_back(inputs[i].id);
  }
  const Dims dims = value_dims(shape.size(), at.letter);
  return {
      builder.add(at.name + ".concatenate", Concatenate{dims, at.letter}, ids, {.shapes = {shape}}),
      dims};
}

}  // namespace

Value build(const FreeLayer& at, const CombineLayer& layer, const std::vector<Value>& inputs) {
  if (layer.kind == CombineLayer::Kind::concatenate) return concatenate(at, inputs);
  const bool adds = layer.kind == CombineLayer::Kind::add;
  Value total = inputs.front();
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    check_equal(at, total, inputs[i], adds ? "add" : "multiply");
    const std::string name =
        at.name + (adds ? ".add" : ".multiply") + (i == 1 ? "" : std::to_string(i));
    const Map kernel{adds ? MapOp::add : MapOp::multiply, {total.dims, total.dims}, total.dims};
    total.id = at.context.builder.add(name, kernel, {total.id, inputs[i].id});
  }
  return total;
}

}  // namespace alpa::model
