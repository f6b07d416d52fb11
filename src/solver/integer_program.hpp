#pragma once

#include <alpa/solver/reduction.hpp>
#include <vector>

namespace alpa {

/// A core as an integer program in sparse columns: binaries x[i,p], then continuous pair variables
/// y[e,p,q] with sum_q y[e,p,q] = x[i,p] and sum_p y[e,p,q] = x[j,q], far tighter than
/// y >= x + x - 1.
struct IntegerProgram {
  std::vector<int> starts;  ///< of each column in `rows` and `values`; one more than columns
  std::vector<int> rows;
  std::vector<double> values;
  std::vector<double> objective;
  std::vector<double> row_lower;
  std::vector<double> row_upper;
  int binaries = 0;    ///< the first columns
  double scale = 1.0;  ///< cost of the core = objective * scale + offset
  double offset = 0.0;
  std::vector<int> first_of_node;  ///< column of option 0 of each node

  [[nodiscard]] int columns() const { return static_cast<int>(objective.size()); }
};

/// Number of columns the program of a core has.
[[nodiscard]] std::int64_t program_columns(const Core& core);

/// Costs are scaled so that differences of 1e-4 `unit` count, if that leaves them of a size that a
/// simplex method can work with.
[[nodiscard]] IntegerProgram integer_program(const Core& core, double unit);

/// Values of all columns for a choice.
[[nodiscard]] std::vector<double> columns_of(const Core& core, const IntegerProgram& program,
                                             const std::vector<int>& choice);

}  // namespace alpa
