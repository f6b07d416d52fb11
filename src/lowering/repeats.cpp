#include "repeats.hpp"

#include <algorithm>

namespace alpa {

RepeatedLayers::RepeatedLayers(const LayerLine& line) {
  for (const LayerLine::Run& run : line.runs()) {
    const int left_out = run.count - run.graph_count;
    if (left_out == 0) continue;
    const int end = run.graph_first + run.graph_front();
    periods_.push_back({end - run.period, end - 1, left_out / run.period + 1});
  }
}

int RepeatedLayers::period_of(int layer) const {
  for (std::size_t p = 0; p < periods_.size(); ++p) {
    if (periods_[p].first <= layer && layer <= periods_[p].last) return static_cast<int>(p);
  }
  return -1;
}

int RepeatedLayers::times(int layer) const {
  const int period = period_of(layer);
  return period < 0 ? 1 : periods_[static_cast<std::size_t>(period)].times;
}

std::pair<int, int> RepeatedLayers::layers_of(int period) const {
  const Period& p = periods_[static_cast<std::size_t>(period)];
  return {p.first, p.last};
}

RepeatedSegment::RepeatedSegment(const std::vector<int>& layers, const RepeatedLayers& repeats) {
  const auto count = static_cast<int>(layers.size());
  const auto layer = [&](int i) { return layers[static_cast<std::size_t>(i)]; };
  int more = 0;  // instructions than in the graph's segment, so far
  for (int i = 0; i < count;) {
    const int period = repeats.period_of(layer(i));
    if (period < 0) {
      ++i;
      continue;
    }
    Sweep sweep{i, i, period, repeats.times(layer(i)), false, i + more};
    while (sweep.end < count && repeats.period_of(layer(sweep.end)) == period) ++sweep.end;
    const auto [first, last] = repeats.layers_of(period);
    const bool from_behind = i > 0 && layer(i - 1) > last;
    const bool to_the_front =
        sweep.end < count && layer(sweep.end) >= 0 && layer(sweep.end) < first;
    sweep.down = from_behind || (to_the_front && (i == 0 || layer(i - 1) < 0));
    more += (sweep.times - 1) * sweep.length();
    i = sweep.end;
    sweeps_.push_back(sweep);
  }
}

int RepeatedSegment::sweep_of(int instruction) const {
  const auto it = std::upper_bound(sweeps_.begin(), sweeps_.end(), instruction,
                                   [](int i, const Sweep& sweep) { return i < sweep.end; });
  const bool within = it != sweeps_.end() && it->begin <= instruction;
  return within ? static_cast<int>(it - sweeps_.begin()) : -1;
}

int RepeatedSegment::times(int instruction) const {
  const int sweep = sweep_of(instruction);
  return sweep < 0 ? 1 : sweeps_[static_cast<std::size_t>(sweep)].times;
}

int RepeatedSegment::place_of(int instruction) const {
  const auto it = std::upper_bound(sweeps_.begin(), sweeps_.end(), instruction,
                                   [](int i, const Sweep& sweep) { return i < sweep.begin; });
  if (it == sweeps_.begin()) return instruction;
  const Sweep& before = *(it - 1);
  if (instruction < before.end) return before.start + instruction - before.begin;
  return before.start + before.times * before.length() + instruction - before.end;
}

std::optional<Lifetime> RepeatedSegment::lifetime(int first, int last, Bytes size, int copy) const {
  const auto find = [&](int instruction) {
    const int sweep = sweep_of(instruction);
    return sweep < 0 ? nullptr : &sweeps_[static_cast<std::size_t>(sweep)];
  };
  const Sweep* from = find(first);
  if (from == nullptr) return Lifetime{place_of(first), place_of(last), size};
  const int begin = place_of(first) + copy * from->length();
  const Sweep* to = find(last);
  const bool near = from == to || last - from->end < from->length();
  if (near) return Lifetime{begin, begin + last - first, size};  // or in the layer next to it
  if (to == nullptr || to->period != from->period) return std::nullopt;
  const int same = from->down == to->down ? copy : to->times - 1 - copy;
  return Lifetime{begin, place_of(last) + same * to->length(), size};
}

}  // namespace alpa
