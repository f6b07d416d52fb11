#include "hardware.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/comm/hosts.hpp"

namespace alpa::probe_detail {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

std::string library_versions() {
  std::set<std::string> names;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto slash = line.rfind('/');
    if (slash == std::string::npos) continue;
    const std::string name = line.substr(slash + 1);
    for (const char* part : {"dnnl", "blas", "libmpi", "gomp"}) {
      if (name.find(part) != std::string::npos) names.insert(name);
    }
  }
  std::string text;
  for (const std::string& name : names) text += name + " ";
  return text;
}

std::vector<int> ranks_of_hosts(Communicator& world) {
  const std::vector<std::string> names = host_of_ranks(world);
  std::vector<int> hosts;
  std::set<std::string> seen;
  for (std::size_t rank = 0; rank < names.size(); ++rank) {
    if (rank > 0 && names[rank] == names[rank - 1]) {
      ++hosts.back();
      continue;
    }
    if (!seen.insert(names[rank]).second) {
      throw UserError("the ranks of host " + names[rank] + " are not consecutive: rank " +
                      std::to_string(rank) + " is apart from the others; start them by slot " +
                      "(mpirun --map-by slot, srun --distribution=block)");
    }
    hosts.push_back(1);
  }
  return hosts;
}

std::vector<std::string> texts_of_hosts(Communicator& world, const std::vector<int>& hosts,
                                        const std::string& mine) {
  std::vector<std::string> texts;
  int first = 0;
  for (const int ranks : hosts) {
    std::vector<std::byte> bytes(mine.size());
    std::memcpy(bytes.data(), mine.data(), mine.size());
    world.broadcast(bytes, first);
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    first += ranks;
  }
  return texts;
}

}  // namespace alpa::probe_detail
