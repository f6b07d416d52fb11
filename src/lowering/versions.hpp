#pragma once

#include <map>
#include <utility>

#include "alpa/program/program.hpp"

namespace alpa {

/// Counts the writes that values see while a program is emitted, and writes the counts down in its
/// instructions (see Operand::version).
class ValueVersions {
 public:
  /// @pre instructions come in an order in which each value's accesses run. `once`: this one runs
  /// once a step, not for each microbatch
  void stamp(const Program& program, Instruction& instruction, bool once);

  void send(Region& region) const { region.version = of(region.buffer, {}); }
  void receive(Region& region) { region.version = versions_[{region.buffer, 0}] = 1; }

  /// Fills in what state and global scalars have seen when all is emitted.
  void close(Program& program) const;

 private:
  /// The scalars of the step state are values of their own, told apart by `start`; other buffers
  /// have one value, whatever piece of it is seen.
  using Key = std::pair<BufferId, std::int64_t>;
  [[nodiscard]] Key key_of(BufferId buffer, Bytes start) const;
  [[nodiscard]] int of(BufferId buffer, Bytes start) const;
  void stamp_kernel(RunKernel& run, int runs);
  void stamp_collective(const Program& program, Collective& collective);

  BufferId step_state_;
  std::map<Key, int> versions_;
  std::map<std::int64_t, int> contributions_;  ///< by start in the step state
};

}  // namespace alpa
