#include "alpa/cluster/collective_cost.hpp"

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

/// `steps` messages of size / ranks bytes, one after the other.
Seconds ring_time(double steps, Bytes size, int ranks, const Link& link) {
  ALPA_CHECK(ranks >= 1);
  const double bytes = static_cast<double>(size.value) / ranks;
  return {steps * (link.latency.value + bytes / link.bandwidth)};
}

double share(Bytes size, int ranks) {
  ALPA_CHECK(ranks >= 1);
  return static_cast<double>(size.value) * (ranks - 1) / ranks;
}

}  // namespace

Seconds ring_all_reduce_time(Bytes size, int ranks, const Link& link) {
  return ring_time(2.0 * (ranks - 1), size, ranks, link);
}

Seconds ring_all_gather_time(Bytes size, int ranks, const Link& link) {
  return ring_time(ranks - 1.0, size, ranks, link);
}

Seconds ring_reduce_scatter_time(Bytes size, int ranks, const Link& link) {
  return ring_time(ranks - 1.0, size, ranks, link);
}

Seconds all_to_all_time(Bytes size, int ranks, const Link& link) {
  return ring_time(ranks - 1.0, size, ranks, link);
}

Seconds message_time(Bytes size, const Link& link) {
  return {link.latency.value + static_cast<double>(size.value) / link.bandwidth};
}

Seconds all_reduce_time(Bytes size, int ranks, const AxisCost& cost) {
  return {ranks == 1 ? 0.0 : cost.alpha + 2.0 * cost.beta * share(size, ranks)};
}

Seconds all_gather_time(Bytes size, int ranks, const AxisCost& cost) {
  return {ranks == 1 ? 0.0 : cost.alpha + cost.beta * share(size, ranks)};
}

Seconds reduce_scatter_time(Bytes size, int ranks, const AxisCost& cost) {
  return all_gather_time(size, ranks, cost);
}

Seconds all_to_all_time(Bytes size, int ranks, const AxisCost& cost) {
  return {ranks == 1 ? 0.0 : cost.alpha + cost.beta * share(size, ranks) / ranks};
}

}  // namespace alpa
