#include "collective_times.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>

#include "alpa/base/error.hpp"

#include "team.hpp"

namespace alpa::probe_detail {
namespace {

constexpr std::int64_t kKiB = 1024;
constexpr std::array<std::int64_t, 7> kSizes = {8,           kKiB,        16 * kKiB,   128 * kKiB,
                                                1024 * kKiB, 4096 * kKiB, 16384 * kKiB};
constexpr std::int64_t kMostOfHost = std::int64_t{1} << 29U;  ///< bytes of all buffers of a host
constexpr double kWindow = 5e-4;
constexpr double kShort = 5e-3;  ///< seconds: what took less says little about larger sizes
constexpr int kMostCalls = 32;
constexpr int kRepeats = 5;
constexpr double kShare = 2.0;  ///< of an equal part of the time that one kind may take
constexpr std::array<const char*, 5> kKinds = {"all_reduce", "all_gather", "reduce_scatter",
                                               "all_to_all", "message"};

std::vector<int> first_ranks(std::span<const int> hosts) {
  std::vector<int> first;
  int rank = 0;
  for (const int ranks : hosts) {
    first.push_back(rank);
    rank += ranks;
  }
  return first;
}

/// Runs of `ranks` neighbours within each host that has as many.
Grouping runs_of(std::span<const int> hosts, int ranks) {
  Grouping grouping{{}, ranks, 1};
  const std::vector<int> first = first_ranks(hosts);
  for (std::size_t h = 0; h < hosts.size(); ++h) {
    for (int r = 0; r + ranks <= hosts[h]; r += ranks) {
      std::vector<int> members(static_cast<std::size_t>(ranks));
      std::iota(members.begin(), members.end(), first[h] + r);
      grouping.groups.push_back(std::move(members));
    }
  }
  return grouping;
}

/// The i-th ranks of every `span` neighbouring hosts.
Grouping across(std::span<const int> hosts, int span) {
  Grouping grouping{{}, span, span};
  const std::vector<int> first = first_ranks(hosts);
  for (std::size_t h = 0; h + static_cast<std::size_t>(span) <= hosts.size();
       h += static_cast<std::size_t>(span)) {
    const auto some = hosts.subspan(h, static_cast<std::size_t>(span));
    for (int r = 0; r < *std::min_element(some.begin(), some.end()); ++r) {
      std::vector<int> members;
      for (std::size_t i = h; i < h + some.size(); ++i) members.push_back(first[i] + r);
      grouping.groups.push_back(std::move(members));
    }
  }
  return grouping;
}

/// Bytes of each member's piece of `bytes`, in whole numbers of `element` bytes.
std::vector<std::int64_t> pieces_of(std::int64_t bytes, int ranks, std::int64_t element) {
  const std::int64_t count = bytes / element;
  std::vector<std::int64_t> sizes;
  for (int r = 0; r < ranks; ++r) {
    sizes.push_back((count * (r + 1) / ranks - count * r / ranks) * element);
  }
  return sizes;
}

/// One rank's calls in its group of a grouping.
class Caller {
 public:
  Caller(Communicator& group, DType dtype, std::int64_t most)
      : group_(group),
        dtype_(dtype),
        in_(static_cast<std::size_t>(most)),
        out_(static_cast<std::size_t>(most + kSizes[0] * group.size()), std::byte{1}) {}

  void call(const std::string& kind, std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(bytes);
    if (kind == "message") return ping_pong(size);
    const auto sizes = pieces_of(bytes, group_.size(), size_of(dtype_));
    const auto mine = static_cast<std::size_t>(sizes[static_cast<std::size_t>(group_.rank())]);
    const auto whole = std::span(in_).first(size);
    if (kind == "all_reduce") wait(*group_.all_reduce(whole, dtype_, Reduction::sum));
    if (kind == "all_gather") {
      wait(*group_.all_gather(std::span(in_).first(mine), std::span(out_).first(size), sizes));
    }
    if (kind == "reduce_scatter") {
      wait(*group_.reduce_scatter(whole, std::span(out_).first(mine), sizes, dtype_,
                                  Reduction::sum));
    }
    if (kind == "all_to_all") {  // every rank's piece for itself is as large as any other's
      const std::vector<std::int64_t> incoming(sizes.size(), static_cast<std::int64_t>(mine));
      wait(*group_.all_to_all(whole, sizes, std::span(out_).first(mine * sizes.size()), incoming));
    }
  }

 private:
  /// There and back between the first two members.
  void ping_pong(std::size_t bytes) {
    if (group_.rank() > 1) return;
    const int peer = 1 - group_.rank();
    const auto send = [&] {
      const std::vector<Outgoing> out{{peer, 0, std::span(in_).first(bytes)}};
      wait(*group_.exchange(out, {}));
    };
    const auto receive = [&] {
      const std::vector<Incoming> in{{peer, 0, std::span(out_).first(bytes)}};
      wait(*group_.exchange({}, in));
    };
    if (group_.rank() == 0) {
      send();
      receive();
    } else {
      receive();
      send();
    }
  }

  Communicator& group_;
  DType dtype_;
  std::vector<std::byte> in_, out_;
};

/// Times calls with all ranks of the world in step.
class Timer {
 public:
  Timer(Communicator& world, Budget& budget, Caller* caller, int callers)
      : world_(world), budget_(budget), caller_(caller), callers_(callers) {}

