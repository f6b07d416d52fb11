#include "run_data.hpp"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> paths_of(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

/// What the graph takes where its input `tokens` is [b, sequence].
struct TokenInput {
  std::int64_t sequence = 1;
  std::int64_t vocabulary = 1;
};

TokenInput token_input(const RunConfig& config, const Graph& graph) {
  const auto tokens = graph.find_tensor("tokens");
  const auto limits = id_limits(graph);
  const auto limit = limits.find("tokens");
  if (tokens && limit != limits.end() && graph.tensor(*tokens).shape.size() == 2) {
    return {graph.tensor(*tokens).shape[1], limit->second};
  }
  std::string taken;
  for (const TensorId id : tensors_with(graph, Role::input)) {
    taken += (taken.empty() ? "" : ", ") + graph.tensor(id).name;
  }
  throw UserError(
      "data.source: found " + std::string(name_of(config.data.source)) +
      ", which gives tokens, expected a source that gives what the model takes: " + taken);
}

BatchOptions batch_options(const RunConfig& config) {
  BatchOptions batches;
  batches.global_batch = config.training.global_batch;
  batches.seed = static_cast<std::uint64_t>(config.training.seed);
  batches.evaluation_samples = config.training.evaluate.samples.value_or(0);
  return batches;
}

TokenRules token_rules(const RunConfig& config, std::int64_t vocabulary) {
  const DataConfig& data = config.data;
  TokenRules rules;
  if (data.end_of_document) {
    rules.end_of_document = static_cast<std::int32_t>(*data.end_of_document);
  }
  rules.ignore_label = data.ignore_label;
  if (data.masking) {
    const std::int64_t token = data.masking->token.value_or(vocabulary - 1);
    rules.masking = {data.masking->probability, static_cast<std::int32_t>(token), vocabulary};
  }
  return rules;
}

Tokens read_tokens(const RunConfig& config, std::int64_t vocabulary,
                   const fs::path& run_directory) {
  const DataConfig& data = config.data;
  if (data.source == DataSource::hdf5) {
    return read_hdf5_tokens(paths_of(data.hdf5.files), data.hdf5.dataset, vocabulary);
  }
  if (data.source == DataSource::tokens) {
    const auto width =
        data.tokens.dtype == TokenType::uint16 ? TokenWidth::bits16 : TokenWidth::bits32;
    return read_raw_tokens(paths_of(data.tokens.files), width, vocabulary);
  }
  if (vocabulary < 256) {
    throw UserError(
        "data.source: found text, which is read byte by byte, expected a model of 256 "
        "tokens or more; this one has " +
        std::to_string(vocabulary));
  }
  return read_hdf5_tokens(run_directory / "tokens.h5", "tokens", 256);
}

Dataset windows_of(const RunConfig& config, const Graph& graph, const fs::path& run_directory) {
  const TokenInput input = token_input(config, graph);
  WindowOptions windows;
  windows.sequence = input.sequence;
  windows.held_out = config.data.held_out;
  windows.shuffle = config.data.shuffle;
  return token_dataset(read_tokens(config, input.vocabulary, run_directory), windows,
                       batch_options(config), token_rules(config, input.vocabulary));
}

/// Every input of the graph, made up.
Dataset fields_of(const RunConfig& config, const Graph& graph) {
  const auto limits = id_limits(graph);
  std::vector<SyntheticField> fields;
  for (const TensorId id : tensors_with(graph, Role::input)) {
    const Tensor& input = graph.tensor(id);
    const bool integer = input.dtype == DType::i32;
    const auto limit = limits.find(input.name);
    fields.push_back({{input.name,
                       {input.shape.begin() + 1, input.shape.end()},
                       integer ? FieldType::integer : FieldType::real},
                      limit == limits.end() ? 1 : limit->second});
  }
  return synthetic_fields(fields, batch_options(config));
}

Dataset synthetic(const RunConfig& config, const Graph& graph) {
  const SyntheticData& data = config.data.synthetic;
  switch (data.kind) {
    case SyntheticKind::classes:
      return synthetic_classes(data.features.value(), data.classes.value(), batch_options(config));
    case SyntheticKind::regression:
      return synthetic_regression(data.features.value(), data.classes.value(),
                                  batch_options(config));
    case SyntheticKind::tokens:
      return synthetic_tokens(data.sequence.value(), data.vocabulary.value(), batch_options(config),
                              token_rules(config, data.vocabulary.value()));
    case SyntheticKind::images: {
      const ImageShape shape{data.image.value(), data.image.value(), data.channels.value()};
      return synthetic_images(shape, data.classes.value(), batch_options(config));
    }
    case SyntheticKind::fields:
      return fields_of(config, graph);
  }
  check_failed("known kind", SourceLine::here());
}

