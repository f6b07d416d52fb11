#pragma once

#include "alpa/base/units.hpp"

namespace alpa {

/// One way of a link: a message of n bytes takes latency + n / bandwidth.
struct Link {
  Seconds latency;
  double bandwidth = 1.0;  ///< bytes per second
  friend bool operator==(const Link&, const Link&) = default;
};

/// Times of collectives over `ranks` devices in a ring (Thakur, Rabenseifner, Gropp 2005), each
/// with the bytes of the whole tensor: what a rank holds before an all-reduce, after an all-gather.
/// One rank costs nothing.  @pre ranks >= 1
///
/// Example: 4 ranks, 1 MB, 1 us, 1 GB/s: all-reduce 6 us + 1.5 ms, all-gather 3 us + 0.75 ms.
[[nodiscard]] Seconds ring_all_reduce_time(Bytes size, int ranks, const Link& link);
[[nodiscard]] Seconds ring_all_gather_time(Bytes size, int ranks, const Link& link);
[[nodiscard]] Seconds ring_reduce_scatter_time(Bytes size, int ranks, const Link& link);

/// Each rank keeps 1/n of the `size` bytes it holds and sends the rest, pairwise.
[[nodiscard]] Seconds all_to_all_time(Bytes size, int ranks, const Link& link);

/// One message.
[[nodiscard]] Seconds message_time(Bytes size, const Link& link);

/// Prices one axis of a logical mesh directly, in place of links; `beta` in seconds per byte:
/// all-reduce alpha + 2 beta (n-1)/n N, all-gather and reduce-scatter alpha + beta (n-1)/n N,
/// all-to-all alpha + beta (n-1)/n N/n, N being the bytes of the tensor after the splits of the
/// other axes.
struct AxisCost {
  double alpha = 0.0;
  double beta = 0.0;
  friend bool operator==(const AxisCost&, const AxisCost&) = default;
};
[[nodiscard]] Seconds all_reduce_time(Bytes size, int ranks, const AxisCost& cost);
[[nodiscard]] Seconds all_gather_time(Bytes size, int ranks, const AxisCost& cost);
[[nodiscard]] Seconds reduce_scatter_time(Bytes size, int ranks, const AxisCost& cost);
[[nodiscard]] Seconds all_to_all_time(Bytes size, int ranks, const AxisCost& cost);

}  // namespace alpa
