#include "edge_table.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace alpa {
namespace {

using Classes = EdgeTable::Classes;

constexpr std::size_t kSmall = 64;  ///< costs, among which it is not worth looking for equal ones

/// What an entry at some place of its row or column is multiplied with in the hash of that.
std::uint64_t hash_factor(std::size_t place) {
  std::uint64_t factor = (place + 1) * 0x9E3779B97F4A7C15ULL;
  factor ^= factor >> 32U;
  return factor | 1U;
}

/// Numbers of equal rows in the order in which they first come.
struct Alike {
  Classes number;                  ///< by row
  std::vector<std::size_t> first;  ///< row with each number
};

template <typename Equal>
Alike alike(const std::vector<std::uint64_t>& hash, const Equal& equal) {
  Alike found;
  found.number.reserve(hash.size());
  for (std::size_t p = 0; p < hash.size(); ++p) {
    std::size_t k = 0;
    while (k < found.first.size() &&
           !(hash[found.first[k]] == hash[p] && equal(found.first[k], p))) {
      ++k;
    }
    if (k == found.first.size()) found.first.push_back(p);
    found.number.push_back(static_cast<std::int32_t>(k));
  }
  return found;
}

std::size_t count_of(const Classes& classes, std::size_t options) {
  if (classes.empty()) return options;
  return static_cast<std::size_t>(*std::max_element(classes.begin(), classes.end())) + 1;
}

bool forbids_some(const std::vector<double>& costs) {
  return std::find(costs.begin(), costs.end(), kForbidden) != costs.end();
}

}  // namespace

EdgeTable::EdgeTable(std::size_t rows, std::size_t columns, std::vector<double> dense)
    : EdgeTable({}, rows, {}, columns, std::move(dense)) {}

EdgeTable::EdgeTable(Classes row_classes, std::size_t rows, Classes column_classes,
                     std::size_t columns, std::vector<double> costs)
    : classes_{std::move(row_classes), std::move(column_classes)},
      options_{rows, columns},
      count_{count_of(classes_[0], rows), count_of(classes_[1], columns)},
      costs_(std::move(costs)),
      forbids_(forbids_some(costs_)) {
  merge_equal();
}

Problem::Edge EdgeTable::edge(int first, int second) && {
  return {first, second, std::move(costs_), std::move(classes_[0]), std::move(classes_[1])};
}

Problem::Edge merged_edge(int first, std::size_t rows, int second, std::size_t columns,
                          std::vector<double> costs) {
  return EdgeTable(rows, columns, std::move(costs)).edge(first, second);
}

std::vector<double> EdgeTable::dense() const {
  if (classes_[0].empty() && classes_[1].empty()) return costs_;
  const EdgeView all(*this, false);
  std::vector<double> costs;
  costs.reserve(all.rows * all.columns);
  for (std::size_t p = 0; p < all.rows; ++p) {
    for (std::size_t q = 0; q < all.columns; ++q) costs.push_back(all(p, q));
  }
  return costs;
}

void EdgeTable::number_options(bool rows) {
  const std::size_t side = rows ? 0 : 1;
  if (!classes_[side].empty()) return;
  classes_[side].resize(options_[side]);
  std::iota(classes_[side].begin(), classes_[side].end(), 0);
}

void EdgeTable::merge_equal() {
  if (costs_.size() <= kSmall) return;
  const std::size_t columns = count_[1];
  const auto entry = [&](std::size_t a, std::size_t b) { return costs_[a * columns + b]; };
  const auto bits = [&](std::size_t a, std::size_t b) {
    return std::bit_cast<std::uint64_t>(entry(a, b));
  };
  std::vector<std::uint64_t> factors, of_row(count_[0], 0), of_column(columns, 0);
  for (std::size_t b = 0; b < columns; ++b) factors.push_back(hash_factor(b));
  for (std::size_t a = 0; a < count_[0]; ++a) {
    for (std::size_t b = 0; b < columns; ++b) of_row[a] += bits(a, b) * factors[b];
  }
  const Alike rows = alike(of_row, [&](std::size_t a, std::size_t b) {
    return std::equal(costs_.begin() + static_cast<std::ptrdiff_t>(a * columns),
                      costs_.begin() + static_cast<std::ptrdiff_t>((a + 1) * columns),
                      costs_.begin() + static_cast<std::ptrdiff_t>(b * columns));
  });
  for (const std::size_t a : rows.first) {
    const std::uint64_t factor = hash_factor(a);
    for (std::size_t b = 0; b < columns; ++b) of_column[b] += bits(a, b) * factor;
  }
  const Alike alike_columns = alike(of_column, [&](std::size_t a, std::size_t b) {
    return std::all_of(rows.first.begin(), rows.first.end(),
                       [&](std::size_t p) { return entry(p, a) == entry(p, b); });
  });
  if (rows.first.size() == count_[0] && alike_columns.first.size() == columns) return;
  std::vector<double> costs;
  costs.reserve(rows.first.size() * alike_columns.first.size());
  for (const std::size_t a : rows.first) {
    for (const std::size_t b : alike_columns.first) costs.push_back(entry(a, b));
  }
  costs_ = std::move(costs);
  const Alike* const merged[2] = {&rows, &alike_columns};
  for (std::size_t side = 0; side < 2; ++side) {
    if (merged[side]->first.size() == count_[side]) continue;
    number_options(side == 0);
    for (std::int32_t& c : classes_[side]) c = merged[side]->number[static_cast<std::size_t>(c)];
    count_[side] = merged[side]->first.size();
  }
}

