#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/data/dataset.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/report/metrics.hpp"
#include "alpa/report/progress.hpp"
#include "alpa/runtime/engine.hpp"
#include "alpa/runtime/signals.hpp"

#include "checkpointer.hpp"
#include "loss_scale.hpp"
#include "train.hpp"

namespace alpa {

/// What the loop needs to know of the run.
struct TrainerInput {
  const RunConfig& config;
  const Graph& graph;
  const Plan& plan;
  Dataset dataset;
  std::string data_fingerprint;
  std::map<std::string, std::int64_t> id_limits;  ///< integer inputs are below them, by name
  Bytes arena;                                    ///< of the largest rank
  std::filesystem::path run_directory;
  std::optional<Seconds> predicted;  ///< of a step
  std::optional<double> peak;        ///< FLOP/s of all devices
};

/// The training loop of one rank: what changes from step to step, what is decided together after
/// each, evaluation, checkpoints, metrics.
class Trainer {
 public:
  Trainer(TrainerInput input, Engine& engine, Checkpointer& checkpointer, Communicator& world,
          Process& process);

  /// Continues after `step` updates, with the run state of its checkpoint.
  void resume(std::int64_t step, const std::map<std::string, std::string>& run_state);

  /// Until the last step, or until a signal or the time limit asks to stop. Collective.
  [[nodiscard]] ExitCode run();

  [[nodiscard]] std::int64_t steps_done() const { return step_; }

 private:
  /// Requests of any rank after a step.
  struct Agreed {
    bool stop = false, save = false, checkpoint_due = false, checkpoint_ready = false;
  };

  void train_step();
  /// Of fp16: what the next step's loss scale is after this one's norm.
  void adapt_loss_scale(double norm_squared);
  void check_finite(double loss, double norm_squared, const std::map<std::string, double>& values);
  [[nodiscard]] std::vector<std::string> nonfinite_before_sums(
      const std::map<std::string, double>& values);
  void inject(const InputEntry& entry, std::span<std::byte> host);
  [[nodiscard]] Agreed agree();
  [[nodiscard]] EvaluationMetrics evaluate();
  [[nodiscard]] std::map<std::string, double> scalars(double weight, bool training) const;
  [[nodiscard]] FillInput fill(Split split, std::int64_t batch);
  void fill_one(Split split, std::int64_t batch, const InputEntry& entry, int microbatch,
                std::span<std::byte> host);
  void fill_low(Split split, std::int64_t batch, const InputEntry& entry, const Box& box,
                std::span<std::uint16_t> host);
  void save();
  void report(const StepMetrics& metrics);
  void report_measured();
  void report_evaluation();
  [[nodiscard]] std::map<std::string, std::string> run_state() const;
  [[nodiscard]] bool is_root() const { return world_.rank() == 0; }

  TrainerInput in_;
  Engine& engine_;
  Checkpointer& checkpointer_;
  Communicator& world_;
  Process& process_;
  TimeLimit limit_;
  std::unique_ptr<MetricsWriter> metrics_;
  Progress progress_;
  std::int64_t step_ = 0;     ///< batches consumed
  std::int64_t updates_ = 0;  ///< of the optimizer: steps less those skipped
  std::int64_t skipped_ = 0;
  LossScale loss_scale_;
  double recent_step_time_ = 0.0;
  std::vector<float> single_;       ///< of an input that is rounded further
  std::vector<double> step_times_;  ///< of this process, on rank 0
  StepMetrics last_;
  FaultAction step_fault_ = FaultAction::none;  ///< of this step's data
  FaultAction data_fault_ = FaultAction::none;  ///< the same, until it has happened
  std::function<void()> before_sums_;           ///< called once at a step's first sum over ranks
  std::vector<std::string> warned_;
};

}  // namespace alpa
