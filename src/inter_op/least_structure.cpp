// The least structure of plans with one number of microbatches, as far as stages are known.

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "pipeline_bound.hpp"
#include "space_bound.hpp"
#include "space_family.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t at(int i) { return static_cast<std::size_t>(i); }

constexpr std::size_t kUsualRun = 24;  ///< layers that a stage may hold
constexpr int kOfDepth = 4;  ///< a depth stands for those up to so great a part of it more

}  // namespace

const SpaceBound::OfSize::Least& SpaceBound::Leasts::of(const Family& family, const Stage& stage) {
  const OfSize& size = family.sizes[stage.size];
  if (by_size_.empty()) by_size_.resize(family.sizes.size());
  OfSizeSoFar& known = by_size_[stage.size];
  if (known.state != state_) {
    known.state = state_;
    const std::int64_t looks = size.looks();
    if (known.looks != looks) known.by_depth.clear();
    known.looks = looks;
  }
  auto& from_first = known.by_depth.try_emplace(stage.depth, at(layers_)).first->second;
  std::vector<OfSize::Least>& runs = from_first[at(stage.first)];
  const auto length = at(stage.last - stage.first);
  if (runs.empty()) runs.reserve(kUsualRun);
  for (Stage next = stage; runs.size() <= length;) {
    next.last = stage.first + static_cast<int>(runs.size());
    runs.push_back(size.least(next, family.microbatches));
  }
  return runs[length];
}

/// 1F1B holds up to twice as many stashes as there are stages from one on, less one, unless it is
/// told how many; GPipe those of all microbatches, and no later stage begins with backward before
/// the last of them has passed it.
void SpaceBound::add_depths(const Family& family, Leasts& leasts, const Stage& stage, int stages,
                            bool any_depth, std::vector<Depth>& depths) {
  const int all = family.microbatches;
  const int most = std::clamp(any_depth ? all : 2 * stages - 1, stage.depth, all);
  depths.clear();
  double step = 0.0;
  const auto add = [&](int first, int last) {
    Stage deep = stage;
    deep.depth = first;
    const OfSize::Least& least = leasts.of(family, deep);
    step = std::max(step, least.step);
    depths.push_back({first, step, beside_first(step, least.backward, last, all)});
  };
  for (int first = stage.depth; first <= most;) {
    const int next = first + std::max(1, first / kOfDepth);
    add(first, std::min(next - 1, most));
    first = next;
  }
  if (most == all) return;
  add(all, all);
  depths.back().rest = depths.back().step;  // the first backward comes after the last forward
}

/// Backwards over stages: the least of max(w, t + what follows), with t the transfers to the next
/// stage and back. What passes a border does so once whatever the layouts, for one microbatch after
/// the other. A stage holds the number of stashes with which w, and what it waits for until the
/// first microbatch comes back, take least.
double SpaceBound::least_structure(Family& family, double price, std::vector<Stage>& stages) const {
  const int layers = work_.layers();
  const int devices = work_.devices();
  const auto [fewest, most] = work_.stage_counts();
  const std::vector<int>& depths = family.depths;
  const auto cell = [&](int layer, int device) { return at(layer) * at(devices + 1) + at(device); };
  struct Choice {
    int last = -1;
    std::size_t size = 0, row = 0;
    int depth = 1;
  };
  const std::size_t cells = at(layers + 1) * at(devices + 1);
  // Of what follows: the least that it takes, and the least that one microbatch takes in it.
  std::vector<std::vector<double>> values(depths.size(), std::vector<double>(cells, kInfinity));
  std::vector<std::vector<double>> passes = values;
  std::vector<std::vector<Choice>> chosen(depths.size(), std::vector<Choice>(cells));
  if (!family.leasts) family.leasts = std::make_unique<Leasts>(layers);
  Leasts& leasts = *family.leasts;
  leasts.begin();
  const bool waits = fills_ && (is_small() || fewest == most);
  const bool any_depth = work_.request().constraints.warm_up.has_value();
  std::vector<Depth> deeper;
  for (std::size_t row = 0; row < depths.size(); ++row) {
    // The stage after one of a row that stands for several numbers may be of that row too.
    const bool is_last = row + 1 == depths.size();
    const bool several = is_last ? fewest != most : depths[row + 1] > depths[row] + 1;
    const int most_stages = !several ? depths[row] : is_last ? most : depths[row + 1] - 1;
    for (int first = layers - 1; first >= 0; --first) {
      for (std::size_t s = 0; s < family.sizes.size(); ++s) {
        const OfSize& size = family.sizes[s];
        Stage stage{first, first, std::min(depths[row], family.microbatches), s};
        // Each of those behind it has a layer and a device.
        const int stages_behind = depths[row] - 1;
        for (; stage.last + stages_behind < layers; ++stage.last) {
          const OfSize::Least least = leasts.of(family, stage);
          if (least.step >= price) break;  // longer runs take longer
          const bool ends = stage.last + 1 == layers;
          const double fill = fills_ ? least.each : 0.0;
          const auto behind = at(stage.last) + 1;
          const Bytes there = ends || !fills_ ? Bytes{0} : family.traffic.forward[behind];
          const Bytes back = ends || !fills_ ? Bytes{0} : family.traffic.backward[behind];
          if (ends || !waits) {
            deeper.assign(1, {stage.depth, least.step, 0.0});
          } else {
            add_depths(family, leasts, stage, most_stages, any_depth, deeper);
          }
          for (std::size_t next = row - (row > 0 ? 1 : 0); next <= row; ++next) {
            if (next == row && !ends && !several) continue;
            for (std::size_t p = 0; p < size.places.size(); ++p) {
              const int device = size.places[p];
              if (device + size.size + stages_behind > devices) break;
              double all = least.step, pass = fill;
              if (!ends) {
                const auto rest = cell(stage.last + 1, device + size.size);
                const double forth = size.behind[p].seconds(there);
                const double home = size.behind[p].seconds(back);
                all = std::max({all, family.microbatches * std::max(forth, home),
                                fill + forth + home + values[next][rest]});
                pass += forth + home + (fills_ ? passes[next][rest] : 0.0);
              }
              double& value = values[row][cell(first, device)];
              double& pass_of = passes[row][cell(first, device)];
              if (all >= price || (all >= value && pass >= pass_of)) continue;
              double own = kInfinity;
              int depth = stage.depth;
              for (const Depth& deep : deeper) {
                if (deep.step >= own) break;
                const double of_depth = std::max(deep.step, pass - fill + deep.rest);
                if (of_depth >= own) continue;
                own = of_depth;
                depth = deep.depth;
              }
              all = std::max(all, own);
              if (all >= price) continue;
              pass_of = std::min(pass_of, pass);
              if (all >= value) continue;
              value = all;
              chosen[row][cell(first, device)] = {stage.last, s, next, depth};
            }
          }
        }
      }
    }
  }
  std::size_t row = depths.size() - 1;
  for (std::size_t r = 0; r + 1 < depths.size(); ++r) {
    if (depths[r + 1] > fewest && values[r][0] < values[row][0]) row = r;
  }
  stages.clear();
  const double least = values[row][0];
  if (least >= price) return price;
  for (int layer = 0, device = 0; layer < layers;) {
    const Choice& choice = chosen[row][cell(layer, device)];
    stages.push_back({layer, choice.last, choice.depth, choice.size});
    layer = choice.last + 1;
    device += family.sizes[choice.size].size;
    row = choice.row;
  }
  return least;
}

}  // namespace alpa
