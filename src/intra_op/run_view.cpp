#include "run_view.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "alpa/base/error.hpp"

namespace alpa::intra_op {
namespace {

bool in_place(Role role) {
  return role == Role::parameter || role == Role::optimizer_state || role == Role::accumulator;
}

constexpr int kLongestPeriod = 4;  ///< layers that are looked for as one that repeats itself

/// Layers of the line that repeat themselves; period 0: one of which each is seen.
struct Segment {
  int first = 0, count = 1, period = 0;
  /// At the end, that are seen: from one period on.
  [[nodiscard]] int tail() const { return period + count % period; }
  [[nodiscard]] int seen() const { return period == 0 ? count : 2 * period + tail(); }
};

/// The segment at `begin` of which most is left out.
Segment segment_at(const GraphIndex& index, const std::vector<int>& classes, int begin, int end) {
  const auto class_of = [&](int layer) { return classes[static_cast<std::size_t>(layer)]; };
  const auto reach = [&](int layer) {
    return index.reach[static_cast<std::size_t>(index.line.like(layer))];
  };
  Segment best{begin};
  for (int period = 1; period <= kLongestPeriod; ++period) {
    Segment segment{begin, period, period};
    for (int l = begin + period; l < end && class_of(l) == class_of(l - period); ++l) {
      ++segment.count;
    }
    if (segment.count < 4 * period) continue;
    bool near = true;
    for (int l = begin; l < begin + period; ++l) near = near && reach(l) <= 1;
    if (near && segment.count - segment.seen() > best.count - best.seen()) best = segment;
  }
  return best;
}

/// The segments of layers first..last, none of which crosses the border of a run of the line.
std::vector<Segment> segments_of(const GraphIndex& index, const std::vector<int>* classes,
                                 int first, int last) {
  std::vector<Segment> segments;
  for (int begin = first; begin <= last;) {
    int end = last + 1;
    for (const LayerLine::Run& run : index.line.runs()) {
      if (begin < run.first) end = std::min(end, run.first);
      if (begin < run.end()) end = std::min(end, run.end());
    }
    segments.push_back(classes == nullptr ? Segment{begin}
                                          : segment_at(index, *classes, begin, end));
    begin += segments.back().count;
  }
  return segments;
}

/// Finds the layers of the graph that are seen for each segment.
class Placement {
 public:
  Placement(const LayerLine& line, const std::vector<Segment>& segments, RunView& view)
      : line_(line), segments_(segments), view_(view) {}

  void run() {
    for (std::size_t s = 0; s < segments_.size();) {
      const LayerLine::Run* run = line_.run_of(segments_[s].first);
      std::size_t next = s + 1;
      while (run != nullptr && next < segments_.size() && segments_[next].first < run->end()) {
        ++next;
      }
      if (run == nullptr) {
        const int layer = line_.like(segments_[s].first);
        place(segments_[s], layer, segments_[s].count - segments_[s].seen());
      } else {
        place_part(*run, s, next);
      }
      s = next;
    }
    view_.last = view_.first + static_cast<int>(view_.counts.size()) - 1;
  }

 private:
  /// The part of a run that segments begin..end-1 are.
  void place_part(const LayerLine::Run& run, std::size_t begin, std::size_t end) {
    int seen = 0;
    for (std::size_t s = begin; s < end; ++s) seen += segments_[s].seen();
    const bool goes_on = end < segments_.size();
    int layer = run.graph_first + (segments_[begin].first - run.first) % run.period;
    int unseen = 0;  // layers of the graph that are passed over
    if (begin > 0 && goes_on) {
      unseen = run.graph_count - seen;
    } else if (goes_on) {
      layer = run.graph_end() - seen;
    }
    ALPA_CHECK(unseen >= 0 && run.graph_first <= layer && layer + seen <= run.graph_end());
    for (std::size_t s = begin; s < end; ++s) {
      const bool takes = segments_[s].period > 0;
      place(segments_[s], layer, takes ? unseen : 0);
      layer += segments_[s].seen() + (takes ? std::exchange(unseen, 0) : 0);
    }
    ALPA_CHECK(unseen == 0);
  }

