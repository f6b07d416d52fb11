#include "team.hpp"

#include <algorithm>
#include <span>

namespace alpa::probe_detail {

double largest(Communicator& team, double mine) {
  wait(*team.all_reduce(std::as_writable_bytes(std::span(&mine, 1)), DType::f64, Reduction::max));
  return mine;
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
