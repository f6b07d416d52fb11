#include <algorithm>
#include <cmath>

#include "checks.hpp"
#include "layer_kinds.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kMostLayers = 100'000;
// Figures beyond these are mistakes, and times made of them would not be numbers.
constexpr double kLeastRate = 1e-9;
constexpr double kMostSeconds = 1e9;
constexpr std::string_view kModelInput = "input";

std::int64_t expanded(const std::vector<LayerConfig>& layers);

/// Layers that one entry stands for, `repeat` written out; stops counting above kMostLayers.
std::int64_t expanded(const LayerConfig& layer) {
  if (const auto* repeat = std::get_if<RepeatLayer>(&layer.layer)) {
    const std::int64_t block = expanded(repeat->block);
    return block > kMostLayers / repeat->count ? kMostLayers + 1 : block * repeat->count;
  }
  if (const auto* residual = std::get_if<ResidualLayer>(&layer.layer)) {
    return 1 + expanded(residual->body);
  }
  return 1;
}

std::int64_t expanded(const std::vector<LayerConfig>& layers) {
  std::int64_t sum = 0;
  for (const LayerConfig& layer : layers) sum = std::min(sum + expanded(layer), kMostLayers + 1);
  return sum;
}

/// Looks for names used twice and inputs that are not there. A list sees its own earlier layers and
/// those of the lists around it.
class NameCheck {
 public:
  NameCheck(const CrossCheck& check, const CustomConfig& model)
      : check_(check), num_inputs_(model.inputs.size()) {
    for (const auto& [name, input] : model.inputs) visible_.push_back(name);
  }

  /// Outputs are of layers that the list itself names.
  void check_outputs(const std::vector<OutputConfig>& outputs) const {
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::string path = path_of_item("model.outputs", i) + ".layer";
      const std::string& name = outputs[i].layer;
      if (!check_.sound({path})) continue;
      if (std::find(named_.begin(), named_.end(), name) != named_.end()) continue;
      const std::string near = nearest_word(name, named_);
      check_.refuse(path, name,
                    "the name of a layer of model.layers" +
                        (near.empty() ? std::string() : " (did you mean " + near + "?)"));
    }
  }

  void visit(const std::vector<LayerConfig>& layers, const std::string& path) {
    const std::size_t outer = visible_.size();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      visit_one(layers[i], path_of_item(path, i));
    }
    if (path == "model.layers")
      named_ = {visible_.begin() + static_cast<long>(outer), visible_.end()};
    visible_.resize(outer);
  }

 private:
  void visit_one(const LayerConfig& layer, const std::string& path) {
    for (std::size_t i = 0; i < layer.input.size(); ++i) {
      check_input(layer.input[i], path_of_item(path + ".input", i));
    }
    check_number_of_inputs(layer, path + ".input");
    if (!layer.parameters.empty()) check_owner(layer.parameters, path + ".parameters");
    if (const auto* repeat = std::get_if<RepeatLayer>(&layer.layer)) {
      visit(repeat->block, path + ".block");
    } else if (const auto* residual = std::get_if<ResidualLayer>(&layer.layer)) {
      visit(residual->body, path + ".residual");
    }
    add_name(layer.name, path + ".name");
  }

  void check_number_of_inputs(const LayerConfig& layer, const std::string& path) const {
    if (!check_.sound({path})) return;
    const std::string kind = layer_kind_name(layer.layer);
    const bool combines = std::holds_alternative<CombineLayer>(layer.layer);
    const auto* product = std::get_if<EinsumLayer>(&layer.layer);
    const bool two = product != nullptr && product->weight.empty();
    const std::size_t least = combines || two ? 2 : 0;
    const std::size_t most = combines ? layer_kind_named(kind)->most_inputs : two ? 2 : 1;
    const std::size_t found = layer.input.size();
    if (found >= least && found <= most) return;
    const std::string number = found == 0 ? "nothing" : "a list of " + std::to_string(found);
    if (combines) {
      check_.refuse(path, number,
                    "a list of two names or more" +
                        (found > most ? ", at most " + std::to_string(most) + "," : "") + " for " +
                        kind);
    } else if (two) {
      check_.refuse(path, number, "a list of two names for einsum without a weight");
    } else {
      check_.refuse(path, number, "one name (add, multiply, concatenate and einsum take more)");
    }
  }

  /// Layers inside a repeated block have several sets of parameters, or none of that name outside.
  void check_owner(const std::string& name, const std::string& path) const {
    if (!check_.sound({path})) return;
    const bool layer = std::find(visible_.begin() + static_cast<long>(num_inputs_), visible_.end(),
                                 name) != visible_.end();
    if (layer) return;
    const std::string near = nearest_word(name, visible_);
    check_.refuse(path, name,
                  "the name of an earlier layer" +
                      (near.empty() ? std::string() : " (did you mean " + near + "?)"));
  }

  void check_input(const std::string& name, const std::string& path) const {
    const bool only = num_inputs_ <= 1 && name == kModelInput;
    if (only || !check_.sound({path}) ||
        std::find(visible_.begin(), visible_.end(), name) != visible_.end()) {
      return;
    }
    std::string expected = num_inputs_ > 1 ? "an input of the model" : "input";
    expected += ", or the name of an earlier layer";
    const std::string near = nearest_word(name, visible_);
    if (!near.empty()) expected += " (did you mean " + near + "?)";
    check_.refuse(path, name, expected);
  }

  void add_name(const std::string& name, const std::string& path) {
    if (name.empty()) return;
    if (!check_.sound({path})) return;
    if (name == kModelInput) {
      check_.refuse(path, name, "another name (it stands for the model's input)");
    } else if (name.find('.') != std::string::npos) {
      check_.refuse(path, name, "a name without dots (they separate the parts of a path)");
    } else if (std::find(visible_.begin(), visible_.end(), name) != visible_.end()) {
      check_.refuse(path, name, "a name that no earlier layer has");
    } else {
      visible_.push_back(name);
    }
  }

  const CrossCheck& check_;
  std::size_t num_inputs_;
  std::vector<std::string> visible_;  ///< inputs first
  std::vector<std::string> named_;    ///< layers of the outermost list
};

