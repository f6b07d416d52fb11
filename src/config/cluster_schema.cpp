#include <algorithm>
#include <filesystem>

#include "alpa/base/error.hpp"

#include "checks.hpp"
#include "sections.hpp"

namespace alpa {
namespace {

ValueType<std::optional<double>> peak() { return if_given(rate()); }

ValueType<PeakFlops> peak_flops_type() {
  using P = PeakFlops;
  const Section<P> table({
      key("fp64", &P::fp64, peak(), "FLOP/s; absent: cannot run it"),
      key("fp32", &P::fp32, peak(), "FLOP/s"),
      key("tf32", &P::tf32, peak(), "FLOP/s"),
      key("bf16", &P::bf16, peak(), "FLOP/s"),
      key("fp16", &P::fp16, peak(), "FLOP/s"),
  });
  ValueType<P> type = section(table);
  type.expected = "unlimited or a mapping of precision to FLOP/s";
  type.change = {};
  type.read = [table, expected = type.expected](const Cursor& at) -> std::optional<P> {
    if (detail::is_word(at, "unlimited")) {
      const double all = std::numeric_limits<double>::infinity();
      return P{all, all, all, all, all};
    }
    if (!at.is(YamlNode::Kind::mapping) || at.node.keys.empty()) {
      detail::with_words(at, expected, {"unlimited"}).refuse("");
      return std::nullopt;
    }
    P value;
    table.read(at, value);
    return value;
  };
  return type;
}

ValueType<EfficiencyPoint> efficiency_point() {
  ValueType<std::vector<double>> pair =
      list_of(number({.min = 0, .open_min = true}), "[FLOPs, share of peak]", 2, 2);
  ValueType<EfficiencyPoint> type = mapped<EfficiencyPoint>(
      pair, [](const std::vector<double>& v) { return EfficiencyPoint{v[0], v[1]}; },
      [](const EfficiencyPoint& p) { return std::vector<double>{p.flops, p.share}; });
  return type;
}

Section<EfficiencyConfig> efficiency_section() {
  using E = EfficiencyConfig;
  return Section<E>({
      key("matmul", &E::matmul,
          list_of(efficiency_point(), "a list of [FLOPs, share of peak] by rising FLOPs"),
          "what products of that size reach"),
      key("memory", &E::memory, number({.min = 0, .max = 1, .open_min = true}),
          "share of memory_bandwidth that is reached"),
  });
}

Section<LinkConfig> link_section() {
  using L = LinkConfig;
  return Section<L>({
      key("latency", &L::latency, duration(), "of a message").must_be_given(),
      key("bandwidth", &L::bandwidth, rate(), "B/s one way").must_be_given(),
  });
}

/// A file name without folders, so that a device cannot name files elsewhere.
bool is_device_name(std::string_view name) {
  return !name.empty() && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

std::vector<std::string> known_devices(const std::vector<std::string>& folders) {
  std::vector<std::string> names;
  for (const std::string& folder : folders) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::optional<DeviceKindConfig> read_device_file(const std::string& path, ConfigErrors& errors) {
  const YamlLimits limits;
  const YamlNode root = parse_yaml(read_text_file(path, limits.bytes), path, errors, limits);
  const std::size_t before = errors.size();
  DeviceKindConfig device;
  const Cursor at{root, "", errors};
  if (at.is(YamlNode::Kind::null)) {
    at.refuse("a mapping");
  } else {
    device_section().read(at, device);
    check_device(device, root, "", errors);
  }
  if (at.is(YamlNode::Kind::invalid) || errors.size() != before) return std::nullopt;
  return device;
}

std::optional<DeviceKindConfig> read_named_device(const Cursor& at,
                                                  const std::vector<std::string>& folders) {
  const std::string name = at.node.text;
  if (is_device_name(name)) {
    for (const std::string& folder : folders) {
      const std::string path = folder + "/" + name + ".yaml";
      if (std::filesystem::is_regular_file(path)) return read_device_file(path, at.errors);
    }
  }
  std::string expected = "a mapping, or the name of a file NAME.yaml in ";
  expected += detail::joined_words(folders);
  detail::with_words(at, expected, known_devices(folders)).refuse("");
  return std::nullopt;
}

ValueType<DeviceKindConfig> device_type(const std::vector<std::string>& folders) {
  ValueType<DeviceKindConfig> type = section(device_section());
  type.change = {};
  type.expected = "a mapping, or the name of a shipped device";
  type.read = [folders](const Cursor& at) -> std::optional<DeviceKindConfig> {
    if (at.is(YamlNode::Kind::scalar)) return read_named_device(at, folders);
    if (!at.is(YamlNode::Kind::mapping)) {
      at.refuse("a mapping, or the name of a shipped device");
      return std::nullopt;
    }
    DeviceKindConfig device;
    device_section().read(at, device);
    return device;
  };
  return type;
}

Section<HostGroupConfig> host_section(const std::vector<std::string>& folders) {
  using H = HostGroupConfig;
  return Section<H>({
      key("count", &H::count, integer(1, kMostDevices), "hosts of this kind").must_be_given(),
      key("devices", &H::devices, integer(1, 4096), "of each host").must_be_given(),
      key("device", &H::device, device_type(folders), "kind of device").must_be_given(),
      key("intra_host", &H::intra_host, if_given(section(link_section())), ""),
      key("shared_cores", &H::shared_cores,
          if_given(number({.min = 0, .max = 4096, .open_min = true})),
          "devices that run at once, where cores are fewer than devices"),
  });
}

}  // namespace

Section<DeviceKindConfig> device_section() {
  using D = DeviceKindConfig;
  return Section<D>({
      key("name", &D::name, text(), "").must_be_given(),
      key("peak_flops", &D::peak_flops, peak_flops_type(), "").must_be_given(),
      key("memory", &D::memory, word_or("unlimited", size()), "of one device").must_be_given(),
      key("reserve", &D::reserve, size(), "of memory, taken by libraries").must_be_given(),
      key("memory_bandwidth", &D::memory_bandwidth, rate(), "B/s").must_be_given(),
      key("launch", &D::launch, duration(), "of one kernel").must_be_given(),
      key("efficiency", &D::efficiency, section(efficiency_section()), ""),
      key("kernels", &D::kernels, kernel_tables_type(), ""),
  });
}

Section<ClusterConfig> cluster_section(const std::vector<std::string>& device_folders) {
  using C = ClusterConfig;
  Section<MeshAxisConfig> axis({
      key("alpha", &MeshAxisConfig::alpha, number({.min = 0}), "seconds of a collective")
          .must_be_given(),
      key("beta", &MeshAxisConfig::beta, number({.min = 0}), "seconds a byte").must_be_given(),
  });
  return Section<C>({
      key("name", &C::name, text(), "").must_be_given(),
      key("hosts", &C::hosts,
          list_of(section(host_section(device_folders)),
                  "a list of one {count, devices, device, intra_host} or more", 1),
          "groups in rank order")
          .must_be_given(),
      key("inter_host", &C::inter_host, if_given(section(link_section())), ""),
      key("mesh_axes", &C::mesh_axes,
          list_of(section(axis), "a list of at most two {alpha, beta}", 0, 2),
          "prices of the axes of a logical mesh, instead of links"),
      key("collectives", &C::collectives, collective_tables_type(),
          "measured times, by kind and size of group"),
  });
}

std::vector<std::string> device_folders_for(const std::string& file) {
  const std::filesystem::path parent = std::filesystem::path(file).parent_path();
  std::vector<std::string> folders = {(parent / ".." / "devices").lexically_normal().string()};
  const std::string shipped = "configs/devices";
  if (folders[0] != shipped) folders.push_back(shipped);
  return folders;
}

ClusterConfig parse_cluster(std::string_view text, const std::string& file) {
  ConfigErrors errors;
  const YamlNode root = parse_yaml(text, file, errors);
  ClusterConfig cluster;
  const Cursor at{root, "", errors};
  if (at.is(YamlNode::Kind::null)) {
    at.refuse("a mapping");
  } else {
    cluster_section(device_folders_for(file)).read(at, cluster);
    check_cluster(cluster, root, "", errors);
  }
  errors.throw_if_any();
  return cluster;
}

ClusterConfig load_cluster(const std::string& path) {
  return parse_cluster(read_text_file(path, YamlLimits{}.bytes), path);
}

std::string print_cluster(const ClusterConfig& cluster) {
  return to_yaml(cluster_section({}).write(cluster));
}

}  // namespace alpa
