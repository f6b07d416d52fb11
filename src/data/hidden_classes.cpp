#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"

#include "source.hpp"

namespace alpa {
namespace {

constexpr std::uint64_t kClasses = 8;
constexpr double kNoise = 0.1;  ///< share of integers that tell nothing

bool is_weight(std::string_view field) { return field.starts_with("weights"); }

}  // namespace

HiddenClasses::HiddenClasses(std::vector<SyntheticField> fields, std::uint64_t seed)
    : fields_(std::move(fields)), seed_(seed) {}

std::vector<Field> HiddenClasses::fields() const {
  std::vector<Field> all;
  for (const SyntheticField& each : fields_) all.push_back(each.field);
  return all;
}

double HiddenClasses::weight(SampleId /*sample*/) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(), [](const SyntheticField& each) {
    return each.field.name == "weights";
  });
  return found == fields_.end() ? 1.0
                                : static_cast<double>(num_elements(found->field.sample_shape));
}

std::uint64_t HiddenClasses::class_of(SampleId sample) const {
  const double unit = uniform(key_of(seed_, "data.class", sample.split), 0,
                              static_cast<std::uint64_t>(sample.number));
  return static_cast<std::uint64_t>(below(unit, static_cast<std::int64_t>(kClasses)));
}

void HiddenClasses::integers(std::string_view field, SampleId sample,
                             std::span<std::int32_t> row) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(), [&](const SyntheticField& each) {
    return each.field.name == field;
  });
  ALPA_CHECK(found != fields_.end());
  const std::string name = "data." + std::string(field);
  const std::uint64_t of_class = stream_key(seed_, name + ".class");
  const std::uint64_t key = key_of(seed_, name, sample.split);
  const auto number = static_cast<std::uint64_t>(sample.number);
  const std::uint64_t hidden = class_of(sample);
  for (std::size_t i = 0; i < row.size(); ++i) {
    const bool tells = uniform(key, number, 2 * i) >= kNoise;
    const double unit = tells ? uniform(of_class, hidden, i) : uniform(key, number, 2 * i + 1);
    row[i] = static_cast<std::int32_t>(below(unit, found->values));
  }
}

void HiddenClasses::reals(std::string_view field, SampleId sample, std::span<double> row) const {
  if (is_weight(field)) {
    std::fill(row.begin(), row.end(), 1.0);
    return;
  }
  const std::string name = "data." + std::string(field);
  const std::uint64_t of_class = stream_key(seed_, name + ".class");
  const std::uint64_t key = key_of(seed_, name, sample.split);
  const auto number = static_cast<std::uint64_t>(sample.number);
  const std::uint64_t hidden = class_of(sample);
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = normal(of_class, hidden, i) + normal(key, number, i);
  }
}

}  // namespace alpa
