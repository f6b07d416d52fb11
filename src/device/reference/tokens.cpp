#include <cmath>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

void run(const Pick& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Piece& x = launch.operands[0];
  const std::int32_t* labels = integers(launch.operands[1]);
  Letters sizes;
  sizes.add(kernel.operand, x);
  sizes.add(kernel.labels, launch.operands[1]);
  sizes.add(kernel.labels, launch.results[0]);

  const Loops loops = loops_over(kernel.labels + kernel.letter, sizes);
  const std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                      element_of(kernel.labels, loops, sizes),
                                      index_of(kernel.letter, loops, sizes)};
  const double even = kernel.smoothing / static_cast<double>(sizes.at(kernel.letter).full);
  std::vector<double> sums(static_cast<std::size_t>(sizes.elements(kernel.labels)), 0.0);
  for_each(loops, places, [&](auto at) {
    const double share = even + (labels[at[1]] == at[2] ? 1.0 - kernel.smoothing : 0.0);
    if (share != 0.0) sums[static_cast<std::size_t>(at[1])] += share * load(x, at[0]);
  });
  for (std::size_t i = 0; i < sums.size(); ++i) {
    store(launch.results[0], static_cast<std::int64_t>(i), sums[i]);
  }
}

void run(const CrossEntropyGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 6 && launch.results.size() == 1);
  const Piece &x = launch.operands[0], &maximum = launch.operands[1];
  const Piece &sum_exp = launch.operands[2], &weight = launch.operands[4];
  const std::int32_t* labels = integers(launch.operands[3]);
  const double inverse_weight = scalar(launch.operands[5]);
  Letters sizes;
  sizes.add(kernel.operand, x);
  for (const std::size_t i : {1U, 2U, 3U, 4U}) sizes.add(kernel.labels, launch.operands[i]);
  sizes.add(kernel.operand, launch.results[0]);

  const double even = kernel.smoothing / static_cast<double>(sizes.at(kernel.letter).full);
  const Loops loops = loops_over(kernel.operand, sizes);
  const std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                      element_of(kernel.labels, loops, sizes),
                                      index_of(kernel.letter, loops, sizes)};
  for_each(loops, places, [&](auto at) {
    const double softmax = std::exp(load(x, at[0]) - load(maximum, at[1])) / load(sum_exp, at[1]);
    const double target = even + (labels[at[1]] == at[2] ? 1.0 - kernel.smoothing : 0.0);
    store(launch.results[0], at[0], (softmax - target) * load(weight, at[1]) * inverse_weight);
  });
}

namespace {

/// The two letters of a table: its rows (which ids name) and its columns (which it shares with the
/// embedded tensor).
struct TableLetters {
  char row, column;
};

TableLetters table_letters(const Dims& table, const Dims& embedded) {
  ALPA_CHECK(table.size() == 2);
  const bool row_first = embedded.find(table[0]) == Dims::npos;
  const TableLetters letters{table[row_first ? 0 : 1], table[row_first ? 1 : 0]};
  ALPA_CHECK(embedded.find(letters.column) != Dims::npos);
  return letters;
}

/// Calls f(id's row in the local table or -1, column, element of the embedded tensor).
template <class F>
void for_each_embedded(const Dims& table, const Dims& ids, const Dims& embedded,
                       const Letters& sizes, const std::int32_t* id, const F& f) {
  const LetterSize& rows = sizes.at(table_letters(table, embedded).row);
  const Loops loops = loops_over(embedded, sizes);
  const char column = table_letters(table, embedded).column;
  const std::vector<Affine> places = {element_of(ids, loops, sizes), index_of(column, loops, sizes),
                                      element_of(embedded, loops, sizes)};
  for_each(loops, places, [&](auto at) {
    const std::int64_t row = id[at[0]] - rows.offset;
    const bool held = row >= 0 && row < rows.extent;
    f(held ? row : -1, at[1] - sizes.at(column).offset, at[2]);
  });
}

/// Place of an element of the local table.
std::int64_t place_in_table(const Dims& table, const Dims& embedded, const Letters& sizes,
                            std::int64_t row, std::int64_t column) {
  const TableLetters letters = table_letters(table, embedded);
  return table[0] == letters.row ? row * sizes.extent(letters.column) + column
                                 : column * sizes.extent(letters.row) + row;
}

}  // namespace

void run(const Embedding& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Piece &table = launch.operands[0], &result = launch.results[0];
  Letters sizes;
  sizes.add(kernel.table, table);
  sizes.add(kernel.ids, launch.operands[1]);
  sizes.add(kernel.result, result);
  for_each_embedded(kernel.table, kernel.ids, kernel.result, sizes, integers(launch.operands[1]),
                    [&](std::int64_t row, std::int64_t column, std::int64_t element) {
                      const std::int64_t place =
                          place_in_table(kernel.table, kernel.result, sizes, row, column);
                      store(result, element, row < 0 ? 0.0 : load(table, place));
                    });
}

void run(const EmbeddingGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Piece& gradient = launch.operands[0];
  Letters sizes;
  sizes.add(kernel.gradient, gradient);
  sizes.add(kernel.ids, launch.operands[1]);
  sizes.add(kernel.table, launch.results[0]);
  std::vector<double> sums(static_cast<std::size_t>(sizes.elements(kernel.table)), 0.0);
  for_each_embedded(kernel.table, kernel.ids, kernel.gradient, sizes, integers(launch.operands[1]),
                    [&](std::int64_t row, std::int64_t column, std::int64_t element) {
                      if (row < 0) return;
                      const std::int64_t place =
                          place_in_table(kernel.table, kernel.gradient, sizes, row, column);
                      sums[static_cast<std::size_t>(place)] += load(gradient, element);
                    });
  for (std::size_t i = 0; i < sums.size(); ++i) {
    store(launch.results[0], static_cast<std::int64_t>(i), sums[i]);
  }
}

}  // namespace alpa::reference
