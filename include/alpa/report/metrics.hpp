#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "alpa/base/units.hpp"
#include "alpa/report/text.hpp"

namespace alpa {

/// What an evaluation found.
struct EvaluationMetrics {
  double loss = 0.0;                    ///< mean over the labels that count
  std::optional<double> accuracy;       ///< share of them that is predicted right
  std::optional<double> perplexity;     ///< of models of tokens: e^loss
  std::optional<double> bits_per_byte;  ///< of text read byte by byte: loss / ln 2
};

/// One line of metrics.jsonl: batch `step`, with the loss before update `step`.
struct StepMetrics {
  std::int64_t step = 0;  ///< from 1
  double loss = 0.0;
  double lr = 0.0;
  double grad_norm = 0.0;  ///< before clipping
  Seconds step_time;
  double rate = 0.0;              ///< tokens or samples of the global batch per second
  bool tokens = false;            ///< rate counts tokens
  double flops_per_second = 0.0;  ///< model FLOPs of the whole job
  Bytes memory;                   ///< largest arena of a device
  std::optional<Seconds> predicted_step_time;
  bool skipped = false;
  std::optional<double> loss_scale;             ///< of fp16, in this step
  std::optional<double> accuracy;               ///< of the batch, before the update
  std::optional<EvaluationMetrics> evaluation;  ///< where one followed this step
};

/// The line, without its end; keys as in the documentation, values that are not finite as null.
[[nodiscard]] std::string to_json(const StepMetrics& metrics);

/// Appends to metrics.jsonl, a line a step. A disk that fails gives one warning and the training
/// goes on; lines that did not fit are missing, never torn.
class MetricsWriter {
 public:
  /// Cuts off what stands after the line of `resumed_step` (all, for 0): those steps come again.
  MetricsWriter(std::filesystem::path path, std::int64_t resumed_step, Warn warn);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  void write(const StepMetrics& metrics);
  /// Makes the lines so far durable; call with each checkpoint.
  void sync();

 private:
  void fail(const std::string& what, int error_number);

  std::filesystem::path path_;
  Warn warn_;
  int fd_ = -1;
  std::int64_t size_ = 0;  ///< of whole lines
  bool warned_ = false;
};

}  // namespace alpa
