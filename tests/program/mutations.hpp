#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "alpa/program/program.hpp"

namespace alpa {

/// What a mutation did to the programs of all ranks.
enum class Outcome {
  mutated,    ///< wrong now, whatever else the programs hold
  harmless,   ///< the change it made leaves a program that computes the same: nothing to reject
  none_here,  ///< these programs have no place for it
};

/// One way to break a good set of programs, at a random place. Where a change can be harmless, the
/// mutation itself proves the harm, by looking at readers, groups or the order of all runs.
struct Mutation {
  std::string name;
  std::function<Outcome(std::vector<Program>&, std::mt19937_64&)> apply;
};

[[nodiscard]] std::vector<Mutation> instruction_mutations();
[[nodiscard]] std::vector<Mutation> communication_mutations();
[[nodiscard]] std::vector<Mutation> memory_mutations();
[[nodiscard]] std::vector<Mutation> call_mutations();
[[nodiscard]] std::vector<Mutation> wait_mutations();

/// True if two instructions of one run of the program touch common bytes, one of them writing, and
/// neither queues nor waits order them. By brute force over all pairs of all calls.
[[nodiscard]] bool has_race(const Program& program);

/// A place in the segments of some rank.
struct Place {
  std::size_t rank = 0, segment = 0, instruction = 0;
};

[[nodiscard]] inline std::vector<Instruction>& list_at(std::vector<Program>& programs,
                                                       const Place& place) {
  return programs[place.rank].segments[place.segment].instructions;
}
[[nodiscard]] inline Instruction& at(std::vector<Program>& programs, const Place& place) {
  return list_at(programs, place)[place.instruction];
}

/// All places whose instruction passes.
[[nodiscard]] std::vector<Place> places(
    const std::vector<Program>& programs,
    const std::function<bool(const Program&, const Place&, const Instruction&)>& passes);

template <class T>
[[nodiscard]] const T& pick(const std::vector<T>& from, std::mt19937_64& random) {
  return from[random() % from.size()];
}

/// True if an instruction other than those of (segment, <= instruction) reads the buffer, or it
/// holds state.
[[nodiscard]] bool is_read_after(const Program& program, BufferId buffer, std::size_t segment,
                                 std::size_t instruction);

/// Applies to one instruction at a random place and lets waits follow the new program.
using Change = std::function<void(Program&, const Place&, std::mt19937_64&)>;
[[nodiscard]] Mutation at_instruction(
    const std::string& name,
    std::function<bool(const Program&, const Place&, const Instruction&)> passes, Change change);

}  // namespace alpa
