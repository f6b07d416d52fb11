#pragma once

#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/checkpoint/load.hpp"
#include "alpa/checkpoint/write.hpp"
#include "alpa/comm/communicator.hpp"
#include "alpa/config/training_config.hpp"
#include "alpa/report/log.hpp"
#include "alpa/runtime/engine.hpp"
#include "alpa/runtime/fault.hpp"

namespace alpa {

/// Saves and loads the state of one rank's engine. Members marked collective are called by all
/// ranks in the same order. Files are written on a thread of its own; that thread makes no MPI
/// call.
class Checkpointer {
 public:
  Checkpointer(std::filesystem::path folder, const CheckpointConfig& config, std::string model,
               const Engine& engine, const Graph& graph, Communicator& world, FaultPlan faults,
               Log& log);
  /// Waits for the writing thread.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  /// All tensors of the state, on every rank.
  [[nodiscard]] const std::vector<StateTensor>& tensors() const { return tensors_; }

  /// Copies the state of `step` and begins to write it. A write that is still under way is ended
  /// first. Collective.
  void begin(std::int64_t step, const std::map<std::string, std::string>& run_state);

  /// Whether this rank has something that `advance` could take further; goes into the step's world
  /// reduction, and `advance` is called when it is true on every rank.
  [[nodiscard]] bool ready() const;
  /// Takes a write further: files written -> published. Collective.
  void advance();
  /// Until nothing is under way. Collective.
  void finish();

  [[nodiscard]] bool busy() const { return state_ != State::idle; }
  /// Step of the newest checkpoint that is complete, -1 without one.
  [[nodiscard]] std::int64_t saved_step() const { return saved_step_; }
  /// Time a checkpoint took, from the copy until it was published; a guess before the first.
  [[nodiscard]] Seconds cost() const { return cost_; }
  /// Whether `auto` or the interval in steps asks for one now. Rank 0's clock decides for `auto`,
  /// which also waits for a write under way; an interval is kept, and such a write ended first.
  [[nodiscard]] bool due(std::int64_t step) const;

  void set_saved_step(std::int64_t step) { saved_step_ = step; }

 private:
  enum class State { idle, writing, publishing };
  struct Written {
    std::optional<StateFile> file;
    std::string error;
  };

  void gather_tensors(const Graph& graph);
  void end_writing();
  void end_publishing();
  void fail(const std::string& error);

  std::filesystem::path folder_;
  CheckpointConfig config_;
  std::string model_;
  const Engine& engine_;
  Communicator& world_;
  FaultPlan faults_;
  Log& log_;
  std::vector<StateTensor> tensors_;
  std::vector<StatePiece> pieces_;
  std::vector<const StateEntry*> entries_;
  std::unique_ptr<RankSnapshot> snapshot_;
  State state_ = State::idle;
  std::int64_t step_ = 0;
  std::int64_t saved_step_ = -1;
  std::map<std::string, std::string> run_state_;
  std::future<Written> writing_;
  std::future<std::string> publishing_;  ///< the error, or nothing; on rank 0
  Seconds cost_{1.0};
  std::chrono::steady_clock::time_point began_, last_;
};

/// Loads the checkpoint into the engine: every rank reads the boxes it holds.
/// @throws UserError (checkpoint) naming what differs; nothing is changed then
void load_checkpoint(const Checkpoint& checkpoint, const std::string& model,
                     const std::vector<StateTensor>& tensors, Engine& engine);

}  // namespace alpa
