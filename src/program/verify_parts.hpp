#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "alpa/program/program.hpp"
#include "alpa/program/verify.hpp"

namespace alpa::verification {

/// Collects mistakes; a program that is wrong in one place is often wrong in a thousand, so after
/// kMost of them the rest are only counted.
class Mistakes {
 public:
  static constexpr std::size_t kMost = 50;

  explicit Mistakes(std::string prefix) : prefix_(std::move(prefix)) {}
  void add(const std::string& text) {
    if (++count_ <= kMost) texts_.push_back(prefix_ + text);
  }
  [[nodiscard]] bool none() const { return count_ == 0; }
  [[nodiscard]] std::vector<std::string> take() {
    if (count_ > kMost) {
      texts_.push_back(prefix_ + "and " + std::to_string(count_ - kMost) + " more mistakes");
    }
    return std::move(texts_);
  }

 private:
  std::string prefix_;
  std::size_t count_ = 0;
  std::vector<std::string> texts_;
};

[[nodiscard]] inline const Segment& segment_of(const Program& program, const Call& call) {
  return program.segments[static_cast<std::size_t>(call.segment)];
}

/// "instruction 12 (l1.dx)"
[[nodiscard]] std::string name_of(const Segment& segment, std::size_t instruction);
/// "call 5 (backward 0, microbatch 1)"
[[nodiscard]] std::string name_of(const Program& program, std::size_t call);
/// "[64:128)"
[[nodiscard]] std::string text_of(ByteRange range);

/// Place of a world rank in a group, or -1.
[[nodiscard]] int rank_in(const std::vector<int>& group, int world_rank);

/// Indices in range, regions in their buffers, buffers in the arena, sizes of collectives, groups,
/// pieces that all instructions see alike, each segment called as often as it must be. The other
/// checks may rely on all of it.
void check_structure(const Program& program, Mistakes& mistakes);

/// Instructions that touch common bytes are ordered by queues and waits.
void check_order(const Program& program, Mistakes& mistakes);

/// Runs the calls on tags instead of numbers: each read must find the value it expects.
void check_values(const Program& program, Mistakes& mistakes);

/// Runs all ranks with sends and collectives that wait for their partners.
/// @pre each program passes check_structure
void check_together(const std::vector<Program>& programs, Mistakes& mistakes);

/// How an instruction touches bytes.
struct Access {
  enum class Kind : std::uint8_t {
    read,      ///< finds `version`
    make,      ///< leaves `version`, whatever was there
    change,    ///< finds `version` - 1, leaves `version`
    add,       ///< adds 1 to the version it finds
    scribble,  ///< scratch: leaves nothing that may be read
  } kind = Kind::read;
  Region region;  ///< with the version
  /// CopyBox: only the common part of these boxes is written. Else null.
  const Operand* from = nullptr;
  const Operand* to = nullptr;
};

/// All accesses of an instruction. `first`: as Launch::first, of a kernel that sets it.
[[nodiscard]] std::vector<Access> accesses(const Program& program, const Instruction& instruction,
                                           bool first);

}  // namespace alpa::verification
