#pragma once

#include <vector>

#include "alpa/comm/communicator.hpp"

namespace alpa::probe_detail {

/// Largest of one number per rank, on every rank; nobody returns before all have called it.
[[nodiscard]] double largest(Communicator& team, double mine);

/// Sums over ranks. Those that have long to wait leave the cores to others.
[[nodiscard]] std::vector<double> sums(Communicator& team, std::vector<double> mine);

[[nodiscard]] double median(std::vector<double> values);

/// Time for a list of measurements, shared out among those that are left: what one does not use
/// goes to the others.
class Budget {
 public:
  Budget(double seconds, std::size_t parts) : left_(seconds), parts_(parts) {}
  /// Seconds of the next part.
  [[nodiscard]] double part() const {
    return parts_ > 0 ? left_ / static_cast<double>(parts_) : 0.0;
  }
  void spend(double seconds) {
    left_ = left_ > seconds ? left_ - seconds : 0.0;
    if (parts_ > 0) --parts_;
  }

 private:
  double left_;
  std::size_t parts_;
};

}  // namespace alpa::probe_detail
