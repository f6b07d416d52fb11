#pragma once

namespace alpa::bench {

/// What the processor does at best with `threads` threads, the best of several tries.
struct Machine {
  double flops;   ///< fp32 fused multiply-adds per second, two operations each
  double stream;  ///< bytes per second of an AdamW step on arrays that no cache holds: three arrays
                  ///< read and written, one read, 28 bytes an element
};
[[nodiscard]] Machine measure_machine(int threads);

}  // namespace alpa::bench
