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
  Budget(Communicator& team, double seconds, std::size_t parts);

  /// Begins the next part, which may take `share` times its equal share of the time that is left.
  void next(double share);
  /// Seconds left of this part, as of the last call of `agree`.
  [[nodiscard]] double left() const { return end_ - elapsed_; }
  /// Largest of one number per rank; nobody returns before all have called it. Reads the clock.
  double agree(double mine);

 private:
  Communicator& team_;
  double start_;
  double seconds_;
  std::size_t parts_;
  double elapsed_ = 0.0;  ///< on the rank that began first
  double end_ = 0.0;      ///< of this part
};

}  // namespace alpa::probe_detail
