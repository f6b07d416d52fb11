#include "checks.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "alpa/config/groups.hpp"

namespace alpa {
namespace {

std::string text_of(std::int64_t value) { return std::to_string(value); }

/// Takes one step of a path off its front: `a.b[3]["c.d"]` → `a`, then `b`, then index 3, then
/// `c.d`.
struct PathStep {
  std::string_view name;
  std::optional<std::size_t> index;
};

PathStep take_step(std::string_view& path) {
  if (path.starts_with("[\"")) {
    const std::string_view name = path.substr(2, path.find("\"]") - 2);
    path.remove_prefix(name.size() + 4);
    return {name, std::nullopt};
  }
  if (path.starts_with('[')) {
    const std::size_t close = path.find(']');
    std::size_t index = 0;
    std::from_chars(path.data() + 1, path.data() + close, index);
    path.remove_prefix(close + 1);
    return {{}, index};
  }
  if (path.starts_with('.')) path.remove_prefix(1);
  const std::string_view name = path.substr(0, path.find_first_of(".["));
  path.remove_prefix(name.size());
  return {name, std::nullopt};
}

/// The innermost node on the way along `path`; what is left of it stays in `path`.
const YamlNode& walk(const YamlNode& root, std::string_view& path) {
  const YamlNode* node = &root;
  while (!path.empty()) {
    std::string_view rest = path;
    const PathStep step = take_step(rest);
    const YamlNode* next = nullptr;
    if (!step.index) {
      next = node->find(step.name);
    } else if (*step.index < node->items.size()) {
      next = &node->items[*step.index];
    }
    if (next == nullptr) break;
    node = next;
    path = rest;
  }
  return *node;
}

void check_divides(const CrossCheck& check, const std::string& whole_path, std::int64_t whole,
                   const std::string& part_path, std::int64_t part) {
  if (!check.sound({whole_path, part_path}) || whole % part == 0) return;
  const std::string name = whole_path.substr(whole_path.rfind('.') + 1);
  check.refuse(part_path, text_of(part), "a divisor of " + name + " = " + text_of(whole));
}

void check_moe(const CrossCheck& check, const TransformerConfig& model) {
  const MoeConfig& moe = *model.moe;
  if (check.sound({"model.moe.top_k", "model.moe.experts"}) && moe.top_k > moe.experts) {
    check.refuse("model.moe.top_k", text_of(moe.top_k),
                 "at most experts = " + text_of(moe.experts));
  }
  if (check.sound({"model.moe.every", "model.layers"}) && moe.every > model.layers) {
    check.refuse("model.moe.every", text_of(moe.every),
                 "at most layers = " + text_of(model.layers));
  }
  const bool nested = moe.group % model.sequence == 0 || model.sequence % moe.group == 0;
  if (!nested && check.sound({"model.moe.group", "model.sequence"})) {
    check.refuse("model.moe.group", text_of(moe.group),
                 "a divisor or a multiple of sequence = " + text_of(model.sequence));
  }
}

void check_transformer(const CrossCheck& check, const TransformerConfig& model) {
  check_divides(check, "model.hidden", model.hidden, "model.heads", model.heads);
  if (model.positions == Positions::rotary && model.hidden % (2 * model.heads) != 0 &&
      model.hidden % model.heads == 0 &&
      check.sound({"model.positions", "model.hidden", "model.heads"})) {
    check.refuse("model.positions", "rotary with an odd head size",
                 "hidden / heads = " + text_of(model.hidden / model.heads) + " to be even");
  }
  if (model.key_value_heads) {
    check_divides(check, "model.heads", model.heads, "model.key_value_heads",
                  *model.key_value_heads);
  }
  if (model.encoder && model.activation == Activation::swiglu &&
      check.sound({"model.activation"})) {
    check.refuse("model.activation", "swiglu", "gelu, gelu_tanh or relu with preset bert");
  }
  if (model.moe) check_moe(check, model);
}

void check_wide_resnet(const CrossCheck& check, const WideResnetConfig& model,
                       std::int64_t global_batch) {
  constexpr std::array<std::int64_t, 5> kDepths = {14, 26, 50, 101, 152};
  if (check.sound({"model.layers"}) &&
      std::find(kDepths.begin(), kDepths.end(), model.layers) == kDepths.end()) {
    check.refuse("model.layers", text_of(model.layers), "14, 26, 50, 101 or 152");
  }
  check_divides(check, "training.global_batch", global_batch, "model.batch_norm.group",
                model.batch_norm.group);
}

void check_model(const CrossCheck& check, const RunConfig& config) {
  if (const auto* transformer = std::get_if<TransformerConfig>(&config.model.shape)) {
    check_transformer(check, *transformer);
  } else if (const auto* wide = std::get_if<WideResnetConfig>(&config.model.shape)) {
    check_wide_resnet(check, *wide, config.training.global_batch);
  } else if (const auto* custom = std::get_if<CustomConfig>(&config.model.shape)) {
    check_layers(*custom, check.root, check.errors);
  } else if (const auto* mlp = std::get_if<MlpConfig>(&config.model.shape)) {
    if (mlp->loss == Loss::cross_entropy && mlp->classes < 2 && check.sound({"model.classes"})) {
      check.refuse("model.classes", text_of(mlp->classes),
                   "an integer >= 2 with loss cross_entropy");
    }
  }
}

/// The global batch and each microbatch hold whole groups of samples.
void check_groups(const CrossCheck& check, const RunConfig& config) {
  const bool experts = config.model.preset == Preset::moe;
  const std::string key = experts ? "model.moe.group" : "model.batch_norm.group";
  const std::int64_t group = samples_of_group(config.model);
  const std::int64_t batch = config.training.global_batch;
  if (group == 1 || !check.sound({key, "model.sequence", "training.global_batch"})) return;
  const std::string samples = "the " + text_of(group) + " samples of a group (" + key + ")";
  if (batch % group != 0) {
    if (experts) check.refuse("training.global_batch", text_of(batch), "a multiple of " + samples);
    return;
  }
  const auto count = config.parallel.microbatches;
  if (!count || batch % *count != 0 || batch / *count % group == 0) return;
  if (!check.sound({"parallel.microbatches"})) return;
  check.refuse("parallel.microbatches", text_of(*count),
               "a divisor of " + text_of(batch / group) + ", so that each of the " +
                   "microbatches holds a multiple of " + samples);
}

void check_training(const CrossCheck& check, const TrainingConfig& training) {
  const LossScaleConfig& scale = training.loss_scale;
  if (check.sound({"training.loss_scale.initial", "training.loss_scale.minimum"}) &&
      scale.initial < scale.minimum) {
    check.refuse("training.loss_scale.initial", float_text(scale.initial),
                 "at least training.loss_scale.minimum = " + float_text(scale.minimum));
  }
  if (!training.profile || !check.sound({"training.profile", "training.steps"})) return;
  const auto [first, last] = *training.profile;
  if (first <= last && last <= training.steps) return;
  check.refuse("training.profile", "[" + text_of(first) + ", " + text_of(last) + "]",
               "first step <= last step <= steps = " + text_of(training.steps));
}

/// Degrees mean something for method megatron only.
void check_degrees(const CrossCheck& check, const ParallelConfig& parallel) {
  if (parallel.method == Method::megatron) return;
  const auto refuse_degree = [&](const std::string& name, const auto& degree) {
    const std::string path = "parallel." + name;
    if (!degree || !check.sound({path, "parallel.method"})) return;
    check.refuse(path, text_of(*degree),
                 "auto with method " + std::string(name_of(parallel.method)) +
                     " (degrees are for method megatron)");
  };
  refuse_degree("data", parallel.data);
  refuse_degree("tensor", parallel.tensor);
  refuse_degree("pipeline", parallel.pipeline);
}

void check_plan_file(const CrossCheck& check, const ParallelConfig& parallel) {
  if (!check.sound({"parallel.plan", "parallel.method"})) return;
  if (parallel.method == Method::plan && !parallel.plan) {
    check.refuse("parallel.plan", is_written(check.root, "parallel.plan") ? "none" : "nothing",
                 "a plan file with method plan");
  }
  if (parallel.method != Method::plan && parallel.plan) {
    check.refuse("parallel.plan", *parallel.plan,
                 "none with method " + std::string(name_of(parallel.method)) +
                     " (a plan file is for method plan)");
  }
}

void check_parallel(const CrossCheck& check, const RunConfig& config) {
  const ParallelConfig& parallel = config.parallel;
  check_degrees(check, parallel);
  check_plan_file(check, parallel);
  const bool interleaved = parallel.schedule == PipelineSchedule::interleaved;
  if (parallel.chunks_per_stage && !interleaved &&
      check.sound({"parallel.chunks_per_stage", "parallel.schedule"})) {
    check.refuse("parallel.chunks_per_stage", text_of(*parallel.chunks_per_stage),
                 "auto with schedule " + std::string(name_of(parallel.schedule)) +
                     " (only interleaved holds several chunks a stage)");
  }
  const bool has_depth = parallel.schedule == PipelineSchedule::automatic ||
                         parallel.schedule == PipelineSchedule::one_forward_one_backward;
  if (parallel.warm_up && !has_depth && check.sound({"parallel.warm_up", "parallel.schedule"})) {
    check.refuse("parallel.warm_up", to_string(*parallel.warm_up),
                 "auto with schedule " + std::string(name_of(parallel.schedule)) +
                     " (only 1f1b has a depth to choose)");
  }
  if (parallel.microbatches) {
    check_divides(check, "training.global_batch", config.training.global_batch,
                  "parallel.microbatches", *parallel.microbatches);
  }
  if (parallel.method == Method::megatron && parallel.pipeline && parallel.stages &&
      *parallel.pipeline != *parallel.stages &&
      check.sound({"parallel.pipeline", "parallel.stages"})) {
    check.refuse("parallel.stages", text_of(*parallel.stages),
                 "parallel.pipeline = " + text_of(*parallel.pipeline));
  }
}

/// Prices of mesh axes need the mesh to be given, and one stage.
void check_mesh_axes(const CrossCheck& check, const ParallelConfig& parallel,
                     const ClusterConfig& cluster) {
  if (cluster.mesh_axes.empty()) return;
  const std::size_t axes = cluster.mesh_axes.size();
  const std::size_t given = parallel.logical_mesh ? parallel.logical_mesh->size() : 0;
  if (given != axes && check.sound({"parallel.logical_mesh", "cluster.mesh_axes"})) {
    check.refuse("parallel.logical_mesh",
                 given == 0 ? "auto" : "a list of " + std::to_string(given),
                 "a list of " + std::to_string(axes) + ", as many as cluster.mesh_axes");
  }
  if (parallel.stages != std::optional<std::int64_t>(1) && check.sound({"parallel.stages"})) {
    check.refuse("parallel.stages", parallel.stages ? text_of(*parallel.stages) : "auto",
                 "1 with cluster.mesh_axes");
  }
}

}  // namespace

const YamlNode& written_at(const YamlNode& root, std::string_view path) { return walk(root, path); }

bool is_written(const YamlNode& root, std::string_view path) {
  walk(root, path);
  return path.empty();
}

bool CrossCheck::sound(const std::vector<std::string>& paths) const {
  return std::none_of(paths.begin(), paths.end(),
                      [this](const std::string& path) { return errors.touches(path); });
}

void CrossCheck::refuse(const std::string& path, const std::string& found,
                        const std::string& expected) const {
  errors.add(written_at(root, path).place, path, "found " + found + ", expected " + expected);
}

void check_run(const RunConfig& config, const YamlNode& root, ConfigErrors& errors) {
  const CrossCheck check{root, errors};
  if (check.sound({"model.preset"})) check_model(check, config);
  check_data(check, config);
  check_training(check, config.training);
  check_parallel(check, config);
  check_groups(check, config);
  if (const auto* cluster = std::get_if<ClusterConfig>(&config.cluster)) {
    check_cluster(*cluster, root, "cluster", errors);
    check_mesh_axes(check, config.parallel, *cluster);
  }
}

}  // namespace alpa
