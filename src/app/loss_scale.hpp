#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "alpa/config/training_config.hpp"

namespace alpa {

/// The loss scale of fp16 from step to step (Micikevicius et al. 2018): a function of the norms
/// that all ranks see alike. In other precisions it stays 1.
class LossScale {
 public:
  explicit LossScale(const TrainingConfig& training);

  [[nodiscard]] bool is_used() const { return used_; }
  [[nodiscard]] double value() const { return value_; }

  /// After a step that overflowed (its gradients were not finite) or went well.
  /// @throws UserError (numerics) where that takes it below the minimum
  void adapt(bool overflowed);

  /// Reads back what `save` wrote, so that a resumed run goes on bit for bit.
  void restore(const std::map<std::string, std::string>& run_state);
  void save(std::map<std::string, std::string>& run_state) const;

 private:
  LossScaleConfig config_;
  bool used_;
  double value_;
  std::int64_t good_steps_ = 0;  ///< since it changed
};

}  // namespace alpa
