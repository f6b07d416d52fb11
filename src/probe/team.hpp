#pragma once

#include <vector>

#include "alpa/comm/communicator.hpp"

namespace alpa::probe_detail {

/// Seconds on the wall, or of this thread's processor time.
[[nodiscard]] double clock_seconds(bool processor);

/// Sums over ranks. Those that have long to wait leave the cores to others.
[[nodiscard]] std::vector<double> sums(Communicator& team, std::vector<double> mine);

[[nodiscard]] double median(std::vector<double> values);

/// Time for a list of measurements on all ranks of a team, shared out among those that are left:
/// what one does not use goes to the others. Every rank sees the same time.
class Budget {
 public:
  /// @param processor_time count this thread's processor time, and a quarter of what passes on the
  ///        wall if that is more: on a busy host measuring takes longer, not less care
  Budget(Communicator& team, double seconds, std::size_t parts, bool processor_time);

  /// Begins the next part, which may take `share` times its equal share of the time that is left.
  void next(double share);
  /// Seconds left of this part, as of the last call of `agree`.
  [[nodiscard]] double left() const { return end_ - elapsed_; }
  /// Largest of one number per rank; nobody returns before all have called it. Reads the clock.
  double agree(double mine);

 private:
  [[nodiscard]] double clock() const;

  Communicator& team_;
  bool processor_time_;
  double wall_start_, processor_start_;
  double seconds_;
  std::size_t parts_;
  double elapsed_ = 0.0;  ///< on the rank that began first
  double end_ = 0.0;      ///< of this part
};

}  // namespace alpa::probe_detail