  void place(const Segment& segment, int layer, int unseen) {
    if (view_.counts.empty()) view_.first = layer;
    ALPA_CHECK(layer == view_.first + static_cast<int>(view_.counts.size()));
    const auto add = [&](int layers, int count) {
      view_.counts.insert(view_.counts.end(), static_cast<std::size_t>(layers), count);
    };
    if (segment.period == 0) {
      view_.seen_as.push_back(layer);
      add(1, 1);
      return;
    }
    const int period = segment.period;
    const int before_tail = segment.count - segment.tail();
    for (int l = 0; l < segment.count; ++l) {
      const int seen = l < period        ? l
                       : l < before_tail ? period + l % period
                                         : 2 * period + unseen + l - before_tail;
      view_.seen_as.push_back(layer + seen);
    }
    add(period, 1);
    add(period, (before_tail - period) / period);
    add(unseen, 0);
    add(segment.tail(), 1);
  }

  const LayerLine& line_;
  const std::vector<Segment>& segments_;
  RunView& view_;
};

class Viewer {
 public:
  Viewer(const Graph& graph, const GraphIndex& index, RunView& view)
      : graph_(graph),
        index_(index),
        uses_(index.uses),
        view_(view),
        position_(graph.operators.size(), -1),
        flow_of_(graph.tensors.size(), -1) {}

  void run() {
    std::vector<bool> tensors(graph_.tensors.size(), false);
    for (int l = view_.first; l <= view_.last; ++l) {
      if (!seen(l)) continue;
      const auto& ops = uses_.ops_of_layer[static_cast<std::size_t>(l)];
      view_.ops.insert(view_.ops.end(), ops.begin(), ops.end());
      for (const TensorId t : index_.parameters[static_cast<std::size_t>(l)]) {
        tensors[t.index()] = true;
      }
    }
    std::sort(view_.ops.begin(), view_.ops.end());
    view_.phase_end.assign(5, 0);
    for (std::size_t p = 0; p < view_.ops.size(); ++p) {
      const Operator& op = op_at(view_.ops[p]);
      position_[static_cast<std::size_t>(view_.ops[p])] = static_cast<int>(p);
      for (auto phase = static_cast<std::size_t>(op.phase); phase < 5; ++phase) {
        view_.phase_end[phase] = static_cast<int>(p) + 1;
      }
      for (const TensorId t : op.operands) tensors[t.index()] = true;
      for (const TensorId t : op.results) tensors[t.index()] = true;
    }
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      if (tensors[t]) add(TensorId{static_cast<int>(t)});
    }
    share_sums();
  }

 private:
  [[nodiscard]] const Operator& op_at(int op) const {
    return graph_.operators[static_cast<std::size_t>(op)];
  }
  [[nodiscard]] bool inside(int layer) const { return view_.holds(layer); }
  [[nodiscard]] bool seen(int layer) const { return view_.count(layer) > 0; }

  void add(TensorId id) {
    const Tensor& tensor = graph_.tensor(id);
    if (is_scalar(tensor) || tensor.role == Role::optimizer_state) return;
    Flow flow;
    flow.tensor = id;
    const auto [maker, result] = uses_.maker[id.index()];
    const bool made_here = maker >= 0 && inside(op_at(maker).layer);
    const int home = maker >= 0 ? op_at(maker).layer : tensor.layer;
    if (tensor.role != Role::input && inside(home)) {
      if (!seen(home)) return;  // another one stands for it
      flow.count = view_.count(home);
    }
    find_readers(flow, id, home);
    if (tensor.role == Role::input) {
      flow.source = Flow::Source::input;
    } else if (made_here) {
      flow.maker = maker;
      flow.result = result;
      flow.made_in = op_at(maker).phase;
      flow.position = position_[static_cast<std::size_t>(maker)];
    } else if (tensor.role == Role::parameter && inside(tensor.layer)) {
      flow.source = Flow::Source::stored;
      if (flow.readers.empty()) view_.unread_state.push_back(id);
    } else if (!flow.readers.empty()) {
      arrive(flow, maker);
    } else {
      return;
    }
    flow.weight = tensor.role == Role::parameter || tensor.role == Role::replica;
    if (tensor.role == Role::parameter) flow.made_in = Phase::prepare;
    if (tensor.role == Role::accumulator) flow.made_in = Phase::reduce;
    find_sending(flow, id, maker);
    flow_of_[id.index()] = static_cast<int>(view_.flows.size());
    view_.flows.push_back(std::move(flow));
  }

