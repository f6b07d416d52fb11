#pragma once

#include <string>
#include <vector>

#include "alpa/program/program.hpp"

namespace alpa {

/// Checks one rank's program by itself: every region lies in its buffer and every buffer in the
/// arena; instructions that touch common bytes are ordered; each read finds the value, of the
/// microbatch and with the count of sums, that it expects, so live buffers do not overlap.
/// Returns the mistakes, empty if none.
[[nodiscard]] std::vector<std::string> verify(const Program& program);

/// Checks the programs of all ranks together as well: members of a group issue its collectives in
/// the same order with sizes that agree, in one order over the groups that share ranks; every send
/// has its receive with equal value and size; with rendezvous sends, greedy execution ends.
[[nodiscard]] std::vector<std::string> verify(const std::vector<Program>& programs);

}  // namespace alpa
