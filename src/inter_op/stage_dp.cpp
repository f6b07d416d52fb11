#include "alpa/inter_op/stage_dp.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The fastest config of layers begin..end-1 on a submesh that bears so many successors.
struct Candidate {
  StageChoice choice;
  int devices = 0;
  double time = kInfinity;
};

/// Best list of stages for the layers from a given one on, as far as a pass knows.
struct Cell {
  double sum = kInfinity;
  double max = kInfinity;
  int candidate = -1;  ///< of the first stage, among candidates(successors, layer)
};

bool faster_in_sum(const Cell& a, const Cell& b) {
  return a.sum < b.sum || (a.sum == b.sum && a.max < b.max);
}

bool faster_in_max(const Cell& a, const Cell& b) { return a.max < b.max; }

enum class Memory { limited, unlimited };

void check_times(const StageTable& table) {
  const std::span<const Seconds> times(table.time);
  for (int i = 0; i < table.layers; ++i) {
    const std::size_t begin = table.index(i, i, 0, 0);
    for (const Seconds time : times.subspan(begin, table.index(i + 1, 0, 0, 0) - begin)) {
      ALPA_CHECK(time.value >= 0.0);  // NaN fails too
    }
  }
}

/// Fills cells (stages, first layer, devices) with the best list of exactly that many stages over
/// the layers from there to the end on exactly that many devices.
class Programme {
 public:
  Programme(const StageTable& table, int devices, Memory memory)
      : layers_(table.layers), devices_(devices), max_stages_(std::min(table.layers, devices)) {
    candidates_.resize(slot(max_stages_, 0));
    for (int successors = 0; successors < max_stages_; ++successors) {
      for (int first = 0; first < layers_; ++first) {
        candidates_[slot(successors, first)] =
            fastest_configs(table, first, memory == Memory::limited ? successors : -1);
      }
    }
  }

  /// Solves for stages strictly faster than `cap`.
  template <class Better>
  void solve(double cap, Better better) {
    cells_.assign(cell(max_stages_ + 1, 0, 0), Cell{});
    cells_[cell(0, layers_, 0)] = {.sum = 0.0, .max = 0.0, .candidate = -1};
    for (int stages = 1; stages <= max_stages_; ++stages) {
      for (int first = layers_ - stages; first >= 0; --first) {
        const auto& candidates = candidates_[slot(stages - 1, first)];
        for (std::size_t i = 0; i < candidates.size(); ++i) {
          if (candidates[i].time < cap) extend(stages, static_cast<int>(i), candidates[i], better);
        }
      }
    }
  }

  [[nodiscard]] int max_stages() const { return max_stages_; }

  /// The best list of that many stages over everything.
  [[nodiscard]] const Cell& whole(int stages) const { return cells_[cell(stages, 0, devices_)]; }

  [[nodiscard]] std::vector<StageChoice> stages_of(int stages, const StageTable& table) const {
    std::vector<StageChoice> list;
    for (int first = 0, left = devices_; stages > 0; --stages) {
      const Cell& here = cells_[cell(stages, first, left)];
      const auto& candidates = candidates_[slot(stages - 1, first)];
      list.push_back(candidates[static_cast<std::size_t>(here.candidate)].choice);
      first = list.back().end;
      left -= table.submesh_devices[static_cast<std::size_t>(list.back().submesh)];
    }
    return list;
  }

 private:
  [[nodiscard]] std::size_t slot(int successors, int first) const {
    return static_cast<std::size_t>(successors) * static_cast<std::size_t>(layers_) +
           static_cast<std::size_t>(first);
  }

  [[nodiscard]] std::size_t cell(int stages, int first, int devices) const {
    const auto row = static_cast<std::size_t>(stages) * static_cast<std::size_t>(layers_ + 1) +
                     static_cast<std::size_t>(first);
    return row * static_cast<std::size_t>(devices_ + 1) + static_cast<std::size_t>(devices);
  }

