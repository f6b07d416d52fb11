#pragma once

#include <alpa/solver/problem.hpp>
#include <iosfwd>
#include <string>

namespace alpa {

/// Writes a problem, unreduced, as an integer program in free MPS. Columns: `x<i>_<p>`, binary, for
/// option p of node i; `e<k>_<p>_<q>`, continuous, for the pair of options of edge k. What is
/// forbidden has no column. Rows: `cost` (minimised), `one<i>` (one option a node), `l<k>_<p>` and
/// `r<k>_<q>` (sum over q of e = x of the first node, over p = x of the second), `m<t>` (memory
/// from time t on, until the next such row; none where no choice can exceed the limit).
/// @pre validate(problem) passes; an edge from a node to itself counts its diagonal
void write_mps(std::ostream& out, const Problem& problem, const std::string& name);

}  // namespace alpa
