#pragma once

#include <optional>
#include <string>
#include <vector>

#include "alpa/graph/builder.hpp"

namespace alpa {

/// Names of the scalars of a step.
namespace scalar_name {
inline constexpr const char* kLearningRate = "step.learning_rate";
inline constexpr const char* kOptimizerStep = "step.optimizer_step";  ///< counts from 1
inline constexpr const char* kDropoutStep = "step.dropout_step";
inline constexpr const char* kTraining = "step.training";             ///< 0 in evaluation
inline constexpr const char* kInverseWeight = "step.inverse_weight";  ///< 1 / weights of the batch
/// What a loss scale of fp16 multiplies gradients with; 1 in other precisions.
inline constexpr const char* kLossScale = "step.loss_scale";
inline constexpr const char* kInverseLossScale = "step.inverse_loss_scale";
/// kInverseWeight times kLossScale: stands in the gradient of a loss where its value has the
/// former.
inline constexpr const char* kGradientWeight = "step.gradient_weight";
inline constexpr const char* kCorrect = "step.correct";  ///< weights of what was predicted right
inline constexpr const char* kLoss = "step.loss";
inline constexpr const char* kNormSquared = "step.norm_squared";  ///< of the gradient, unclipped
}  // namespace scalar_name

/// Parameters with settings of their own.
struct OptimizerGroup {
  std::vector<std::string> parameters;  ///< globs, see glob_matches
  double learning_rate_factor = 1.0;
  std::optional<double> weight_decay =
      {};  ///< in the place of the common one, whatever no_decay says
};

/// The optimizer, as in the kernels Update, LambDirection, SecondMoment and ApplyDirection.
struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::adamw;
  double momentum = 0.9, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool relative_step = false;  ///< adafactor
  double weight_decay = 0.0;
  std::vector<std::string> no_decay = {};   ///< globs of parameter names, see glob_matches
  double clip_norm = 0.0;                   ///< of the global norm; 0: none
  std::vector<OptimizerGroup> groups = {};  ///< the first that matches a parameter counts
};

/// Sums the elements of `values` (f64) in operator `name` and contributes the sum to a global
/// scalar. Returns the sum.
TensorId contribute_sum(GraphBuilder& builder, const std::string& name, TensorId values,
                        const std::string& scalar);

/// The same to `step.loss`. The sum is to be given to add_training.
TensorId add_loss(GraphBuilder& builder, const std::string& name, TensorId values);

/// Keeps a running average of `value`, of which each microbatch has a part that adds up to the
/// whole over a step, in the untrained parameter `statistic` (kernel RunningAverage): an
/// accumulator
/// `<statistic>.accumulator` and an update. May be called while forward operators are added.
void add_running_average(GraphBuilder& builder, TensorId statistic, TensorId value,
                         double momentum);

/// Adds what makes a training step of a forward graph: backward operators; per parameter and layer
/// that uses it an accumulator `<parameter>[@layer].accumulator` (f32 or wider); in `reduce` the
/// sum `<parameter>.gradient_sum` of the accumulators of one used in several layers, and the
/// contribution to `step.norm_squared`; in `update` the optimizer, with states `.velocity`,
/// `.adam_m` and `.adam_v`, `.lamb_m` and `.lamb_v`, or `.second_moment_rows` and
/// `.second_moment_columns` (adafactor; `.second_moment` of a vector). Parameters without a path to
/// a loss are left alone.
///
/// Adafactor sees a parameter of two or more dimensions as a matrix: its first dimensions make the
/// rows, its last ones the columns, cut where rows and columns together are fewest (the first such
/// place). A weight [e, 3, h, d] of attention is the matrix e x 3hd.
void add_training(GraphBuilder& builder, const std::vector<TensorId>& losses,
                  const OptimizerSpec& optimizer);

}  // namespace alpa
