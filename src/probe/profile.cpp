#include <cstdlib>
#include <filesystem>

#include "alpa/base/error.hpp"
#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/probe/probe.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/sha256.hpp"

#include "hardware.hpp"

namespace alpa {
namespace {

std::string set_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string hardware_key(Communicator& world, const Device& device, const ProbeRequest& request) {
  using namespace probe_detail;
  const std::vector<int> hosts = ranks_of_hosts(world);
  const std::string mine = processor_name() + "\n" + std::to_string(request.usable_cores) + "\n" +
                           library_versions() + "\n";
  std::string all = device.name() + "\n" + std::string(to_string(request.dtype)) + "\n" +
                    std::to_string(request.threads) + "\n" + sha256_of_file("/proc/self/exe") +
                    "\n";
  const std::vector<std::string> texts = texts_of_hosts(world, hosts, mine);
  for (std::size_t h = 0; h < hosts.size(); ++h) all += std::to_string(hosts[h]) + "\n" + texts[h];
  // The program of rank 0 decides, should they differ: a key must be the same everywhere.
  const std::string key = texts_of_hosts(world, {world.size()}, sha256_of(all).substr(0, 16))[0];
  return device.name() + "-" + std::to_string(world.size()) + "x" +
         std::to_string(request.threads) + "-" + std::string(to_string(request.dtype)) + "-" + key;
}

std::optional<std::filesystem::path> profile_cache() {
  const std::filesystem::path cache = set_variable("XDG_CACHE_HOME");
  if (cache.is_absolute()) return cache / "alpa";
  const std::filesystem::path home = set_variable("HOME");
  if (home.is_absolute()) return home / ".cache" / "alpa";
  return std::nullopt;
}

std::optional<ClusterSpec> load_profile(const std::filesystem::path& file, std::string* warning) {
  if (warning != nullptr) warning->clear();
  std::error_code ignored;
  if (!std::filesystem::exists(std::filesystem::symlink_status(file, ignored))) {
    return std::nullopt;
  }
  try {
    const std::string text = read_file(file, YamlLimits{}.bytes);
    return cluster_spec(parse_cluster(text, file.string()));
  } catch (const Error& error) {  // an answer: measure anew
    if (warning != nullptr) *warning = "the profile is not used: " + std::string(error.what());
    return std::nullopt;
  }
}

void save_profile(const ClusterSpec& cluster, const std::filesystem::path& file) {
  std::error_code failed;  // then the file cannot be written, which says why
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), failed);
  replace_file(file, print_cluster(cluster_config(cluster)));
}

}  // namespace alpa
