#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"
#include "alpa/device/device.hpp"
#include "alpa/program/program.hpp"

namespace alpa {

/// What a rank has executed, counted as it runs.
struct Executed {
  double flops = 0.0;
  std::map<std::string, double> bytes_sent;    ///< by kind, as ProgramTotals
  std::map<std::string, std::int64_t> counts;  ///< by kind
};

/// Where a rank is; read by the watchdog's thread while the rank runs.
struct Position {
  std::atomic<int> phase{0};  ///< a StepPhase
  std::atomic<int> call{-1};
  std::atomic<int> instruction{-1};
  std::atomic<std::uint64_t> ticks{0};  ///< grows with everything that completes
};

struct ExecutorOptions {
  /// Set: each choice among the queues that could go on is drawn from this seed, so that any order
  /// the program allows may occur. Unset: messages first, then collectives, then kernels.
  std::optional<std::uint64_t> shuffle_seed;
  /// Called before each instruction starts.
  std::function<void(const Instruction&, const Call&)> before;
};

/// The communicators of the groups of one or more programs.
class Groups {
 public:
  /// Collective over all ranks of `world`. Groups are made in one order everywhere.
  Groups(Communicator& world, const std::vector<const Program*>& programs);
  [[nodiscard]] Communicator& of(const std::vector<int>& members) const;

 private:
  Communicator& world_;
  std::map<std::vector<int>, std::unique_ptr<Communicator>> made_;
};

/// Runs a program on a device, once. The queues (kernels, collectives, messages each way) go on
/// side by side: an instruction starts when it is the first of its queue, its call's and its own
/// waits have ended. `arena` is device memory of program.arena bytes.
/// @throws SystemError of the device or communicator, unchanged
void execute(const Program& program, Device& device, std::byte* arena, const Groups& groups,
             Communicator& world, const ExecutorOptions& options, Executed& executed,
             Position& position);

}  // namespace alpa
