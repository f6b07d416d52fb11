#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "alpa/config/groups.hpp"
#include "alpa/config/model_config.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/config/training_config.hpp"
#include "alpa/graph/graph.hpp"

namespace alpa {

/// What beside model and optimizer decides about the graph.
struct ModelOptions {
  Precision precision = Precision::fp32;
  std::uint64_t seed = 1;                     ///< of dropout
  std::optional<double> clip_norm = {};       ///< of the global gradient norm
  std::int64_t microbatch = 1;                ///< samples
  std::int64_t global_batch = 0;              ///< samples of a step; 0: one microbatch
  std::optional<std::int64_t> features = {};  ///< inputs of a sample; needed by preset custom
  double label_smoothing = 0.0;               ///< of cross-entropy
  bool documents = false;  ///< attention stays inside the documents that a sample is packed of
};

/// The whole training step of a model for microbatches of one size.
///
/// Inputs, with the names of the data module's fields. `b` samples of a microbatch:
///
///     gpt, moe,     tokens i32 [b,t], labels i32 [b,t], weights [b,t]
///     llama, bert   (and documents i32 [b,t] where options.documents is set)
///     wide_resnet   images [b,y,x,c], labels i32 [b], weights [b]
///     mlp, custom   features [b,i], labels i32 [b] or targets [b,c], weights [b]
///
/// gpt has `layers` layers: the embedding belongs to the first, final norm, head and loss to the
/// last. mlp has one per linear; wide_resnet one per block, the stem with the first, the classifier
/// with the last; custom one per entry of its list, repeats written out. The loss is the sum of
/// weight * inverse_weight * the loss of each token or sample. Experts have other numbers of slots
/// in Graph::evaluation, where the configuration says so.
/// @throws UserError for presets and options that are not available, saying what is
[[nodiscard]] Graph build_graph(const ModelConfig& model, const OptimizerConfig& optimizer,
                                const ModelOptions& options);

/// The same for a run file.
[[nodiscard]] Graph build_graph(const RunConfig& config, std::int64_t microbatch);

/// Kind of each layer of the line: layers of one kind are built alike, but for what they are next
/// to. Empty where the preset does not say.
[[nodiscard]] std::vector<int> layer_kinds(const ModelConfig& model);

/// The same of these layers alone, one after the other as if the others were not there, in
/// ascending order. Tensors and operators keep their names.
/// @pre layer_kinds(config.model) says something
[[nodiscard]] Graph build_graph(const RunConfig& config, std::int64_t microbatch,
                                const std::vector<int>& layers);

}  // namespace alpa