  /// The operator that is seen in place of one that reads what the layer `home` makes: of a layer
  /// next to it in a run of equal layers its like in the next one that is seen; else nothing.
  [[nodiscard]] int seen_reader(int op, int home) const {
    const int layer = op_at(op).layer;
    if (!inside(layer)) return -1;
    if (seen(layer)) return op;
    if (!inside(home) || std::abs(layer - home) != 1) return -1;
    const int step = layer - home;
    int next = layer;
    while (!seen(next)) next += step;
    const auto place = static_cast<std::size_t>(uses_.place[static_cast<std::size_t>(op)]);
    return uses_.ops_of_layer[static_cast<std::size_t>(next)][place];
  }

  void find_readers(Flow& flow, TensorId id, int home) const {
    for (const auto& [reader, operand] : uses_.readers[id.index()]) {
      const int op = seen_reader(reader, home);
      if (op < 0) continue;
      if (!flow.readers.empty() && flow.readers.back().op == op) {
        flow.readers.back().operands.push_back(operand);
      } else {
        flow.readers.push_back(
            {op, {operand}, op_at(op).phase, position_[static_cast<std::size_t>(op)]});
      }
    }
  }

  void arrive(Flow& flow, int maker) const {
    flow.source = Flow::Source::arrives;
    const Reader& first = flow.readers.front();
    flow.maker = first.op;
    flow.result = first.operands.front();
    const bool state = maker < 0 || in_place(graph_.tensor(flow.tensor).role);
    flow.made_in = state ? first.phase : op_at(maker).phase;
    const auto phase = static_cast<std::size_t>(flow.made_in);
    flow.position = phase == 0 ? 0 : view_.phase_end[phase - 1];
  }

  void find_sending(Flow& flow, TensorId id, int maker) const {
    if (flow.source != Flow::Source::made && flow.source != Flow::Source::stored) return;
    for (const auto& [op, operand] : uses_.readers[id.index()]) {
      if (inside(op_at(op).layer)) continue;
      flow.sent = true;
      const bool state = maker < 0 || in_place(graph_.tensor(id).role);
      flow.sent_in = state ? op_at(op).phase : op_at(maker).phase;
      return;
    }
  }

  void share_sums() {
    for (const int o : view_.ops) {
      const Operator& op = op_at(o);
      if (!is_sum_of_accumulators(graph_, op)) continue;
      std::vector<TensorId> here;
      for (const TensorId t : op.operands) {
        if (view_.flows[index(t)].source == Flow::Source::made) here.push_back(t);
      }
      std::sort(here.begin(), here.end());
      SharedSum sum{o, {}, static_cast<int>(op.operands.size())};
      for (std::size_t i = 1; i < here.size(); ++i) {
        Flow& flow = view_.flows[index(here[i])];
        const bool alike = graph_.tensor(here[i]).dtype == graph_.tensor(here[0]).dtype;
        if (!alike || flow.readers.size() != 1 || flow.sent) continue;
        flow.leader = flow_of_[here[0].index()];
        sum.followers.push_back(flow_of_[here[i].index()]);
        --sum.others;
      }
      const TensorId total = op.results[0];
      const bool alike = graph_.tensor(total).dtype == graph_.tensor(op.operands[0]).dtype;
      view_.flows[index(total)].total = sum.others == 1 && alike;
      view_.sums.push_back(sum);
    }
  }

  [[nodiscard]] std::size_t index(TensorId t) const {
    return static_cast<std::size_t>(flow_of_.at(t.index()));
  }

  const Graph& graph_;
  const GraphIndex& index_;
  const Uses& uses_;
  RunView& view_;
  std::vector<int> position_;  ///< by operator; -1: not in the run
  std::vector<int> flow_of_;   ///< by tensor; -1: none
};

}  // namespace

Scope scope_of(Phase phase) {
  switch (phase) {
    case Phase::prepare:
      return Scope::prepare;
    case Phase::forward:
      return Scope::forward;
    case Phase::backward:
      return Scope::backward;
    case Phase::reduce:
    case Phase::update:
      return Scope::finish;
  }
  return Scope::finish;
}

std::vector<int> seen_layers(const GraphIndex& index, int first, int last,
                             const std::vector<int>& classes) {
  RunView view;
  Placement(index.line, segments_of(index, &classes, first, last), view).run();
  return view.seen_as;
}

RunView view_of(const Graph& graph, const GraphIndex& index, int first, int last,
                const std::vector<int>* classes) {
  RunView view;
  view.line_first = first;
  Placement(index.line, segments_of(index, classes, first, last), view).run();
  Viewer(graph, index, view).run();
  return view;
}

}  // namespace alpa::intra_op
