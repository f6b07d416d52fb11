#include "run_view.hpp"

#include <algorithm>
#include <cstdlib>

namespace alpa::intra_op {
namespace {

bool in_place(Role role) {
  return role == Role::parameter || role == Role::optimizer_state || role == Role::accumulator;
}

constexpr int kFewest = 4;  ///< equal layers of which one is left out

/// Lets the second layer of each run of equal ones stand for those between it and the last.
void condense(const GraphIndex& index, const std::vector<int>& classes, RunView& view) {
  const auto at = [](int layer) { return static_cast<std::size_t>(layer); };
  for (int begin = view.first; begin <= view.last;) {
    int end = begin + 1;
    while (end <= view.last && classes[at(end)] == classes[at(begin)]) ++end;
    if (end - begin >= kFewest && index.reach[at(begin)] <= 1) {
      view.counts[at(begin + 1 - view.first)] = end - begin - 2;
      for (int l = begin + 2; l < end - 1; ++l) {
        view.counts[at(l - view.first)] = 0;
        view.seen_as[at(l - view.first)] = begin + 1;
      }
    }
    begin = end;
  }
}

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

RunView view_of(const Graph& graph, const GraphIndex& index, int first, int last,
                const std::vector<int>* classes) {
  RunView view;
  view.first = first;
  view.last = last;
  const auto layers = static_cast<std::size_t>(last - first) + 1;
  view.counts.assign(layers, 1);
  for (int l = first; l <= last; ++l) view.seen_as.push_back(l);
  if (classes != nullptr) condense(index, *classes, view);
  Viewer(graph, index, view).run();
  return view;
}

}  // namespace alpa::intra_op
