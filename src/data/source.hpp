#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "alpa/data/dataset.hpp"

namespace alpa {

/// A sample of one split: its number in the endless stream of training samples, or among the
/// held-out ones.
struct SampleId {
  Split split = Split::training;
  std::int64_t number = 0;
};

/// Every source hands out whole rows (one sample of one field); Dataset cuts boxes out of them.
class TokenWindows {
 public:
  TokenWindows(Tokens tokens, const WindowOptions& windows, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  [[nodiscard]] std::int64_t samples_per_epoch() const { return windows_; }
  [[nodiscard]] std::string fingerprint() const { return tokens_.fingerprint(); }
  [[nodiscard]] std::int64_t num_evaluation_samples() const;
  [[nodiscard]] double weight(SampleId sample) const;
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  /// Position of the first input token in the ring of training tokens.
  [[nodiscard]] std::int64_t training_start(std::int64_t number) const;
  [[nodiscard]] std::int64_t valid_labels(SampleId sample) const;

  Tokens tokens_;
  std::int64_t sequence_;
  std::int64_t training_;  ///< tokens before the held-out part
  std::int64_t windows_;   ///< per epoch
  bool shuffle_;
  std::uint64_t seed_;
};

class Classes {
 public:
  Classes(std::int64_t features, std::int64_t classes, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  [[nodiscard]] std::int64_t label(SampleId sample) const;
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  std::int64_t features_;
  std::int64_t classes_;
  std::uint64_t seed_;
  std::vector<double> centres_;  ///< [classes, features]
};

class Regression {
 public:
  Regression(std::int64_t features, std::int64_t outputs, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  void features_of(SampleId sample, std::span<double> row) const;

  std::int64_t features_;
  std::int64_t outputs_;
  std::uint64_t seed_;
  std::vector<double> teacher_;  ///< [features, outputs]
};

class SuccessorTokens {
 public:
  SuccessorTokens(std::int64_t sequence, std::int64_t vocabulary, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  [[nodiscard]] double weight_per_sample() const { return static_cast<double>(sequence_); }
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  std::int64_t sequence_;
  std::int64_t vocabulary_;
  std::uint64_t seed_;
};

struct Dataset::Source {
  std::variant<TokenWindows, Classes, Regression, SuccessorTokens> kind;
  std::vector<Field> fields;
  BatchOptions batches;
};

}  // namespace alpa