/// Classes become those of these numbers.
void EdgeTable::keep_classes(bool rows, const std::vector<std::size_t>& kept) {
  std::vector<double> costs;
  const std::size_t columns = count_[1];
  costs.reserve(rows ? kept.size() * columns : count_[0] * kept.size());
  if (rows) {
    for (const std::size_t a : kept) {
      const auto row = costs_.begin() + static_cast<std::ptrdiff_t>(a * columns);
      costs.insert(costs.end(), row, row + static_cast<std::ptrdiff_t>(columns));
    }
  } else {
    for (std::size_t a = 0; a < count_[0]; ++a) {
      for (const std::size_t b : kept) costs.push_back(costs_[a * columns + b]);
    }
  }
  costs_ = std::move(costs);
  count_[rows ? 0 : 1] = kept.size();
  forbids_ = forbids_ && forbids_some(costs_);
}

/// After options have changed: classes in the order of their first options, without those of none.
void EdgeTable::renumber(bool rows) {
  const std::size_t side = rows ? 0 : 1;
  Classes number(count_[side], -1);
  std::vector<std::size_t> old;
  old.reserve(count_[side]);
  for (std::int32_t& c : classes_[side]) {
    std::int32_t& known = number[static_cast<std::size_t>(c)];
    if (known < 0) {
      known = static_cast<std::int32_t>(old.size());
      old.push_back(static_cast<std::size_t>(c));
    }
    c = known;
  }
  bool same = old.size() == count_[side];
  for (std::size_t k = 0; same && k < old.size(); ++k) same = old[k] == k;
  if (!same) keep_classes(rows, old);
}

void EdgeTable::keep(bool rows, const std::vector<bool>& kept) {
  std::vector<std::size_t> left;
  left.reserve(kept.size());
  for (std::size_t p = 0; p < kept.size(); ++p) {
    if (kept[p]) left.push_back(p);
  }
  select(rows, left);
}

void EdgeTable::select(bool rows, const std::vector<std::size_t>& follows) {
  const std::size_t side = rows ? 0 : 1;
  const bool small = follows.size() * count_[1 - side] <= kSmall;
  options_[side] = follows.size();
  if (small && classes_[side].empty()) {
    keep_classes(rows, follows);
    return;
  }
  Classes selected;
  selected.reserve(follows.size());
  for (const std::size_t p : follows) {
    selected.push_back(classes_[side].empty() ? static_cast<std::int32_t>(p) : classes_[side][p]);
  }
  classes_[side] = std::move(selected);
  if (follows.empty()) count_[side] = 0;
  renumber(rows);
}

void EdgeTable::add(const EdgeTable& other, bool flipped) {
  const EdgeView added(other, flipped);
  const bool plain = other.classes_[0].empty() && other.classes_[1].empty();
  if (plain && classes_[0].empty() && classes_[1].empty()) {
    for (std::size_t k = 0; k < costs_.size(); ++k) {
      costs_[k] += added.of_classes(k / count_[1], k % count_[1]);
    }
    forbids_ = forbids_ || other.forbids_;
    return;
  }
  const EdgeView here(*this, false);
  Classes both[2];
  std::vector<std::pair<std::size_t, std::size_t>> pairs[2];  // of classes here and there
  for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
    const std::size_t there = side == 0 ? added.row_classes : added.column_classes;
    Classes numbers(count_[side] * there, -1);  // of pairs
    both[side].reserve(options_[side]);
    for (std::size_t p = 0; p < options_[side]; ++p) {
      const std::pair pair = side == 0
                                 ? std::pair(here.class_of_row(p), added.class_of_row(p))
                                 : std::pair(here.class_of_column(p), added.class_of_column(p));
      std::int32_t& number = numbers[pair.first * there + pair.second];
      if (number < 0) {
        number = static_cast<std::int32_t>(pairs[side].size());
        pairs[side].push_back(pair);
      }
      both[side].push_back(number);
    }
  }
  std::vector<double> costs;
  costs.reserve(pairs[0].size() * pairs[1].size());
  for (const auto& [here_row, there_row] : pairs[0]) {
    for (const auto& [here_column, there_column] : pairs[1]) {
      costs.push_back(here.of_classes(here_row, here_column) +
                      added.of_classes(there_row, there_column));
    }
  }
  *this =
      EdgeTable(std::move(both[0]), options_[0], std::move(both[1]), options_[1], std::move(costs));
}

}  // namespace alpa
