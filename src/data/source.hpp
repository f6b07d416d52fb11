#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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
/// Sources of tokens hand out T + 1 ids, of which `rules` make the fields (TokenSamples).
class TokenWindows {
 public:
  TokenWindows(Tokens tokens, const WindowOptions& windows, std::uint64_t seed);

  [[nodiscard]] std::int64_t sequence() const { return sequence_; }
  [[nodiscard]] std::int64_t samples_per_epoch() const { return windows_; }
  [[nodiscard]] std::string fingerprint() const { return tokens_.fingerprint(); }
  [[nodiscard]] std::int64_t num_evaluation_samples() const;
  /// Ids that are there after the first; those behind them are 0.
  [[nodiscard]] std::int64_t valid_labels(SampleId sample) const;
  void ids(SampleId sample, std::span<std::int32_t> row) const;

 private:
  /// Position of the first input token in the ring of training tokens.
  [[nodiscard]] std::int64_t training_start(std::int64_t number) const;

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

  [[nodiscard]] std::int64_t sequence() const { return sequence_; }
  [[nodiscard]] std::int64_t valid_labels(SampleId /*sample*/) const { return sequence_; }
  void ids(SampleId sample, std::span<std::int32_t> row) const;

 private:
  std::int64_t sequence_;
  std::int64_t vocabulary_;
  std::uint64_t seed_;
};

/// T + 1 ids of a sample, and how many of the last T are there.
struct IdRow {
  SampleId sample;
  std::span<const std::int32_t> ids;
  std::int64_t valid = 0;
};
/// The fields of tokens, one row of each.
class TokenFields {
 public:
  TokenFields(std::int64_t sequence, const TokenRules& rules, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  /// Whether every valid label counts.
  [[nodiscard]] bool plain() const;
  void integers(std::string_view field, const IdRow& from, std::span<std::int32_t> row) const;
  void weights(const IdRow& from, std::span<double> row) const;

 private:
  /// Random words of a position of a sample.
  [[nodiscard]] std::array<std::uint32_t, 4> draw(const IdRow& from, std::size_t t) const;
  [[nodiscard]] bool is_chosen(const IdRow& from, std::size_t t) const;
  [[nodiscard]] std::int32_t token(const IdRow& from, std::size_t t) const;
  void documents(const IdRow& from, std::span<std::int32_t> row) const;

  std::int64_t sequence_;
  TokenRules rules_;
  std::uint64_t training_key_, evaluation_key_;
};

/// A source of ids as a source of samples.
template <class Ids>
class TokenSamples {
 public:
  TokenSamples(Ids source, const TokenRules& rules, std::uint64_t seed)
      : source_(std::move(source)), made_(source_.sequence(), rules, seed) {}

  [[nodiscard]] std::vector<Field> fields() const { return made_.fields(); }
  [[nodiscard]] std::int64_t samples_per_epoch() const
    requires requires(const Ids& ids) { ids.samples_per_epoch(); }
  {
    return source_.samples_per_epoch();
  }
  [[nodiscard]] std::string fingerprint() const
    requires requires(const Ids& ids) { ids.fingerprint(); }
  {
    return source_.fingerprint();
  }
  [[nodiscard]] std::int64_t num_evaluation_samples() const
    requires requires(const Ids& ids) { ids.num_evaluation_samples(); }
  {
    return source_.num_evaluation_samples();
  }
  [[nodiscard]] double weight(SampleId sample) const {
    if (made_.plain()) return static_cast<double>(source_.valid_labels(sample));
    std::vector<double> row(static_cast<std::size_t>(source_.sequence()));
    reals("weights", sample, row);
    return std::accumulate(row.begin(), row.end(), 0.0);
  }
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const {
    with_ids(sample, [&](const IdRow& ids) { made_.integers(field, ids, row); });
  }
  void reals(std::string_view /*field*/, SampleId sample, std::span<double> row) const {
    with_ids(sample, [&](const IdRow& ids) { made_.weights(ids, row); });
  }

 private:
  template <class Use>
  void with_ids(SampleId sample, Use use) const {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(source_.sequence()) + 1);
    source_.ids(sample, ids);
    use(IdRow{sample, ids, source_.valid_labels(sample)});
  }

  Ids source_;
  TokenFields made_;
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

class HiddenClasses {
 public:
  HiddenClasses(std::vector<SyntheticField> fields, std::uint64_t seed);

  [[nodiscard]] std::vector<Field> fields() const;
  /// Elements of the field `weights`, which are 1.
  [[nodiscard]] double weight(SampleId sample) const;
  void integers(std::string_view field, SampleId sample, std::span<std::int32_t> row) const;
  void reals(std::string_view field, SampleId sample, std::span<double> row) const;

 private:
  [[nodiscard]] std::uint64_t class_of(SampleId sample) const;

  std::vector<SyntheticField> fields_;
  std::uint64_t seed_;
};

/// Sources of samples that never repeat have no `samples_per_epoch`, `num_evaluation_samples` and
/// `fingerprint`; those whose samples have weight 1 no `weight`.
struct Dataset::Source {
  std::variant<TokenSamples<TokenWindows>, TokenSamples<SuccessorTokens>, Classes, Regression,
               Images, PatternImages, HiddenClasses>
      kind;
  std::vector<Field> fields;
  BatchOptions batches;
};

}  // namespace alpa