ImageFileFormat format_of(ImageFormat format) {
  switch (format) {
    case ImageFormat::automatic:
      return ImageFileFormat::automatic;
    case ImageFormat::cifar10:
      return ImageFileFormat::cifar10;
    case ImageFormat::idx:
      return ImageFileFormat::idx;
    case ImageFormat::hdf5:
      return ImageFileFormat::hdf5;
  }
  check_failed("known format", SourceLine::here());
}

Dataset images_of(const RunConfig& config, const Graph& graph) {
  const ImageFiles& files = config.data.images;
  const auto limits = id_limits(graph);
  ImageOptions images;
  images.files = paths_of(files.files);
  images.evaluation_files = paths_of(files.evaluation_files);
  images.format = format_of(files.format);
  if (files.shape) images.shape = {(*files.shape)[0], (*files.shape)[1], (*files.shape)[2]};
  if (const auto found = limits.find("labels"); found != limits.end()) {
    images.classes = found->second;
  }
  images.mean = files.mean.value_or(std::vector<double>{});
  images.deviation = files.deviation.value_or(std::vector<double>{});
  images.crop = files.augmentation.crop;
  images.flip = files.augmentation.flip;
  images.held_out = config.data.held_out;
  images.shuffle = config.data.shuffle;
  images.ignore_label = config.data.ignore_label;
  return image_dataset(images, batch_options(config));
}

Dataset opened(const RunConfig& config, const Graph& graph, const fs::path& run_directory) {
  switch (config.data.source) {
    case DataSource::text:
    case DataSource::tokens:
    case DataSource::hdf5:
      return windows_of(config, graph, run_directory);
    case DataSource::images:
      return images_of(config, graph);
    case DataSource::synthetic:
      return synthetic(config, graph);
  }
  check_failed("known source", SourceLine::here());
}

std::string text_of(const Field& field) {
  return field.name + " " + to_string(field.sample_shape) +
         (field.type == FieldType::integer ? " (integers)" : " (reals)");
}

/// Every input of the graph must be a field of its shape and kind.
void check_fields(const RunConfig& config, const Graph& graph, const Dataset& dataset) {
  std::string given;
  for (const Field& field : dataset.fields()) given += (given.empty() ? "" : ", ") + text_of(field);
  for (const TensorId id : tensors_with(graph, Role::input)) {
    const Tensor& input = graph.tensor(id);
    const Field wanted{input.name,
                       {input.shape.begin() + 1, input.shape.end()},
                       input.dtype == DType::i32 ? FieldType::integer : FieldType::real};
    const auto& fields = dataset.fields();
    if (std::find(fields.begin(), fields.end(), wanted) != fields.end()) continue;
    throw UserError(
        "data.source: " + std::string(name_of(config.data.source)) + " gives each sample " + given +
            ", expected " + text_of(wanted) + ", which model.preset " +
            std::string(name_of(config.model.preset)) + " takes",
        config.data.source == DataSource::images ? ExitCode::bad_data : ExitCode::configuration);
  }
}

}  // namespace

void prepare_data(const RunConfig& config, const fs::path& run_directory) {
  if (config.data.source != DataSource::text) return;
  keep_text_as_tokens(paths_of(config.data.text), run_directory / "tokens.h5");
}

void check_data_paths(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (data.source == DataSource::text) (void)files_of(paths_of(data.text));
  if (data.source == DataSource::tokens) (void)files_of(paths_of(data.tokens.files));
  if (data.source == DataSource::hdf5) (void)files_of(paths_of(data.hdf5.files));
  if (data.source != DataSource::images) return;
  (void)files_of(paths_of(data.images.files));
  (void)files_of(paths_of(data.images.evaluation_files));
}

Dataset open_dataset(const RunConfig& config, const Graph& graph, const fs::path& run_directory) {
  Dataset dataset = opened(config, graph, run_directory);
  check_fields(config, graph, dataset);
  return dataset;
}

std::map<std::string, std::int64_t> id_limits(const Graph& graph) {
  std::map<std::string, std::int64_t> limits;
  const auto add = [&](const Operator& op, std::size_t ids, std::size_t indexed, const Dims& dims,
                       char letter) {
    const Tensor& input = graph.tensor(op.operands.at(ids));
    if (input.role != Role::input) return;
    const auto at = dims.find(letter);
    ALPA_CHECK(at != Dims::npos);
    limits[input.name] = graph.tensor(op.operands.at(indexed)).shape.at(at);
  };
  for (const Operator& op : graph.operators) {
    if (const auto* pick = std::get_if<Pick>(&op.kernel)) {
      add(op, 1, 0, pick->operand, pick->letter);
    } else if (const auto* lookup = std::get_if<Embedding>(&op.kernel)) {
      add(op, 1, 0, lookup->table, lookup->table.at(0));
    }
  }
  return limits;
}

}  // namespace alpa
