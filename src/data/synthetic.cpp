#include <algorithm>
#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/data/permutation.hpp"

#include "source.hpp"

namespace alpa {
namespace {

std::vector<double> normals(std::int64_t count, std::uint64_t key, double scale) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = scale * normal(key, 0, i);
  return values;
}

/// N(0,1) numbers that belong to one sample.
void noise(std::uint64_t key, SampleId sample, std::span<double> row) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = normal(key, static_cast<std::uint64_t>(sample.number), i);
  }
}

}  // namespace

std::uint64_t key_of(std::uint64_t seed, std::string_view name, Split split) {
  return stream_key(seed, std::string(name) + (split == Split::training ? "" : ".evaluation"));
}

std::int64_t below(double unit, std::int64_t bound) {
  return std::min(bound - 1, static_cast<std::int64_t>(unit * static_cast<double>(bound)));
}

Classes::Classes(std::int64_t features, std::int64_t classes, std::uint64_t seed)
    : features_(features),
      classes_(classes),
      seed_(seed),
      centres_(normals(classes * features, stream_key(seed, "data.centres"), 1.0)) {}

std::vector<Field> Classes::fields() const {
  return {{"features", {features_}, FieldType::real},
          {"labels", {}, FieldType::integer},
          {"weights", {}, FieldType::real}};
}

std::int64_t Classes::label(SampleId sample) const {
  return below(uniform(key_of(seed_, "data.label", sample.split), 0,
                       static_cast<std::uint64_t>(sample.number)),
               classes_);
}

void Classes::integers(std::string_view /*field*/, SampleId sample,
                       std::span<std::int32_t> row) const {
  row[0] = static_cast<std::int32_t>(label(sample));
}

void Classes::reals(std::string_view field, SampleId sample, std::span<double> row) const {
  if (field == "weights") {
    row[0] = 1;
    return;
  }
  noise(key_of(seed_, "data.features", sample.split), sample, row);
  const auto centre = static_cast<std::size_t>(label(sample) * features_);
  for (std::size_t f = 0; f < row.size(); ++f) row[f] += centres_[centre + f];
}

Regression::Regression(std::int64_t features, std::int64_t outputs, std::uint64_t seed)
    : features_(features),
      outputs_(outputs),
      seed_(seed),
      teacher_(normals(features * outputs, stream_key(seed, "data.teacher"),
                       1.0 / std::sqrt(static_cast<double>(features)))) {}

std::vector<Field> Regression::fields() const {
  return {{"features", {features_}, FieldType::real},
          {"targets", {outputs_}, FieldType::real},
          {"weights", {}, FieldType::real}};
}

void Regression::features_of(SampleId sample, std::span<double> row) const {
  noise(key_of(seed_, "data.features", sample.split), sample, row);
}

void Regression::integers(std::string_view /*field*/, SampleId /*sample*/,
                          std::span<std::int32_t> /*row*/) const {
  ALPA_CHECK(false);  // a regression has no integer field
}

void Regression::reals(std::string_view field, SampleId sample, std::span<double> row) const {
  if (field == "weights") {
    row[0] = 1;
    return;
  }
  if (field == "features") {
    features_of(sample, row);
    return;
  }
  std::vector<double> features(static_cast<std::size_t>(features_));
  features_of(sample, features);
  std::fill(row.begin(), row.end(), 0.0);
  for (std::size_t f = 0; f < features.size(); ++f) {
    for (std::size_t o = 0; o < row.size(); ++o)
      row[o] += features[f] * teacher_[f * row.size() + o];
  }
}

SuccessorTokens::SuccessorTokens(std::int64_t sequence, std::int64_t vocabulary, std::uint64_t seed)
    : sequence_(sequence), vocabulary_(vocabulary), seed_(seed) {}

void SuccessorTokens::ids(SampleId sample, std::span<std::int32_t> row) const {
  constexpr double kNoise = 0.1;
  const std::uint64_t key = key_of(seed_, "data.tokens", sample.split);
  const std::uint64_t successor = stream_key(seed_, "data.successor");
  const auto draw = [&](std::size_t t, std::uint64_t which) {
    return uniform(key, static_cast<std::uint64_t>(sample.number),
                   2 * static_cast<std::uint64_t>(t) + which);
  };
  std::int64_t token = below(draw(0, 0), vocabulary_);
  for (std::size_t t = 0; t < row.size(); ++t) {
    row[t] = static_cast<std::int32_t>(token);
    token = draw(t + 1, 1) < kNoise ? below(draw(t + 1, 0), vocabulary_)
                                    : permuted(token, vocabulary_, successor);
  }
}

}  // namespace alpa
