#include "alpa/intra_op/folding.hpp"

#include <memory>

#include "graph_index.hpp"

namespace alpa {
namespace {

constexpr int kLongestPeriod = 4;

/// Layers of a run that models may look at: two parts, each of two periods and what follows the
/// last whole one before it, begun at any layer of a period.
int fewest_seen(int period) { return 2 * (4 * period - 1) + period - 1; }

/// And a period at each end that may differ.
int fewest_kept(int period) { return fewest_seen(period) + 2 * period; }

/// The run at `begin` of which most can be left out; empty if nothing can.
LayerLine::Run run_at(const std::vector<int>& kinds, int begin, int (*fewest)(int period)) {
  const auto length = static_cast<int>(kinds.size());
  const auto kind = [&](int layer) { return kinds[static_cast<std::size_t>(layer)]; };
  LayerLine::Run best;
  for (int period = 1; period <= kLongestPeriod; ++period) {
    int end = begin + period;
    while (end < length && kind(end) == kind(end - period)) ++end;
    const int count = end - begin;
    if (end > length || count <= fewest(period)) continue;
    const int kept = fewest(period) + (count - fewest(period)) % period;
    if (count - kept > best.count - best.graph_count) best = {begin, count, 0, kept, period};
  }
  return best;
}

}  // namespace

LayerLine folded_line(const std::vector<int>& kinds) { return folded_line(kinds, fewest_kept); }

LayerLine folded_line(const std::vector<int>& kinds, int (*fewest)(int period)) {
  const auto length = static_cast<int>(kinds.size());
  std::vector<LayerLine::Run> runs;
  int left_out = 0;
  for (int begin = 0; begin < length;) {
    LayerLine::Run run = run_at(kinds, begin, fewest);
    if (run.count == 0) {
      ++begin;
      continue;
    }
    run.graph_first = begin - left_out;
    left_out += run.count - run.graph_count;
    begin = run.end();
    runs.push_back(run);
  }
  return {length, std::move(runs)};
}

std::vector<int> kept_layers(const LayerLine& line) {
  int layers = line.length();
  for (const LayerLine::Run& run : line.runs()) layers -= run.count - run.graph_count;
  std::vector<int> kept;
  for (int g = 0; g < layers; ++g) kept.push_back(line.layer_of(g));
  return kept;
}

LayerLine checked_line(const LayerLine& line, const Graph& graph) {
  const intra_op::GraphIndex index(graph, line, nullptr);
  const auto like = [&](int a, int b) {
    return index.layer_class[static_cast<std::size_t>(a)] ==
           index.layer_class[static_cast<std::size_t>(b)];
  };
  const auto near = [&](int layer) { return index.reach[static_cast<std::size_t>(layer)] <= 1; };
  std::vector<LayerLine::Run> runs;
  for (const LayerLine::Run& run : line.runs()) {
    int begin = run.graph_first + run.graph_count / 2;
    int end = begin + run.period;
    for (int l = begin; l < end; ++l) {
      if (!near(l)) return LayerLine(line.length());
    }
    while (begin > run.graph_first && near(begin - 1) && like(begin - 1, begin - 1 + run.period)) {
      --begin;
    }
    while (end < run.graph_end() && near(end) && like(end, end - run.period)) ++end;
    if (end - begin < fewest_seen(run.period)) return LayerLine(line.length());
    const int left_out = run.count - run.graph_count;
    runs.push_back({run.first + begin - run.graph_first, end - begin + left_out, begin, end - begin,
                    run.period});
  }
  return {line.length(), std::move(runs)};
}

Strategy renamed(Strategy strategy, const ShardingRule& from, const ShardingRule& to) {
  for (AxisUse& use : strategy.uses) {
    const int factor = from.factor(use.factor);
    if (factor >= 0) use.factor = to.factors[static_cast<std::size_t>(factor)].name;
  }
  return strategy;
}

}  // namespace alpa