void check_rate(const CrossCheck& check, const std::string& path, std::optional<double> rate) {
  if (!rate || *rate >= kLeastRate || !check.sound({path})) return;
  check.refuse(path, float_text(*rate), "a number >= " + float_text(kLeastRate));
}

void check_seconds(const CrossCheck& check, const std::string& path, double seconds) {
  if (seconds <= kMostSeconds || !check.sound({path})) return;
  check.refuse(path, float_text(seconds), "at most " + float_text(kMostSeconds));
}

void check_link(const CrossCheck& check, const std::string& path,
                const std::optional<LinkConfig>& link) {
  if (!link) return;
  check_seconds(check, path + ".latency", link->latency.value);
  check_rate(check, path + ".bandwidth", link->bandwidth);
}

void check_efficiency(const CrossCheck& check, const EfficiencyConfig& efficiency,
                      const std::string& path) {
  for (std::size_t i = 0; i < efficiency.matmul.size(); ++i) {
    const std::string point = path_of_item(path + ".matmul", i);
    if (!check.sound({point})) continue;
    if (efficiency.matmul[i].share > 1) {
      check.refuse(path_of_item(point, 1), float_text(efficiency.matmul[i].share),
                   "a number > 0 and <= 1");
    }
    check_rate(check, path_of_item(point, 0), efficiency.matmul[i].flops);
    check_rate(check, path_of_item(point, 1), efficiency.matmul[i].share);
    if (i > 0 && efficiency.matmul[i].flops <= efficiency.matmul[i - 1].flops) {
      check.refuse(path_of_item(point, 0), float_text(efficiency.matmul[i].flops),
                   "more FLOPs than in the point before");
    }
  }
}

std::string joined(const std::string& prefix, const std::string& path) {
  return prefix.empty() ? path : prefix + "." + path;
}

