#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "alpa/base/optimizer_kind.hpp"
#include "alpa/base/units.hpp"
#include "alpa/config/data_config.hpp"
#include "alpa/config/value_types.hpp"

namespace alpa {

enum class Precision : std::uint8_t { fp64, fp32, tf32, bf16, fp16 };
enum class RateSchedule : std::uint8_t { constant, linear, cosine, wsd };
enum class LossReduction : std::uint8_t { mean, sum };
enum class OnError : std::uint8_t { stop, continue_training };
enum class LogLevel : std::uint8_t { trace, debug, info, warning, error };
enum class Color : std::uint8_t { automatic, always, never };

/// The word of a key that leaves a choice to the program.
struct Automatic {
  friend bool operator==(const Automatic&, const Automatic&) = default;
};
/// The word of a key that turns something off.
struct Never {
  friend bool operator==(const Never&, const Never&) = default;
};

struct EvaluateConfig {
  std::optional<std::int64_t> every = 50;  ///< steps; nullopt: only at the end
  std::optional<std::int64_t> samples;     ///< nullopt: all
  friend bool operator==(const EvaluateConfig&, const EvaluateConfig&) = default;
};

/// Of fp16: what gradients are multiplied with on their way back, so that small ones stay above 0.
/// Halved after a step whose gradients are not finite, doubled after `growth_interval` others.
struct LossScaleConfig {
  double initial = 65536.0;
  std::int64_t growth_interval = 2000;
  double minimum = 1.0;  ///< below it training stops
  friend bool operator==(const LossScaleConfig&, const LossScaleConfig&) = default;
};

struct TrainingConfig {
  std::int64_t steps = 200;
  std::int64_t global_batch = 32;  ///< samples per optimizer step over all ranks
  Precision precision = Precision::fp32;
  LossScaleConfig loss_scale;
  std::int64_t seed = 1;
  std::optional<double> clip_norm = 1.0;
  /// Of cross-entropy: the target is 1 - s on the label and s / classes on every class.
  double label_smoothing = 0.0;
  LossReduction loss_reduction = LossReduction::mean;  ///< over the weights of the global batch
  std::optional<std::int64_t>
      skip_nonfinite;  ///< nullopt: stop; else at most so many skipped steps
  EvaluateConfig evaluate;
  Seconds watchdog{300.0};                                       ///< 0: off
  std::variant<Automatic, Never, Seconds> time_limit;            ///< Automatic: Slurm's
  std::optional<std::pair<std::int64_t, std::int64_t>> profile;  ///< first and last step
  friend bool operator==(const TrainingConfig&, const TrainingConfig&) = default;
};

/// Learning rate over the steps, as a share of optimizer.learning_rate. Rises linearly from 0 over
/// `warmup` steps; then constant, or down to `final` at the last step along a line or a half
/// cosine; wsd stays constant and goes down along a line in the last `decay` steps.
struct ScheduleConfig {
  RateSchedule name = RateSchedule::cosine;
  std::int64_t warmup = 20;
  double final_share = 0.1;
  std::optional<std::int64_t> decay;  ///< nullopt: a fifth of training.steps
  friend bool operator==(const ScheduleConfig&, const ScheduleConfig&) = default;
};

/// Parameters with settings of their own.
struct ParameterGroup {
  std::vector<std::string> parameters;      ///< globs; each matches one parameter or more
  double learning_rate_factor = 1.0;        ///< times the rate of the schedule
  std::optional<double> weight_decay = {};  ///< nullopt: as of any other parameter
  friend bool operator==(const ParameterGroup&, const ParameterGroup&) = default;
};

struct OptimizerConfig {
  OptimizerKind name = OptimizerKind::adamw;
  double learning_rate = 0.001;
  double momentum = 0.9;                      ///< momentum
  std::array<double, 2> betas = {0.9, 0.99};  ///< adam, adamw, lamb
  double epsilon = 1e-8;                      ///< adam, adamw, lamb
  bool relative_step = false;                 ///< adafactor: rate times RMS of the parameter
  /// Default 0 unless adamw. adamw, lamb, adafactor: decoupled; others: added to the gradient.
  double weight_decay = 0.1;
  std::vector<std::string> no_decay = {"*.bias", "*norm*", "positions"};  ///< globs
  std::vector<ParameterGroup> groups = {};  ///< the first that matches a parameter counts
  ScheduleConfig schedule;
  friend bool operator==(const OptimizerConfig&, const OptimizerConfig&) = default;
};

struct CheckpointConfig {
  std::variant<Automatic, Never, std::int64_t> every;  ///< steps
  std::int64_t keep = 2;
  bool asynchronous = true;
  OnError on_error = OnError::stop;
  Seconds expected_failures{86400.0};  ///< mean time between failures of the job
  std::optional<std::string> init_from;
  friend bool operator==(const CheckpointConfig&, const CheckpointConfig&) = default;
};

struct LoggingConfig {
  std::int64_t every = 10;
  LogLevel level = LogLevel::info;
  Color color = Color::automatic;
  friend bool operator==(const LoggingConfig&, const LoggingConfig&) = default;
};

[[nodiscard]] std::span<const EnumName<Precision>> names_of(Precision);
[[nodiscard]] std::span<const EnumName<OptimizerKind>> names_of(OptimizerKind);
[[nodiscard]] std::span<const EnumName<RateSchedule>> names_of(RateSchedule);
[[nodiscard]] std::span<const EnumName<LossReduction>> names_of(LossReduction);
[[nodiscard]] std::span<const EnumName<OnError>> names_of(OnError);
[[nodiscard]] std::span<const EnumName<LogLevel>> names_of(LogLevel);
[[nodiscard]] std::span<const EnumName<Color>> names_of(Color);

}  // namespace alpa
