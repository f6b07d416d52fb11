#include "checks.hpp"
#include "sections.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 31;
constexpr std::int64_t kLargestSide = 65536;
constexpr NumberRange kShare{.min = 0, .max = 1, .open_max = true};
constexpr NumberRange kPositive{.min = 0, .open_min = true};
constexpr NumberRange kProbability{.min = 0, .max = 1, .open_min = true};

ValueType<std::vector<std::string>> paths() {
  return list_of(text(), "a list of files or folders");
}

ValueType<std::array<std::int64_t, 3>> shape_type() {
  using Sides = std::array<std::int64_t, 3>;
  return mapped<Sides>(
      list_of(integer(1, kLargestSide), "[height, width, channels]", 3, 3),
      [](const std::vector<std::int64_t>& v) { return Sides{v[0], v[1], v[2]}; },
      [](const Sides& a) { return std::vector<std::int64_t>(a.begin(), a.end()); });
}

Section<SyntheticData> synthetic_section() {
  using S = SyntheticData;
  return Section<S>({
      key("kind", &S::kind, choice<SyntheticKind>(), "what is drawn"),
      key("features", &S::features, if_given(integer(1, kLargest)),
          "inputs of a sample (classes, regression); default: what the model takes"),
      key("classes", &S::classes, if_given(integer(1, kLargest)),
          "classes (classes, images), or targets of a regression; default: what the model gives"),
      key("vocabulary", &S::vocabulary, if_given(integer(1, kLargest)),
          "different tokens (tokens); default: the model's"),
      key("sequence", &S::sequence, if_given(integer(1, kLargest)),
          "tokens of a sample (tokens); default: the model's"),
      key("image", &S::image, if_given(integer(1, kLargestSide)),
          "pixels a side (images); default: the model's"),
      key("channels", &S::channels, if_given(integer(1, kLargestSide)),
          "of an image; default: 3, or what makes up the model's features"),
  });
}

Section<ImageFiles> images_section() {
  using I = ImageFiles;
  using A = AugmentationConfig;
  Section<A> augmentation({
      key("crop", &A::crop, integer(0, kLargestSide),
          "training: pixels of zeros put around an image before a window of its size is cut out "
          "at a random place"),
      key("flip", &A::flip, boolean(), "training: mirror half of the images left to right"),
  });
  return Section<I>({
      key("files", &I::files, paths(),
          "image files or folders of them; files named t10k-* or test_batch* of a folder are "
          "evaluation files unless those are given"),
      key("evaluation_files", &I::evaluation_files, paths(), "empty: held_out of the files"),
      key("format", &I::format, choice<ImageFormat>(),
          "cifar10: binary batches; idx: MNIST's, labels in the file of the like name; hdf5: "
          "datasets `image` [n y x c] or [n y x] and `label` [n]"),
      key("shape", &I::shape, if_given(shape_type()), "default: what the model or format says"),
      key("mean", &I::mean, word_or("auto", list_of(number({}), "a list of numbers", 1)),
          "taken off the pixels, which are in [0, 1]; one number or one per channel; auto: "
          "CIFAR-10's, MNIST's (idx), ImageNet's (hdf5 of bytes in 3 channels), 0.5 (other "
          "bytes), 0 (hdf5 of reals)"),
      key("deviation", &I::deviation,
          word_or("auto", list_of(number(kPositive), "a list of numbers > 0", 1)),
          "by which they are divided then; auto: likewise; 0.5 for other bytes, 1 for reals"),
      key("augmentation", &I::augmentation, section(augmentation), ""),
  });
}

/// What a model of images takes, as far as it says.
std::optional<std::array<std::int64_t, 3>> model_image(const ModelConfig& model) {
  if (const auto* wide = std::get_if<WideResnetConfig>(&model.shape)) {
    return std::array<std::int64_t, 3>{wide->image, wide->image, 3};
  }
  return std::nullopt;
}

void fill_image_sizes(SyntheticData& synthetic, const ModelConfig& model) {
  if (const auto* wide = std::get_if<WideResnetConfig>(&model.shape)) {
    if (!synthetic.image) synthetic.image = wide->image;
    if (!synthetic.classes) synthetic.classes = wide->classes;
  }
  if (synthetic.channels) return;
  synthetic.channels = 3;
  const auto* mlp = std::get_if<MlpConfig>(&model.shape);
  if (mlp == nullptr || !synthetic.image) return;
  const std::int64_t pixels = *synthetic.image * *synthetic.image;
  if (mlp->features % pixels == 0) synthetic.channels = mlp->features / pixels;
}

