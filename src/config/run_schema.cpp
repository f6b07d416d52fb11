#include <filesystem>

#include "arguments.hpp"
#include "checks.hpp"
#include "sections.hpp"

namespace alpa {
namespace {

using Cluster = decltype(RunConfig::cluster);

ValueType<Cluster> cluster_type(const std::vector<std::string>& device_folders) {
  ValueType<Cluster> type;
  type.expected = "detect, a cluster file, or its content";
  const Section<ClusterConfig> table = cluster_section(device_folders);
  type.read = [table, expected = type.expected](const Cursor& at) -> std::optional<Cluster> {
    if (at.is(YamlNode::Kind::mapping)) {
      ClusterConfig cluster;
      table.read(at, cluster);
      return Cluster(std::move(cluster));
    }
    if (detail::is_word(at, "detect")) return Cluster(DetectCluster{});
    if (at.is(YamlNode::Kind::scalar) && !at.node.text.empty()) {
      return Cluster(ClusterFile{at.node.text});
    }
    at.refuse(expected);
    return std::nullopt;
  };
  type.write = [table](const Cluster& cluster) {
    if (const auto* inline_cluster = std::get_if<ClusterConfig>(&cluster)) {
      return table.write(*inline_cluster);
    }
    if (const auto* file = std::get_if<ClusterFile>(&cluster)) {
      YamlNode node = YamlNode::of_text(file->path);
      node.quoted = node.quoted || file->path == "detect";
      return node;
    }
    return YamlNode::plain("detect");
  };
  return type;
}

/// Values whose default depends on others.
void fill_defaults(RunConfig& config, const YamlNode& root, const std::string& file) {
  if (!is_written(root, "output")) {
    const std::string stem = std::filesystem::path(file).stem().string();
    config.output = "runs/" + (stem.empty() ? "run" : stem);
  }
  if (!is_written(root, "optimizer.weight_decay") &&
      config.optimizer.name != OptimizerKind::adamw) {
    config.optimizer.weight_decay = 0.0;
  }
  fill_data_defaults(config, root);
}

}  // namespace

Section<RunConfig> run_section(const std::vector<std::string>& device_folders) {
  using R = RunConfig;
  return Section<R>({
      key("model", &R::model, model_type(), ""),
      key("data", &R::data, section(data_section()), ""),
      key("training", &R::training, section(training_section()), ""),
      key("optimizer", &R::optimizer, section(optimizer_section()), ""),
      key("parallel", &R::parallel, section(parallel_section()), ""),
      key("cluster", &R::cluster, cluster_type(device_folders), "the machine planned for"),
      key("device", &R::device, choice<DeviceChoice>(),
          "back end; auto: GPUs if every rank has one"),
      key("checkpoint", &R::checkpoint, section(checkpoint_section()), ""),
      key("logging", &R::logging, section(logging_section()), ""),
      key("output", &R::output, text(), "run directory").with_default_text("runs/<file stem>"),
  });
}

RunConfig parse_run_config(std::string_view text, const std::string& file,
                           const std::vector<std::string>& arguments) {
  ConfigErrors errors;
  YamlNode root = parse_yaml(text, file, errors);
  const Section<RunConfig> table = run_section(device_folders_for(file));
  if (root.kind == YamlNode::Kind::null) Cursor{root, "", errors}.refuse("a mapping");
  const YamlNode defaults = table.write(RunConfig{});
  for (const std::string& argument : arguments) apply_argument(root, argument, defaults, errors);

  RunConfig config;
  if (root.kind != YamlNode::Kind::invalid) {
    table.read({root, "", errors}, config);
    fill_defaults(config, root, file);
    check_run(config, root, errors);
  }
  errors.throw_if_any();
  return config;
}

RunConfig load_run_config(const std::string& path, const std::vector<std::string>& arguments) {
  return parse_run_config(read_text_file(path, YamlLimits{}.bytes), path, arguments);
}

std::string print_config(const RunConfig& config) { return to_yaml(run_section({}).write(config)); }

}  // namespace alpa