  /// Stages that start at `first`, shortest first, then by submesh.
  [[nodiscard]] std::vector<Candidate> fastest_configs(const StageTable& table, int first,
                                                       int successors) const {
    std::vector<Candidate> fastest;
    const int submeshes = static_cast<int>(table.submesh_devices.size());
    for (int last = first; last < layers_; ++last) {
      for (int m = 0; m < submeshes; ++m) {
        Candidate best{.choice = {.begin = first, .end = last + 1, .submesh = m},
                       .devices = table.submesh_devices[static_cast<std::size_t>(m)]};
        for (int c = 0; c < table.configs; ++c) {
          const std::size_t at = table.index(first, last, m, c);
          const bool fits = successors < 0 || table.max_successors[at] >= successors;
          if (!fits || table.time[at].value >= best.time) continue;
          best.time = table.time[at].value;
          best.choice.config = c;
        }
        if (best.time < kInfinity && best.devices <= devices_) fastest.push_back(best);
      }
    }
    return fastest;
  }

  /// Puts the candidate in front of every list of stages - 1 stages that starts where it ends.
  template <class Better>
  void extend(int stages, int number, const Candidate& candidate, Better better) {
    const Cell* rest = &cells_[cell(stages - 1, candidate.choice.end, 0)];
    Cell* whole = &cells_[cell(stages, candidate.choice.begin, candidate.devices)];
    for (int left = 0; left + candidate.devices <= devices_; ++left, ++rest, ++whole) {
      if (rest->sum == kInfinity) continue;
      const Cell found = {.sum = candidate.time + rest->sum,
                          .max = std::max(candidate.time, rest->max),
                          .candidate = number};
      if (better(found, *whole)) *whole = found;
    }
  }

  int layers_;
  int devices_;
  int max_stages_;
  std::vector<std::vector<Candidate>> candidates_;  ///< at slot(successors, first layer)
  std::vector<Cell> cells_;
};

}  // namespace

StageTable::StageTable(int layer_count, int config_count, std::vector<int> devices)
    : layers(layer_count), configs(config_count), submesh_devices(std::move(devices)) {
  ALPA_CHECK(layers >= 1 && configs >= 1);
  ALPA_CHECK(std::ranges::all_of(submesh_devices, [](int size) { return size >= 1; }));
  const std::size_t size = static_cast<std::size_t>(layers) * static_cast<std::size_t>(layers) *
                           submesh_devices.size() * static_cast<std::size_t>(configs);
  time.assign(size, Seconds{kInfinity});
  max_successors.assign(size, -1);
}

std::size_t StageTable::index(int i, int k, int m, int c) const {
  const auto layer_count = static_cast<std::size_t>(layers);
  const auto run = static_cast<std::size_t>(i) * layer_count + static_cast<std::size_t>(k);
  const auto on_submesh = run * submesh_devices.size() + static_cast<std::size_t>(m);
  return on_submesh * static_cast<std::size_t>(configs) + static_cast<std::size_t>(c);
}

std::optional<StageList> best_training_stages(const StageTable& table, int devices,
                                              std::int64_t microbatches) {
  ALPA_CHECK(devices >= 1 && microbatches >= 1);
  check_times(table);
  Programme programme(table, devices, Memory::limited);
  const auto repeats = static_cast<double>(microbatches - 1);
  std::optional<StageList> best;
  int passes = 0;
  for (double cap = kInfinity;;) {
    programme.solve(cap, faster_in_sum);
    ++passes;
    int stages = 1;
    for (int s = 2; s <= programme.max_stages(); ++s) {
      if (faster_in_sum(programme.whole(s), programme.whole(stages))) stages = s;
    }
    const Cell& found = programme.whole(stages);
    if (found.candidate < 0 || (best && found.sum >= best->objective.value)) break;
    const double objective = found.sum + repeats * found.max;
    if (!best || objective < best->objective.value) {
      best = StageList{.stages = programme.stages_of(stages, table),
                       .sum = {found.sum},
                       .max = {found.max},
                       .objective = {objective}};
    }
    cap = found.max;
  }
  if (best) best->passes = passes;
  return best;
}

std::optional<StageList> best_inference_stages(const StageTable& table, int devices) {
  ALPA_CHECK(devices >= 1);
  check_times(table);
  Programme programme(table, devices, Memory::unlimited);
  programme.solve(kInfinity, faster_in_max);
  std::optional<StageList> best;
  for (int stages = 1; stages <= programme.max_stages(); ++stages) {
    const Cell& found = programme.whole(stages);
    if (found.candidate < 0) continue;
    const double objective = static_cast<double>(stages) * found.max;
    if (best && objective >= best->objective.value) continue;
    best = StageList{.stages = programme.stages_of(stages, table),
                     .sum = {found.sum},
                     .max = {found.max},
                     .objective = {objective},
                     .passes = 1};
  }
  return best;
}

}  // namespace alpa