void fill_synthetic(SyntheticData& synthetic, const ModelConfig& model, const YamlNode& root) {
  const bool chosen = is_written(root, "data.synthetic.kind");
  if (const auto* transformer = std::get_if<TransformerConfig>(&model.shape)) {
    if (!chosen) synthetic.kind = SyntheticKind::tokens;
    if (!synthetic.vocabulary) synthetic.vocabulary = transformer->vocabulary;
    if (!synthetic.sequence) synthetic.sequence = transformer->sequence;
    return;
  }
  const auto* mlp = std::get_if<MlpConfig>(&model.shape);
  if (model.preset == Preset::wide_resnet && !chosen) synthetic.kind = SyntheticKind::images;
  if (mlp != nullptr && !synthetic.classes) synthetic.classes = mlp->classes;
  if (synthetic.kind == SyntheticKind::images) {
    fill_image_sizes(synthetic, model);
  } else if (mlp != nullptr && !synthetic.features) {
    synthetic.features = mlp->features;
  }
}

}  // namespace

void fill_data_defaults(RunConfig& config, const YamlNode& root) {
  DataConfig& data = config.data;
  if (config.model.preset == Preset::bert && !data.masking) data.masking = MaskingConfig{};
  if (data.source == DataSource::synthetic) fill_synthetic(data.synthetic, config.model, root);
  if (data.source != DataSource::images || data.images.shape) return;
  data.images.shape = model_image(config.model);
  if (!data.images.shape && data.images.format == ImageFormat::cifar10) {
    data.images.shape = {32, 32, 3};
  }
}

std::optional<std::array<std::int64_t, 3>> image_shape(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (data.source == DataSource::images) return data.images.shape;
  const SyntheticData& synthetic = data.synthetic;
  if (data.source != DataSource::synthetic || synthetic.kind != SyntheticKind::images ||
      !synthetic.image || !synthetic.channels) {
    return std::nullopt;
  }
  return std::array<std::int64_t, 3>{*synthetic.image, *synthetic.image, *synthetic.channels};
}

std::optional<std::int64_t> num_features(const RunConfig& config) {
  if (const auto shape = image_shape(config)) return (*shape)[0] * (*shape)[1] * (*shape)[2];
  return config.data.synthetic.features;
}

Section<DataConfig> data_section() {
  using D = DataConfig;
  Section<TokenFiles> tokens({
      key("files", &TokenFiles::files, list_of(text(), "a list of files"),
          "raw little-endian token ids"),
      key("dtype", &TokenFiles::dtype, choice<TokenType>(), "type of one id"),
  });
  Section<Hdf5Files> hdf5({
      key("files", &Hdf5Files::files, list_of(text(), "a list of files"),
          "HDF5 files, one after the other"),
      key("dataset", &Hdf5Files::dataset, text(), "name of the data set in each file"),
  });
  using M = MaskingConfig;
  Section<M> masking({
      key("probability", &M::probability, number(kProbability),
          "bert: share of tokens to be guessed; of these 80 % are hidden by the mask token, 10 % "
          "become a random one, 10 % stay"),
      key("token", &M::token, word_or("auto", integer(0, kLargest - 1)),
          "bert: mask token; auto: the last id of the vocabulary"),
  });
  return Section<D>({
      key("source", &D::source, choice<DataSource>(), "which of the following is read"),
      key("text", &D::text, paths(),
          "regular files in byte order of their paths, read byte by byte; links are not followed"),
      key("tokens", &D::tokens, section(tokens), ""),
      key("hdf5", &D::hdf5, section(hdf5), ""),
      key("images", &D::images, section(images_section()), ""),
      key("synthetic", &D::synthetic, section(synthetic_section()), ""),
      key("held_out", &D::held_out, number(kShare), "last part of the data, kept for evaluation"),
      key("shuffle", &D::shuffle, boolean(), "read samples in an order drawn from the seed"),
      key("ignore_label", &D::ignore_label, word_or("none", integer(-kLargest, kLargest - 1)),
          "labels equal to it count nothing in loss and metrics"),
      key("end_of_document", &D::end_of_document, word_or("none", integer(0, kLargest - 1)),
          "token that ends a document; attention and loss do not reach across"),
      key("masking", &D::masking, if_given(section(masking)), ""),
  });
}

}  // namespace alpa