/// Several devices or hosts need a link between them.
void check_links(const CrossCheck& check, const ClusterConfig& cluster, const std::string& prefix) {
  std::int64_t hosts = 0;
  bool counted = true;
  for (std::size_t i = 0; i < cluster.hosts.size(); ++i) {
    const HostGroupConfig& group = cluster.hosts[i];
    const std::string path = path_of_item(joined(prefix, "hosts"), i);
    hosts += group.count;
    counted = counted && check.sound({path + ".count"});
    if (group.devices > 1 && !group.intra_host &&
        check.sound({path + ".devices", path + ".intra_host"})) {
      check.refuse(path + ".intra_host", "nothing",
                   "{latency, bandwidth} between the " + std::to_string(group.devices) +
                       " devices of a host");
    }
    check_link(check, path + ".intra_host", group.intra_host);
  }
  const std::string between = joined(prefix, "inter_host");
  if (counted && hosts > 1 && !cluster.inter_host && check.sound({between})) {
    check.refuse(between, "nothing",
                 "{latency, bandwidth} between the " + std::to_string(hosts) + " hosts");
  }
  check_link(check, between, cluster.inter_host);
}

void check_axes(const CrossCheck& check, const ClusterConfig& cluster, const std::string& axes) {
  for (std::size_t i = 0; i < cluster.mesh_axes.size(); ++i) {
    const std::string path = path_of_item(axes, i);
    check_seconds(check, path + ".alpha", cluster.mesh_axes[i].alpha);
    check_seconds(check, path + ".beta", cluster.mesh_axes[i].beta);
  }
}

}  // namespace

void check_layers(const CustomConfig& model, const YamlNode& root, ConfigErrors& errors) {
  const CrossCheck check{root, errors};
  NameCheck names(check, model);
  names.visit(model.layers, "model.layers");
  names.check_outputs(model.outputs);
  if (expanded(model.layers) > kMostLayers && check.sound({"model.layers"})) {
    check.refuse("model.layers", "more than " + std::to_string(kMostLayers) + " layers",
                 "at most " + std::to_string(kMostLayers) + ", repeat written out");
  }
}

void check_device(const DeviceKindConfig& device, const YamlNode& root, const std::string& prefix,
                  ConfigErrors& errors) {
  const CrossCheck check{root, errors};
  const std::string reserve = joined(prefix, "reserve");
  if (device.memory && device.reserve >= *device.memory &&
      check.sound({reserve, joined(prefix, "memory")})) {
    check.refuse(reserve, std::to_string(device.reserve.value),
                 "less than memory = " + std::to_string(device.memory->value));
  }
  const PeakFlops& peak = device.peak_flops;
  const std::string peaks = joined(prefix, "peak_flops");
  check_rate(check, peaks + ".fp64", peak.fp64);
  check_rate(check, peaks + ".fp32", peak.fp32);
  check_rate(check, peaks + ".tf32", peak.tf32);
  check_rate(check, peaks + ".bf16", peak.bf16);
  check_rate(check, peaks + ".fp16", peak.fp16);
  check_rate(check, joined(prefix, "memory_bandwidth"), device.memory_bandwidth);
  check_seconds(check, joined(prefix, "launch"), device.launch.value);
  check_efficiency(check, device.efficiency, joined(prefix, "efficiency"));
  check_rate(check, joined(prefix, "efficiency.memory"), device.efficiency.memory);
  check_kernel_tables(device.kernels, root, joined(prefix, "kernels"), errors);
}

void check_cluster(const ClusterConfig& cluster, const YamlNode& root, const std::string& prefix,
                   ConfigErrors& errors) {
  const CrossCheck check{root, errors};
  const std::string hosts = joined(prefix, "hosts");
  std::int64_t devices = 0;
  for (std::size_t i = 0; i < cluster.hosts.size(); ++i) {
    const HostGroupConfig& group = cluster.hosts[i];
    const std::string path = path_of_item(hosts, i);
    devices += group.count * group.devices;
    if (written_at(root, path + ".device").kind == YamlNode::Kind::mapping) {
      check_device(group.device, root, path + ".device", errors);
    }
  }
  if (devices > kMostDevices && check.sound({hosts})) {
    check.refuse(hosts, std::to_string(devices) + " devices",
                 "at most " + std::to_string(kMostDevices) + " in all");
  }
  check_collective_tables(cluster.collectives, root, joined(prefix, "collectives"), errors);
  const std::string axes = joined(prefix, "mesh_axes");
  if (!check.sound({axes})) return;
  if (cluster.mesh_axes.empty())
    check_links(check, cluster, prefix);
  else
    check_axes(check, cluster, axes);
}

}  // namespace alpa
