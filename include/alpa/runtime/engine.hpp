#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/runtime/executor.hpp"

namespace alpa {

/// Fills one input of one microbatch: `box` of the microbatch's tensor, dense, in host memory.
using FillInput =
    std::function<void(const InputEntry& entry, int microbatch, std::span<std::byte> host)>;

/// One rank's programs on a device: the arena, the groups, the state. What a step does is in the
/// programs; this class moves values in and out around them.
class Engine {
 public:
  /// Allocates the arena and makes the groups: collective over `world`.
  /// @throws SystemError (out_of_memory) naming the bytes wanted
  Engine(RankPrograms programs, Device& device, Communicator& world);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Parameters by their initializers, optimizer states 0. The same values under every plan.
  void initialize(const Graph& graph, std::uint64_t seed);

  /// Runs one optimizer step. `scalars` has every step scalar by name. Returns the global scalars,
  /// summed over the world.
  std::map<std::string, double> step(const std::map<std::string, double>& scalars,
                                     const FillInput& fill);
  /// Runs the forward pass on one global batch.
  std::map<std::string, double> evaluate(const std::map<std::string, double>& scalars,
                                         const FillInput& fill);

  /// State pieces of this rank, dense, as the program's state entries say.
  [[nodiscard]] const std::vector<StateEntry>& state() const { return programs_.step.state; }
  void read_state(const StateEntry& entry, std::span<std::byte> host) const;
  void write_state(const StateEntry& entry, std::span<const std::byte> host);

  /// Names of gradient sums of this rank that hold a value that is not finite.
  [[nodiscard]] std::vector<std::string> nonfinite_gradients() const;

  /// What this rank has executed in steps since it was built, and in how many; evaluation apart.
  [[nodiscard]] const Executed& executed() const { return executed_; }
  [[nodiscard]] std::int64_t executed_steps() const { return executed_steps_; }
  [[nodiscard]] const Executed& executed_in_evaluation() const { return evaluated_; }
  [[nodiscard]] const Position& position() const { return position_; }
  [[nodiscard]] const RankPrograms& programs() const { return programs_; }

  ExecutorOptions options;

 private:
  std::map<std::string, double> run(const Program& program,
                                    const std::map<std::string, double>& scalars,
                                    const FillInput& fill, Executed& executed);
  [[nodiscard]] std::byte* address(const Program& program, BufferId buffer, int slot) const;

  RankPrograms programs_;
  Device& device_;
  Communicator& world_;
  Groups groups_;
  std::byte* arena_ = nullptr;
  Executed executed_, evaluated_;
  std::int64_t executed_steps_ = 0;
  Position position_;
  std::vector<std::byte> scratch_;
};

/// Value of element `index` (row-major in the full shape) of a parameter at the start.
[[nodiscard]] double initial_value(const Tensor& tensor, std::uint64_t seed, std::int64_t index);

}  // namespace alpa
