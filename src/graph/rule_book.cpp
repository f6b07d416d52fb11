#include "rule_book.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

using operators::Signature;

/// The extent of a letter of a result, found in the operands (or fixed by the kernel).
std::int64_t extent_of(char letter, const Signature& s, const std::vector<Shape>& operands) {
  if (s.extent && s.extent->first == letter) return s.extent->second;
  for (std::size_t i = 0; i < operands.size() && i < s.operands.size(); ++i) {
    const std::size_t place = s.operands[i].find(letter);
    if (place != Dims::npos && place < operands[i].size()) return operands[i][place];
  }
  throw UserError(s.kind + ": the size of letter '" + letter +
                  "' follows from no operand; give the result's shape");
}

std::vector<Shape> result_shapes(const Signature& s, const std::vector<Shape>& operands) {
  std::vector<Shape> shapes;
  for (const Dims& dims : s.results) {
    Shape& shape = shapes.emplace_back();
    for (const char c : dims) shape.push_back(extent_of(c, s, operands));
  }
  return shapes;
}

std::vector<Shape> copies(const RuleBook::Shapes& shapes) {
  std::vector<Shape> all;
  for (const Shape* shape : shapes) all.push_back(*shape);
  return all;
}

bool equal(const std::vector<Shape>& known, const RuleBook::Shapes& shapes) {
  return std::equal(known.begin(), known.end(), shapes.begin(), shapes.end(),
                    [](const Shape& a, const Shape* b) { return a == *b; });
}

std::size_t hash_with_shapes(std::size_t hash, const RuleBook::Shapes& shapes) {
  for (const Shape* shape : shapes) {
    hash = hash_with(hash, shape->size());
    for (const std::int64_t extent : *shape) {
      hash = hash_with(hash, static_cast<std::size_t>(extent));
    }
  }
  return hash;
}

}  // namespace

const RuleBook::Entry& RuleBook::of(const Kernel& kernel, const Shapes& operands,
                                    const Shapes* results) {
  std::size_t hash = hash_with_shapes(hash_with(kernel.index(), operands.size()), operands);
  if (results != nullptr) hash = hash_with_shapes(hash, *results);
  const auto same = [&](const Entry& entry) {
    return entry.given == (results != nullptr) && entry.kernel == kernel &&
           equal(entry.operands, operands) && (!entry.given || equal(entry.results, *results));
  };
  return entries_.of(hash, same, [&] {
    const bool given = results != nullptr;
    const std::size_t rank = given && !results->empty() ? results->front()->size() : 0;
    Entry entry{.kernel = kernel,
                .operands = copies(operands),
                .given = given,
                .signature = operators::signature_of(kernel, {operands.size(), rank}),
                .results = {},
                .rule = {}};
    entry.results = given ? copies(*results) : result_shapes(entry.signature, entry.operands);
    entry.rule = rule_of(kernel, entry.operands, entry.results);
    return entry;
  });
}

}  // namespace alpa
