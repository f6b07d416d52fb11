#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/data/permutation.hpp"

#include "source.hpp"

namespace alpa {
namespace {

std::int64_t held_out_tokens(std::int64_t size, double part) {
  if (part <= 0 || size == 0) return 0;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(size) * part));
}

}  // namespace

std::uint64_t epoch_key(std::uint64_t stream, std::int64_t epoch) {
  const auto r = philox(stream, static_cast<std::uint64_t>(epoch), 0);
  return (std::uint64_t{r[0]} << 32U) | r[1];
}

TokenWindows::TokenWindows(Tokens tokens, const WindowOptions& windows, std::uint64_t seed)
    : tokens_(std::move(tokens)),
      sequence_(windows.sequence),
      training_(tokens_.size() - held_out_tokens(tokens_.size(), windows.held_out)),
      windows_((training_ - 1) / sequence_),
      shuffle_(windows.shuffle),
      seed_(seed) {
  ALPA_CHECK(sequence_ >= 1 && windows.held_out >= 0 && windows.held_out < 1);
  if (training_ < sequence_ + 1) {
    throw UserError("the data has " + std::to_string(tokens_.size()) + " tokens, of which " +
                        std::to_string(training_) + " are for training, but one sample needs " +
                        std::to_string(sequence_ + 1) +
                        " (sequence + 1): give more data, a shorter sequence or a smaller held_out",
                    ExitCode::bad_data);
  }
}

std::int64_t TokenWindows::num_evaluation_samples() const {
  return (tokens_.size() - training_ + sequence_ - 1) / sequence_;
}

std::int64_t TokenWindows::training_start(std::int64_t number) const {
  const std::int64_t epoch = number / windows_;
  const std::int64_t place = number % windows_;
  if (!shuffle_) return place * sequence_;
  const std::uint64_t order = epoch_key(stream_key(seed_, "data.order"), epoch);
  const std::uint64_t start = epoch_key(stream_key(seed_, "data.start"), epoch);
  const auto shift = static_cast<std::int64_t>(start % static_cast<std::uint64_t>(training_));
  return (shift + permuted(place, windows_, order) * sequence_) % training_;
}

std::int64_t TokenWindows::valid_labels(SampleId sample) const {
  if (sample.split == Split::training) return sequence_;
  const std::int64_t first_label = training_ + sample.number * sequence_;
  return std::clamp<std::int64_t>(tokens_.size() - first_label, 0, sequence_);
}

void TokenWindows::ids(SampleId sample, std::span<std::int32_t> row) const {
  const std::int64_t valid = valid_labels(sample);
  const bool training = sample.split == Split::training;
  // Window of T = 4 from ring position 9 of 11: ids 9 10 0 1 2. The first held-out token is
  // predicted from the last training token.
  const std::int64_t start =
      training ? training_start(sample.number) : training_ - 1 + sample.number * sequence_;
  for (std::int64_t t = 0; t <= sequence_; ++t) {
    const std::int64_t at = start + t;
    row[static_cast<std::size_t>(t)] = t <= valid ? tokens_[training ? at % training_ : at] : 0;
  }
}

}  // namespace alpa
