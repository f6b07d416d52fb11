#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "alpa/base/units.hpp"
#include "alpa/report/metrics.hpp"
#include "alpa/report/text.hpp"

namespace alpa {

/// "step 120/200  loss 2.3456  lr 0.001  norm 0.52  predicted 40.9 ms vs measured 41.2 ms
/// 198.8 k tokens/s  12.1 % of peak  120 MiB  left 0:01:02". Without a prediction the measured time
/// alone. `seconds_left` is what the remaining steps will take at the recent pace.
/// @param peak FLOPs per second of all devices; "n/a of peak" without it
[[nodiscard]] std::string progress_text(const StepMetrics& metrics, std::int64_t steps,
                                        std::optional<double> peak, Seconds seconds_left);

/// "2.3456  accuracy 51.2 %  perplexity 10.44  3.384 bits/byte", as far as they are known.
[[nodiscard]] std::string evaluation_text(const EvaluationMetrics& evaluation);

/// "1:02:03"; "2d 1:02:03" from a day on; "-" where it is not finite.
[[nodiscard]] std::string duration_text(Seconds seconds);

/// Lines on stdout (or another descriptor): one that is rewritten in place on a terminal, plain
/// lines elsewhere. Where it cannot be written (closed, full), warns once and is silent.
class Progress {
 public:
  /// @param terminal whether lines are rewritten in place
  Progress(int fd, bool terminal, Warn warn);

  /// The state of things; replaces the last one on a terminal.
  void update(const std::string& line);
  /// A line that stays.
  void print(const std::string& text);
  /// Leaves the last state standing and goes to the next line.
  void finish();

 private:
  void put(const std::string& text);

  int fd_;
  Warn warn_;
  bool terminal_;
  bool open_line_ = false;
  bool failed_ = false;
};

}  // namespace alpa
