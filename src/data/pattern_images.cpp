#include <cmath>
#include <numbers>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"

#include "source.hpp"

namespace alpa {
namespace {

constexpr int kWaves = 4;  ///< of a channel of a pattern
constexpr double kTurn = 2.0 * std::numbers::pi;

/// cos and sin of 2 pi (frequency * i / size + phase) for each i.
struct Wave {
  std::vector<double> cosine, sine;

  Wave(std::int64_t size, double frequency, double phase) {
    for (std::int64_t i = 0; i < size; ++i) {
      const double turns = frequency * static_cast<double>(i) / static_cast<double>(size) + phase;
      cosine.push_back(std::cos(kTurn * turns));
      sine.push_back(std::sin(kTurn * turns));
    }
  }
};

/// A uniform number in (0, 1) of 32 bits.
double unit(std::uint32_t bits) { return (static_cast<double>(bits) + 0.5) * 0x1p-32; }

/// Adds N(0,1) numbers that belong to one sample: four of one Philox block (Box-Muller), since an
/// image takes very many.
void add_noise(std::uint64_t key, SampleId sample, std::span<double> row) {
  const auto number = static_cast<std::uint64_t>(sample.number);
  for (std::size_t i = 0; i < row.size(); i += 4) {
    const auto bits = philox(key, number, i / 4);
    for (std::size_t pair = 0; pair < 4; pair += 2) {
      const double radius = std::sqrt(-2.0 * std::log(unit(bits[pair])));
      const double angle = kTurn * unit(bits[pair + 1]);
      if (i + pair < row.size()) row[i + pair] += radius * std::cos(angle);
      if (i + pair + 1 < row.size()) row[i + pair + 1] += radius * std::sin(angle);
    }
  }
}

}  // namespace

std::string to_string(const ImageShape& shape) {
  return "[" + std::to_string(shape.height) + ", " + std::to_string(shape.width) + ", " +
         std::to_string(shape.channels) + "]";
}

std::vector<Field> image_fields(const ImageShape& shape) {
  return {{"images", {shape.height, shape.width, shape.channels}, FieldType::real},
          {"features", {shape.height * shape.width * shape.channels}, FieldType::real},
          {"labels", {}, FieldType::integer},
          {"weights", {}, FieldType::real}};
}

PatternImages::PatternImages(const ImageShape& shape, std::int64_t classes, std::uint64_t seed)
    : shape_(shape), classes_(classes), seed_(seed) {
  ALPA_CHECK(shape.height >= 1 && shape.width >= 1 && shape.channels >= 1 && classes >= 1);
}

std::vector<Field> PatternImages::fields() const { return image_fields(shape_); }

std::int64_t PatternImages::label(SampleId sample) const {
  return below(uniform(key_of(seed_, "data.label", sample.split), 0,
                       static_cast<std::uint64_t>(sample.number)),
               classes_);
}

/// cos(a + b) = cos a cos b - sin a sin b, so that a wave costs its height and width in cosines.
void PatternImages::add_pattern(std::int64_t label, std::span<double> row) const {
  constexpr double kMostTurns = 3.0;  // across the image, so that neighbours are alike
  const std::uint64_t key = stream_key(seed_, "data.patterns");
  const double scale = std::sqrt(2.0 / kWaves);
  for (std::int64_t wave = 0; wave < shape_.channels * kWaves; ++wave) {
    const auto draw = [&](std::uint64_t which) {
      return uniform(key, static_cast<std::uint64_t>(label),
                     4 * static_cast<std::uint64_t>(wave) + which);
    };
    const Wave down(shape_.height, kMostTurns * draw(0), draw(1));
    const Wave across(shape_.width, kMostTurns * (2 * draw(2) - 1), draw(3));
    const std::int64_t channel = wave / kWaves;
    for (std::int64_t y = 0; y < shape_.height; ++y) {
      const auto j = static_cast<std::size_t>(y);
      for (std::int64_t x = 0; x < shape_.width; ++x) {
        const auto i = static_cast<std::size_t>(x);
        row[static_cast<std::size_t>((y * shape_.width + x) * shape_.channels + channel)] +=
            scale * (down.cosine[j] * across.cosine[i] - down.sine[j] * across.sine[i]);
      }
    }
  }
}

void PatternImages::integers(std::string_view /*field*/, SampleId sample,
                             std::span<std::int32_t> row) const {
  row[0] = static_cast<std::int32_t>(label(sample));
}

void PatternImages::reals(std::string_view field, SampleId sample, std::span<double> row) const {
  if (field == "weights") {
    row[0] = 1;
    return;
  }
  std::fill(row.begin(), row.end(), 0.0);
  add_pattern(label(sample), row);
  add_noise(key_of(seed_, "data.images", sample.split), sample, row);
}

}  // namespace alpa
