#pragma once

#include <alpa/solver/problem.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace alpa {

/// A matrix of costs of two nodes' options in which equal rows and equal columns are held once:
/// operators' options differ in far more than in the layout of the one tensor that an edge is
/// about.
///
/// Example: rows 0 and 2 equal, columns 1 and 2 equal
///
///     1 5 5                   classes of rows 0 1 0, of columns 0 1 1
///     2 7 7     is held as    1 5
///     1 5 5                   2 7
class EdgeTable {
 public:
  /// Numbers of the classes of options, in the order of the first option of each. Empty: all are
  /// different.
  using Classes = std::vector<std::int32_t>;

  EdgeTable() = default;
  /// @param dense row-major
  EdgeTable(std::size_t rows, std::size_t columns, std::vector<double> dense);
  /// @param costs row-major over classes; equal ones are put together
  EdgeTable(Classes row_classes, std::size_t rows, Classes column_classes, std::size_t columns,
            std::vector<double> costs);

  [[nodiscard]] std::vector<double> dense() const;
  /// Of a problem.  @param first, second the nodes of the rows and the columns
  [[nodiscard]] Problem::Edge edge(int first, int second) &&;

  /// Options of the rows or the columns that are not kept go.
  void keep(bool rows, const std::vector<bool>& kept);
  /// Option p is from now on what option follows[p] was.
  void select(bool rows, const std::vector<std::size_t>& follows);
  /// Adds the costs of a table of the same options, seen the other way round if `flipped`.
  void add(const EdgeTable& other, bool flipped);

 private:
  friend class EdgeView;
  void merge_equal();
  void renumber(bool rows);
  void keep_classes(bool rows, const std::vector<std::size_t>& kept);
  void number_options(bool rows);

  Classes classes_[2];  ///< [rows, columns][option]; empty: all different
  std::size_t options_[2] = {0, 0};
  std::size_t count_[2] = {0, 0};  ///< of classes
  std::vector<double> costs_;      ///< row-major over classes
  bool forbids_ = false;           ///< some of the costs are kForbidden
};

/// An edge's table seen from one end: entry (p, q) for option p of that end.
class EdgeView {
 public:
  EdgeView(const EdgeTable& table, bool flipped)
      : rows(table.options_[flipped ? 1 : 0]),
        columns(table.options_[flipped ? 0 : 1]),
        row_classes(table.count_[flipped ? 1 : 0]),
        column_classes(table.count_[flipped ? 0 : 1]),
        forbids(table.forbids_),
        row_of_(table.classes_[flipped ? 1 : 0]),
        column_of_(table.classes_[flipped ? 0 : 1]),
        data_(table.costs_.data()),
        row_stride_(flipped ? 1 : table.count_[1]),
        column_stride_(flipped ? table.count_[1] : 1) {}

  std::size_t rows, columns;  ///< options
  std::size_t row_classes, column_classes;
  bool forbids;  ///< some pair

  double operator()(std::size_t p, std::size_t q) const {
    return of_classes(class_of_row(p), class_of_column(q));
  }
  [[nodiscard]] double of_classes(std::size_t a, std::size_t b) const {
    return data_[a * row_stride_ + b * column_stride_];
  }
  /// Calls visit(class of columns, cost) for all of a class of rows.
  template <typename Visit>
  void for_each_in_row(std::size_t a, const Visit& visit) const {
    const double* cost = data_ + a * row_stride_;
    for (std::size_t b = 0; b < column_classes; ++b, cost += column_stride_) visit(b, *cost);
  }
  [[nodiscard]] std::size_t class_of_row(std::size_t p) const {
    return row_of_.empty() ? p : static_cast<std::size_t>(row_of_[p]);
  }
  [[nodiscard]] std::size_t class_of_column(std::size_t q) const {
    return column_of_.empty() ? q : static_cast<std::size_t>(column_of_[q]);
  }
  /// By column; empty: all different.
  [[nodiscard]] const EdgeTable::Classes& classes_of_columns() const { return column_of_; }

 private:
  const EdgeTable::Classes& row_of_;
  const EdgeTable::Classes& column_of_;
  const double* data_;
  std::size_t row_stride_, column_stride_;
};

}  // namespace alpa
