#include "loss_scale.hpp"

#include <stdexcept>

#include "alpa/base/error.hpp"
#include "alpa/report/text.hpp"

namespace alpa {

LossScale::LossScale(const TrainingConfig& training)
    : config_(training.loss_scale),
      used_(training.precision == Precision::fp16),
      value_(used_ ? config_.initial : 1.0) {}

void LossScale::adapt(bool overflowed) {
  if (!used_) return;
  if (overflowed) {
    value_ /= 2.0;
    good_steps_ = 0;
    if (value_ >= config_.minimum) return;
    throw UserError("the gradients are not finite at a loss scale of " + shortest(2.0 * value_) +
                        ", and training.loss_scale.minimum is " + shortest(config_.minimum) +
                        ": lower optimizer.learning_rate, or train in bf16",
                    ExitCode::numerics);
  }
  if (++good_steps_ < config_.growth_interval) return;
  value_ *= 2.0;
  good_steps_ = 0;
}

void LossScale::restore(const std::map<std::string, std::string>& run_state) {
  const auto value = run_state.find("loss_scale");
  const auto good_steps = run_state.find("loss_scale_good_steps");
  if (!used_ || value == run_state.end() || good_steps == run_state.end()) return;
  value_ = std::stod(value->second);
  good_steps_ = std::stoll(good_steps->second);
}

void LossScale::save(std::map<std::string, std::string>& run_state) const {
  if (!used_) return;
  run_state["loss_scale"] = shortest(value_);
  run_state["loss_scale_good_steps"] = std::to_string(good_steps_);
}

}  // namespace alpa
