#include "checks.hpp"

namespace alpa {
namespace {

std::string text_of(std::int64_t value) { return std::to_string(value); }

void require_files(const CrossCheck& check, const std::string& path,
                   const std::vector<std::string>& files) {
  if (!files.empty() || !check.sound({path, "data.source"})) return;
  check.refuse(path, is_written(check.root, path) ? "an empty list" : "nothing",
               "a list of one file or more with source " +
                   path.substr(5, path.rfind('.') == 4 ? std::string::npos : path.rfind('.') - 5));
}

void check_sources(const CrossCheck& check, const DataConfig& data) {
  switch (data.source) {
    case DataSource::text:
      return require_files(check, "data.text", data.text);
    case DataSource::tokens:
      return require_files(check, "data.tokens.files", data.tokens.files);
    case DataSource::hdf5:
      return require_files(check, "data.hdf5.files", data.hdf5.files);
    case DataSource::images:
      return require_files(check, "data.images.files", data.images.files);
    case DataSource::synthetic:
      return;
  }
}

/// A size of synthetic data that the model does not take.
void check_equal(const CrossCheck& check, const std::string& path,
                 const std::optional<std::int64_t>& found, const std::string& model_key,
                 std::int64_t expected) {
  if (!found || *found == expected || !check.sound({path, model_key})) return;
  check.refuse(path, text_of(*found), model_key + " = " + text_of(expected));
}

void require_size(const CrossCheck& check, const std::string& path,
                  const std::optional<std::int64_t>& found) {
  if (found || !check.sound({path})) return;
  check.refuse(path, "nothing", "an integer >= 1");
}

bool takes_tokens(const ModelConfig& model) {
  return std::holds_alternative<TransformerConfig>(model.shape);
}

/// Kinds of synthetic data that the model takes, in words; empty if `kind` is one of them.
std::string other_kinds(const ModelConfig& model, SyntheticKind kind) {
  if (takes_tokens(model)) return kind == SyntheticKind::tokens ? "" : "tokens";
  if (model.preset == Preset::wide_resnet) return kind == SyntheticKind::images ? "" : "images";
  if (kind == SyntheticKind::tokens) return "classes, regression, images or fields";
  const bool free = model.preset == Preset::custom;
  return kind == SyntheticKind::fields && !free ? "classes, regression or images" : "";
}

void check_synthetic_images(const CrossCheck& check, const RunConfig& config) {
  const SyntheticData& data = config.data.synthetic;
  require_size(check, "data.synthetic.image", data.image);
  require_size(check, "data.synthetic.classes", data.classes);
  if (const auto* model = std::get_if<WideResnetConfig>(&config.model.shape)) {
    check_equal(check, "data.synthetic.image", data.image, "model.image", model->image);
    check_equal(check, "data.synthetic.classes", data.classes, "model.classes", model->classes);
  }
  const auto* mlp = std::get_if<MlpConfig>(&config.model.shape);
  if (mlp == nullptr || !data.image) return;
  check_equal(check, "data.synthetic.classes", data.classes, "model.classes", mlp->classes);
  const std::int64_t features = num_features(config).value_or(0);
  if (features == mlp->features || !check.sound({"data.synthetic.image", "model.features"})) return;
  check.refuse("data.synthetic.image", text_of(*data.image),
               "image * image * channels = model.features = " + text_of(mlp->features));
}

/// Fields are made for what the model names.
void check_fields(const CrossCheck& check, const RunConfig& config) {
  const auto* model = std::get_if<CustomConfig>(&config.model.shape);
  if (model == nullptr || !model->inputs.empty() || !check.sound({"model.inputs"})) return;
  check.refuse("model.inputs", "nothing", "{NAME: {shape, type}} with data.synthetic.kind fields");
}

void check_synthetic(const CrossCheck& check, const RunConfig& config) {
  const SyntheticData& data = config.data.synthetic;
  if (!check.sound({"data.synthetic.kind", "data.source", "model.preset"})) return;
  const std::string expected = other_kinds(config.model, data.kind);
  if (!expected.empty()) {
    check.refuse("data.synthetic.kind", std::string(name_of(data.kind)),
                 expected + " with preset " + std::string(name_of(config.model.preset)));
    return;
  }
  if (data.kind == SyntheticKind::images) return check_synthetic_images(check, config);
  if (data.kind == SyntheticKind::fields) return check_fields(check, config);
  if (const auto* model = std::get_if<TransformerConfig>(&config.model.shape)) {
    check_equal(check, "data.synthetic.vocabulary", data.vocabulary, "model.vocabulary",
                model->vocabulary);
    check_equal(check, "data.synthetic.sequence", data.sequence, "model.sequence", model->sequence);
    return;
  }
  require_size(check, "data.synthetic.features", data.features);
  require_size(check, "data.synthetic.classes", data.classes);
  if (const auto* model = std::get_if<MlpConfig>(&config.model.shape)) {
    check_equal(check, "data.synthetic.features", data.features, "model.features", model->features);
    check_equal(check, "data.synthetic.classes", data.classes, "model.classes", model->classes);
  }
}

/// Only tokens may say that they do not count: other synthetic labels are drawn.
void check_ignored(const CrossCheck& check, const DataConfig& data) {
  if (!data.ignore_label || data.synthetic.kind == SyntheticKind::tokens) return;
  if (!check.sound({"data.ignore_label", "data.source", "data.synthetic.kind"})) return;
  check.refuse("data.ignore_label", text_of(*data.ignore_label),
               "none with data.synthetic.kind " + std::string(name_of(data.synthetic.kind)));
}

std::optional<Loss> loss_of(const ModelConfig& model) {
  if (const auto* mlp = std::get_if<MlpConfig>(&model.shape)) return mlp->loss;
  if (const auto* custom = std::get_if<CustomConfig>(&model.shape)) return custom->loss;
  return std::nullopt;
}

void check_loss(const CrossCheck& check, const RunConfig& config) {
  const auto loss = loss_of(config.model);
  if (!loss || !check.sound({"model.loss", "data.synthetic.kind", "data.source"})) return;
  const bool synthetic = config.data.source == DataSource::synthetic;
  const SyntheticKind kind = config.data.synthetic.kind;
  if (synthetic && (kind == SyntheticKind::tokens || kind == SyntheticKind::fields)) return;
  const bool regression = synthetic && kind == SyntheticKind::regression;
  if ((*loss == Loss::squared_error) == regression) return;
  check.refuse("model.loss", std::string(name_of(*loss)),
               std::string(regression ? "squared_error" : "cross_entropy") +
                   (synthetic ? " with data.synthetic.kind " + std::string(name_of(kind))
                              : " with data.source images"));
}

void check_smoothing(const CrossCheck& check, const RunConfig& config) {
  const auto loss = loss_of(config.model);
  if (config.training.label_smoothing == 0.0 || !loss || *loss == Loss::cross_entropy) return;
  if (!check.sound({"training.label_smoothing", "model.loss"})) return;
  check.refuse("training.label_smoothing", "a share > 0",
               "0 with model.loss " + std::string(name_of(*loss)));
}

std::string shape_text(const std::array<std::int64_t, 3>& shape) {
  return "[" + text_of(shape[0]) + ", " + text_of(shape[1]) + ", " + text_of(shape[2]) + "]";
}

void check_shape(const CrossCheck& check, const RunConfig& config) {
  const std::string path = "data.images.shape";
  const auto& shape = config.data.images.shape;
  if (!check.sound({path, "data.images.format", "model.image", "model.features"})) return;
  if (!shape) {
    const auto* custom = std::get_if<CustomConfig>(&config.model.shape);
    if (custom == nullptr || !custom->inputs.empty()) return;
    check.refuse(path, "nothing", "[height, width, channels] with preset custom");
    return;
  }
  if (config.data.images.format == ImageFormat::cifar10 &&
      *shape != std::array<std::int64_t, 3>{32, 32, 3}) {
    check.refuse(path, shape_text(*shape), "[32, 32, 3] with format cifar10");
  }
  if (const auto* wide = std::get_if<WideResnetConfig>(&config.model.shape)) {
    const std::array<std::int64_t, 3> wanted = {wide->image, wide->image, 3};
    if (*shape != wanted)
      check.refuse(path, shape_text(*shape),
                   shape_text(wanted) + " with model.image = " + text_of(wide->image));
  }
  const auto* mlp = std::get_if<MlpConfig>(&config.model.shape);
  if (mlp == nullptr || num_features(config) == mlp->features) return;
  check.refuse(path, shape_text(*shape),
               "height * width * channels = model.features = " + text_of(mlp->features));
}

void check_scaling(const CrossCheck& check, const ImageFiles& images) {
  const auto one_per_channel = [&](const std::string& path, const auto& values) {
    if (!values || !images.shape || !check.sound({path, "data.images.shape"})) return;
    const auto channels = static_cast<std::size_t>((*images.shape)[2]);
    if (values->size() == 1 || values->size() == channels) return;
    check.refuse(path, "a list of " + std::to_string(values->size()),
                 "one number, or one for each of " + std::to_string(channels) + " channels");
  };
  one_per_channel("data.images.mean", images.mean);
  one_per_channel("data.images.deviation", images.deviation);
}

void check_images(const CrossCheck& check, const RunConfig& config) {
  check_loss(check, config);
  check_shape(check, config);
  check_scaling(check, config.data.images);
}

/// Ids must be below the vocabulary, and there must be tokens.
void check_token_options(const CrossCheck& check, const RunConfig& config) {
  const DataConfig& data = config.data;
  const std::string preset(name_of(config.model.preset));
  if (!check.sound({"model.preset"})) return;
  if (data.masking && config.model.preset != Preset::bert && check.sound({"data.masking"})) {
    check.refuse("data.masking", "a mapping",
                 "nothing with preset " + preset + " (masked tokens are for bert)");
    return;
  }
  const auto* model = std::get_if<TransformerConfig>(&config.model.shape);
  const bool may_take_tokens = model != nullptr || config.model.preset == Preset::custom;
  if (data.end_of_document && !may_take_tokens && check.sound({"data.end_of_document"})) {
    check.refuse("data.end_of_document", text_of(*data.end_of_document),
                 "none with preset " + preset + " (documents are of tokens)");
  }
  if (model == nullptr) return;
  const auto below = [&](const std::string& path, const std::optional<std::int64_t>& id) {
    if (!id || *id < model->vocabulary || !check.sound({path, "model.vocabulary"})) return;
    check.refuse(path, text_of(*id), "an id below vocabulary = " + text_of(model->vocabulary));
  };
  below("data.end_of_document", data.end_of_document);
  if (data.masking) below("data.masking.token", data.masking->token);
}

}  // namespace

void check_data(const CrossCheck& check, const RunConfig& config) {
  check_sources(check, config.data);
  check_token_options(check, config);
  check_smoothing(check, config);
  const DataSource source = config.data.source;
  if (source == DataSource::synthetic) {
    check_synthetic(check, config);
    check_loss(check, config);
    check_ignored(check, config.data);
    return;
  }
  if (!check.sound({"model.preset", "data.source"})) return;
  const std::string preset(name_of(config.model.preset));
  if (source == DataSource::images) {
    if (!takes_tokens(config.model)) return check_images(check, config);
    check.refuse("data.source", "images", "text, tokens, hdf5 or synthetic with preset " + preset);
    return;
  }
  if (config.model.preset == Preset::mlp || config.model.preset == Preset::wide_resnet) {
    check.refuse("data.source", std::string(name_of(source)),
                 "images or synthetic with preset " + preset);
  }
  const auto* model = std::get_if<TransformerConfig>(&config.model.shape);
  if (source == DataSource::text && model != nullptr && model->vocabulary < 256 &&
      check.sound({"model.vocabulary"})) {
    check.refuse("model.vocabulary", text_of(model->vocabulary),
                 "an integer >= 256 with data.source text, which is read byte by byte");
  }
}

}  // namespace alpa
