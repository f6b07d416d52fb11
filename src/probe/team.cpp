#include "team.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <span>

namespace alpa::probe_detail {

double clock_seconds(bool processor) {
  timespec time{};
  clock_gettime(processor ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Budget::Budget(Communicator& team, double seconds, std::size_t parts, bool processor_time)
    : team_(team),
      processor_time_(processor_time),
      wall_start_(clock_seconds(false)),
      processor_start_(clock_seconds(true)),
      seconds_(seconds),
      parts_(parts) {}

double Budget::clock() const {
  const double wall = clock_seconds(false) - wall_start_;
  if (!processor_time_) return wall;
  return std::max(clock_seconds(true) - processor_start_, 0.25 * wall);
}

void Budget::next(double share) {
  (void)agree(0.0);
  const auto parts = static_cast<double>(std::max<std::size_t>(parts_, 1));
  end_ = elapsed_ + share * std::max(seconds_ - elapsed_, 0.0) / parts;
  if (parts_ > 0) --parts_;
}

double Budget::agree(double mine) {
  std::array<double, 2> both{mine, clock()};
  wait(*team_.all_reduce(std::as_writable_bytes(std::span(both)), DType::f64, Reduction::max));
  elapsed_ = both[1];
  return both[0];
}

std::vector<double> sums(Communicator& team, std::vector<double> mine) {
  wait_asleep(
      *team.all_reduce(std::as_writable_bytes(std::span(mine)), DType::f64, Reduction::sum));
  return mine;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

}  // namespace alpa::probe_detail
