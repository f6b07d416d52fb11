#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "alpa/data/dataset.hpp"

#include "images.hpp"

namespace alpa {

/// A sample of one split: its number in the endless stream of training samples, or among the
/// held-out ones.
struct SampleId {
  Split split = Split::training;
  std::int64_t number = 0;
};

/// Key of a stream of numbers; evaluation samples come from other streams than training samples.
[[nodiscard]] std::uint64_t key_of(std::uint64_t seed, std::string_view name, Split split);

/// An integer below `bound` from a number in [0, 1).
[[nodiscard]] std::int64_t below(double unit, std::int64_t bound);

/// Key of what is drawn anew each epoch.
[[nodiscard]] std::uint64_t epoch_key(std::uint64_t stream, std::int64_t epoch);

/// The fields of models of images; `features` are the same numbers in one dimension.
[[nodiscard]] std::vector<Field> image_fields(const ImageShape& shape);

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
  [[nodiscard]] double weight(SampleId /*sample*/) const { return static_cast<double>(sequence_); }
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  std::int64_t sequence_;
  std::int64_t vocabulary_;
  std::uint64_t seed_;
};

class Images {
 public:
  Images(const ImageOptions& options, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  [[nodiscard]] std::int64_t samples_per_epoch() const { return training_; }
  [[nodiscard]] std::int64_t num_evaluation_samples() const;
  [[nodiscard]] std::string fingerprint() const;
  [[nodiscard]] double weight(SampleId sample) const;
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  struct Place {
    const ImageFile* file;
    std::int64_t image;  ///< of the file
  };
  [[nodiscard]] std::int64_t index_of(SampleId sample) const;
  [[nodiscard]] Place place_of(std::int64_t index) const;
  [[nodiscard]] bool counts(std::int64_t label) const;
  void augment(SampleId sample, std::span<double> pixels) const;
  void check(const ImageFile& file) const;

  std::vector<ImageFile> files_;
  std::vector<std::int64_t> first_;  ///< index of the first image of each file
  std::int64_t training_ = 0;        ///< images before the held-out ones
  std::int64_t all_ = 0;
  ImageShape shape_;
  std::vector<double> mean_, deviation_;  ///< per channel
  ImageOptions options_;
  std::uint64_t seed_;
};

class PatternImages {
 public:
  PatternImages(const ImageShape& shape, std::int64_t classes, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  [[nodiscard]] std::int64_t label(SampleId sample) const;
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  void add_pattern(std::int64_t label, std::span<double> row) const;

  ImageShape shape_;
  std::int64_t classes_;
  std::uint64_t seed_;
};

/// Sources of samples that never repeat have no `samples_per_epoch`, `num_evaluation_samples` and
/// `fingerprint`; those whose samples have weight 1 no `weight`.
struct Dataset::Source {
  std::variant<TokenWindows, Classes, Regression, SuccessorTokens, Images, PatternImages> kind;
  std::vector<Field> fields;
  BatchOptions batches;
};

}  // namespace alpa