  /// Goes up the sizes with a call or two each while there is time, then down with more care. A
  /// table whose end is missing would be wrong by orders of magnitude: there is none then.
  std::vector<std::pair<double, double>> points(const std::string& kind, std::int64_t most) {
    std::vector<double> quick;
    for (std::size_t i = 0; i < kSizes.size() && kSizes[i] <= most; ++i) {
      const double growth = i > 0 ? double(kSizes[i]) / double(kSizes[i - 1]) : 0.0;
      const bool slow = i > 0 && quick.back() > kShort;
      if (slow && 2.0 * quick.back() * growth > budget_.left()) return {};
      quick.push_back(this->quick(kind, kSizes[i]));
    }
    std::vector<std::pair<double, double>> points;
    double above = std::numeric_limits<double>::infinity();
    for (std::size_t i = quick.size(); i-- > 0;) {
      above = std::min(above, mean(kind, careful(kind, kSizes[i], quick[i])));
      points.emplace_back(static_cast<double>(kSizes[i]), above);
    }
    std::reverse(points.begin(), points.end());
    return points;
  }

 private:
  /// Seconds of a call on the slowest rank; the first opens pages and connections.
  double quick(const std::string& kind, std::int64_t bytes) {
    (void)run(kind, bytes, 1);
    return std::max(budget_.agree(run(kind, bytes, 1)), 1e-9);
  }

  /// Median seconds of a call on this rank.
  double careful(const std::string& kind, std::int64_t bytes, double quick) {
    const int calls = static_cast<int>(std::clamp(kWindow / quick, 1.0, double(kMostCalls)));
    std::vector<double> times;
    while (std::ssize(times) < kRepeats && (times.empty() || budget_.left() > 0.0)) {
      times.push_back(run(kind, bytes, calls));
      (void)budget_.agree(0.0);
    }
    return median(std::move(times));
  }

  /// Over the ranks that call; a message's time is half of there and back.
  double mean(const std::string& kind, double mine) {
    const double sum = sums(world_, {caller_ != nullptr ? mine : 0.0})[0];
    return sum / callers_ * (kind == "message" ? 0.5 : 1.0);
  }

  double run(const std::string& kind, std::int64_t bytes, int calls) {
    world_.barrier();
    if (caller_ == nullptr) return 0.0;
    const double start = clock_seconds(false);
    for (int i = 0; i < calls; ++i) caller_->call(kind, bytes);
    return (clock_seconds(false) - start) / calls;
  }

  Communicator& world_;
  Budget& budget_;
  Caller* caller_;  ///< none on a rank without a group
  int callers_;
};

CollectiveTimes tables_of(const Grouping& grouping, int tag, Communicator& world, DType dtype,
                          std::int64_t most, Budget& budget) {
  const auto mine = std::find_if(
      grouping.groups.begin(), grouping.groups.end(), [&](const std::vector<int>& members) {
        return std::binary_search(members.begin(), members.end(), world.rank());
      });
  const bool member = mine != grouping.groups.end();
  std::unique_ptr<Communicator> made;
  if (member && grouping.ranks < world.size()) made = world.subgroup(*mine, tag);
  std::unique_ptr<Caller> caller;
  if (member) caller = std::make_unique<Caller>(made ? *made : world, dtype, most);
  CollectiveTimes timed;
  for (const char* kind : kKinds) {
    const bool message = std::string(kind) == "message";
    if (message && grouping.ranks > 2) continue;
    Timer timer(world, budget, caller.get(),
                static_cast<int>(grouping.groups.size()) * grouping.ranks);
    budget.next(kShare);
    auto points = timer.points(kind, most);
    timed.cut |= points.empty();
    if (points.empty()) continue;
    timed.tables.push_back({kind, grouping.ranks, grouping.hosts, std::move(points)});
  }
  return timed;
}

}  // namespace

std::vector<Grouping> groupings(std::span<const int> hosts) {
  std::vector<Grouping> all;
  const int most = *std::max_element(hosts.begin(), hosts.end());
  for (int ranks = 2; ranks < most; ranks *= 4) all.push_back(runs_of(hosts, ranks));
  if (most > 1) all.push_back(runs_of(hosts, most));
  const auto num_hosts = static_cast<int>(hosts.size());
  if (num_hosts == 1) return all;
  all.push_back(across(hosts, 2));
  if (num_hosts > 2) all.push_back(across(hosts, num_hosts));
  if (most > 1) {
    std::vector<int> everybody(static_cast<std::size_t>(std::reduce(hosts.begin(), hosts.end())));
    std::iota(everybody.begin(), everybody.end(), 0);
    const auto ranks = static_cast<int>(everybody.size());
    all.push_back({{std::move(everybody)}, ranks, num_hosts});
  }
  return all;
}

CollectiveTimes collective_times(Communicator& world, std::span<const int> hosts, DType dtype,
                                 double seconds,
                                 const std::function<void(double share)>& progress) {
  if (world.size() == 1) return {};
  const std::vector<Grouping> all = groupings(hosts);
  const int most_ranks = *std::max_element(hosts.begin(), hosts.end());
  const std::int64_t most = kMostOfHost / 2 / most_ranks;
  Budget budget(world, seconds, all.size() * kKinds.size(), false);
  CollectiveTimes all_timed;
  for (std::size_t g = 0; g < all.size(); ++g) {
    if (progress) progress(static_cast<double>(g) / static_cast<double>(all.size()));
    const int tag = Communicator::kTags - 1 - static_cast<int>(g);
    CollectiveTimes timed = tables_of(all[g], tag, world, dtype, most, budget);
    std::move(timed.tables.begin(), timed.tables.end(), std::back_inserter(all_timed.tables));
    all_timed.cut |= timed.cut;
  }
  return all_timed;
}

}  // namespace alpa::probe_detail
