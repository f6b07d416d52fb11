#include "alpa/comm/hosts.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <unistd.h>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

/// One number of each rank.
std::vector<std::int64_t> gather_numbers(Communicator& world, std::int64_t mine) {
  const auto size = static_cast<std::size_t>(world.size());
  std::vector<std::int64_t> all(size);
  const std::vector<std::int64_t> sizes(size, sizeof(mine));
  wait(*world.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)),
                         sizes));
  return all;
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) {
    throw SystemError(std::string("gethostname: ") + std::strerror(errno));
  }
  return name.data();
}

std::vector<std::string> host_of_ranks(Communicator& world) {
  const std::string mine = host_name();
  const std::vector<std::int64_t> lengths = gather_numbers(world, std::ssize(mine));
  std::string all(
      static_cast<std::size_t>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})),
      ' ');
  wait(*world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)),
                         lengths));
  std::vector<std::string> hosts;
  std::size_t begin = 0;
  for (const std::int64_t length : lengths) {
    hosts.push_back(all.substr(begin, static_cast<std::size_t>(length)));
    begin += static_cast<std::size_t>(length);
  }
  return hosts;
}

LocalRank local_rank(std::span<const std::string> hosts, int rank) {
  ALPA_CHECK(rank >= 0 && rank < std::ssize(hosts));
  const std::string& mine = hosts[static_cast<std::size_t>(rank)];
  const auto before = hosts.first(static_cast<std::size_t>(rank));
  LocalRank local{.rank = static_cast<int>(std::count(before.begin(), before.end(), mine)),
                  .size = static_cast<int>(std::count(hosts.begin(), hosts.end(), mine)),
                  .host = 0};
  std::vector<std::string> seen;
  for (const std::string& host : hosts) {
    if (host == mine) break;
    if (std::find(seen.begin(), seen.end(), host) == seen.end()) seen.push_back(host);
  }
  local.host = static_cast<int>(seen.size());
  return local;
}

}  // namespace alpa
