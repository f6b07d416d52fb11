#include "alpa/data/dataset.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "alpa/base/error.hpp"

#include "source.hpp"

namespace alpa {
namespace {

/// A source of samples that never repeat is evaluated on so many batches, unless told otherwise.
constexpr std::int64_t kSyntheticEvaluationBatches = 10;

std::int64_t num_evaluation_samples(const Dataset::Source& source) {
  const std::int64_t synthetic = kSyntheticEvaluationBatches * source.batches.global_batch;
  const std::int64_t limit = source.batches.evaluation_samples;
  return std::visit(
      [&](const auto& kind) {
        if constexpr (requires { kind.num_evaluation_samples(); }) {
          const std::int64_t all = kind.num_evaluation_samples();
          return limit > 0 ? std::min(limit, all) : all;
        } else {
          return limit > 0 ? limit : synthetic;
        }
      },
      source.kind);
}

SampleId sample_of(const Dataset::Source& source, Split split, std::int64_t batch,
                   std::int64_t place) {
  const std::int64_t before = split == Split::training ? batch - 1 : batch;
  ALPA_CHECK(before >= 0);
  return {split, before * source.batches.global_batch + place};
}

bool is_padding(const Dataset::Source& source, SampleId sample) {
  return sample.split == Split::evaluation && sample.number >= num_evaluation_samples(source);
}

double weight_of(const Dataset::Source& source, SampleId sample) {
  if (is_padding(source, sample)) return 0;
  return std::visit(
      [&](const auto& kind) {
        if constexpr (requires { kind.weight(sample); }) {
          return kind.weight(sample);
        } else {
          return 1.0;
        }
      },
      source.kind);
}

/// Copies `box` of a dense row-major tensor of `shape` to dense `out`; returns the end of what it
/// wrote.
template <class From, class To>
To* cut(const From* row, const Shape& shape, const Box& box, std::size_t dim, std::int64_t at,
        To* out) {
  if (dim == shape.size()) {
    *out = static_cast<To>(row[at]);
    return out + 1;
  }
  for (std::int64_t i = box.offset[dim]; i < box.offset[dim] + box.extent[dim]; ++i) {
    out = cut(row, shape, box, dim + 1, at * shape[dim] + i, out);
  }
  return out;
}

template <class Element>
void fill_box(const Dataset::Source& source, Split split, std::int64_t batch, const Field& field,
              const Box& box, std::span<Element> out) {
  using Row = std::conditional_t<std::is_integral_v<Element>, std::int32_t, double>;
  constexpr bool kInteger = std::is_integral_v<Element>;
  ALPA_CHECK((field.type == FieldType::integer) == kInteger);
  Shape shape = field.sample_shape;
  shape.insert(shape.begin(), source.batches.global_batch);
  ALPA_CHECK(box.extent.size() == shape.size() && contains(whole_box(shape), box));
  ALPA_CHECK(static_cast<std::int64_t>(out.size()) == num_elements(box.extent));
  const Box inner{{box.offset.begin() + 1, box.offset.end()},
                  {box.extent.begin() + 1, box.extent.end()}};
  std::vector<Row> row(static_cast<std::size_t>(num_elements(field.sample_shape)));
  Element* end = out.data();
  for (std::int64_t place = box.offset[0]; place < box.offset[0] + box.extent[0]; ++place) {
    const SampleId sample = sample_of(source, split, batch, place);
    if (is_padding(source, sample)) {
      std::fill(row.begin(), row.end(), Row{0});
    } else {
      std::visit(
          [&](const auto& kind) {
            if constexpr (kInteger) kind.integers(field.name, sample, row);
            if constexpr (!kInteger) kind.reals(field.name, sample, row);
          },
          source.kind);
    }
    end = cut(row.data(), field.sample_shape, inner, 0, 0, end);
  }
}

const Field& field_named(const Dataset::Source& source, std::string_view name) {
  const auto found = std::find_if(source.fields.begin(), source.fields.end(),
                                  [&](const Field& field) { return field.name == name; });
  ALPA_CHECK(found != source.fields.end());
  return *found;
}

template <class Kind>
Dataset make_dataset(Kind kind, const BatchOptions& batches) {
  ALPA_CHECK(batches.global_batch >= 1 && batches.evaluation_samples >= 0);
  auto fields = kind.fields();
  return Dataset(std::make_shared<const Dataset::Source>(
      Dataset::Source{std::move(kind), std::move(fields), batches}));
}

}  // namespace

Dataset::Dataset(std::shared_ptr<const Source> source) : source_(std::move(source)) {}

const std::vector<Field>& Dataset::fields() const { return source_->fields; }
std::int64_t Dataset::global_batch() const { return source_->batches.global_batch; }

std::int64_t Dataset::samples_per_epoch() const {
  return std::visit(
      [](const auto& kind) -> std::int64_t {
        if constexpr (requires { kind.samples_per_epoch(); }) return kind.samples_per_epoch();
        return 0;
      },
      source_->kind);
}

std::string Dataset::fingerprint() const {
  return std::visit(
      [](const auto& kind) -> std::string {
        if constexpr (requires { kind.fingerprint(); }) return kind.fingerprint();
        return "";
      },
      source_->kind);
}

std::int64_t Dataset::num_evaluation_batches() const {
  return (num_evaluation_samples(*source_) + global_batch() - 1) / global_batch();
}

double Dataset::total_weight(Split split, std::int64_t batch) const {
  double sum = 0;
  for (std::int64_t place = 0; place < global_batch(); ++place) {
    sum += weight_of(*source_, sample_of(*source_, split, batch, place));
  }
  return sum;
}

void Dataset::fill(Split split, std::int64_t batch, std::string_view field, const Box& box,
                   std::span<std::int32_t> out) const {
  fill_box(*source_, split, batch, field_named(*source_, field), box, out);
}

void Dataset::fill(Split split, std::int64_t batch, std::string_view field, const Box& box,
                   std::span<float> out) const {
  fill_box(*source_, split, batch, field_named(*source_, field), box, out);
}

void Dataset::fill(Split split, std::int64_t batch, std::string_view field, const Box& box,
                   std::span<double> out) const {
  fill_box(*source_, split, batch, field_named(*source_, field), box, out);
}

Dataset token_dataset(Tokens tokens, const WindowOptions& windows, const BatchOptions& batches,
                      const TokenRules& rules) {
  TokenWindows source(std::move(tokens), windows, batches.seed);
  return make_dataset(TokenSamples(std::move(source), rules, batches.seed), batches);
}

Dataset image_dataset(const ImageOptions& images, const BatchOptions& batches) {
  return make_dataset(Images(images, batches.seed), batches);
}

Dataset synthetic_images(const ImageShape& shape, std::int64_t classes,
                         const BatchOptions& batches) {
  return make_dataset(PatternImages(shape, classes, batches.seed), batches);
}

Dataset synthetic_classes(std::int64_t features, std::int64_t classes,
                          const BatchOptions& batches) {
  return make_dataset(Classes(features, classes, batches.seed), batches);
}

Dataset synthetic_regression(std::int64_t features, std::int64_t outputs,
                             const BatchOptions& batches) {
  return make_dataset(Regression(features, outputs, batches.seed), batches);
}

Dataset synthetic_tokens(std::int64_t sequence, std::int64_t vocabulary,
                         const BatchOptions& batches, const TokenRules& rules) {
  SuccessorTokens source(sequence, vocabulary, batches.seed);
  return make_dataset(TokenSamples(std::move(source), rules, batches.seed), batches);
}

Dataset synthetic_fields(const std::vector<SyntheticField>& fields, const BatchOptions& batches) {
  return make_dataset(HiddenClasses(fields, batches.seed), batches);
}

}  // namespace alpa
