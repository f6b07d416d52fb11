#include "run_view.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "operator_options.hpp"

namespace alpa::intra_op {
namespace {

bool in_place(Role role) {
  return role == Role::parameter || role == Role::optimizer_state || role == Role::accumulator;
}

class Viewer {
 public:
  Viewer(const Graph& graph, const Uses& uses, RunView& view)
      : graph_(graph), uses_(uses), view_(view) {}

  void run() {
    std::set<int> tensors;
    for (int l = view_.first; l <= view_.last; ++l) {
      const auto& ops = uses_.ops_of_layer[static_cast<std::size_t>(l)];
      view_.ops.insert(view_.ops.end(), ops.begin(), ops.end());
    }
    std::sort(view_.ops.begin(), view_.ops.end());
    view_.phase_end.assign(5, 0);
    for (std::size_t p = 0; p < view_.ops.size(); ++p) {
      const Operator& op = op_at(view_.ops[p]);
      position_[view_.ops[p]] = static_cast<int>(p);
      for (auto phase = static_cast<std::size_t>(op.phase); phase < 5; ++phase) {
        view_.phase_end[phase] = static_cast<int>(p) + 1;
      }
      for (const TensorId t : op.operands) tensors.insert(t.value);
      for (const TensorId t : op.results) tensors.insert(t.value);
    }
    for (std::size_t t = 0; t < graph_.tensors.size(); ++t) {
      const Tensor& tensor = graph_.tensors[t];
      if (tensor.role == Role::parameter && inside(tensor.layer)) {
        tensors.insert(static_cast<int>(t));
      }
    }
    for (const int t : tensors) add({t});
    share_sums();
  }

 private:
  [[nodiscard]] const Operator& op_at(int op) const {
    return graph_.operators[static_cast<std::size_t>(op)];
  }
  [[nodiscard]] bool inside(int layer) const { return view_.first <= layer && layer <= view_.last; }

  void add(TensorId id) {
    const Tensor& tensor = graph_.tensor(id);
    if (is_scalar(tensor) || tensor.role == Role::optimizer_state) return;
    Flow flow;
    flow.tensor = id;
    const auto [maker, result] = uses_.maker[id.index()];
    const bool made_here = maker >= 0 && inside(op_at(maker).layer);
    find_readers(flow, id);
    if (tensor.role == Role::input) {
      flow.source = Flow::Source::input;
    } else if (made_here) {
      flow.maker = maker;
      flow.result = result;
      flow.made_in = op_at(maker).phase;
      flow.position = position_.at(maker);
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
    flow_of_[id] = static_cast<int>(view_.flows.size());
    view_.flows.push_back(std::move(flow));
  }

  void find_readers(Flow& flow, TensorId id) const {
    for (const auto& [op, operand] : uses_.readers[id.index()]) {
      if (!inside(op_at(op).layer)) continue;
      if (!flow.readers.empty() && flow.readers.back().op == op) {
        flow.readers.back().operands.push_back(operand);
      } else {
        flow.readers.push_back({op, {operand}, op_at(op).phase, position_.at(op)});
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
        flow.leader = flow_of_.at(here[0]);
        sum.followers.push_back(flow_of_.at(here[i]));
        --sum.others;
      }
      const TensorId total = op.results[0];
      const bool alike = graph_.tensor(total).dtype == graph_.tensor(op.operands[0]).dtype;
      view_.flows[index(total)].total = sum.others == 1 && alike;
      view_.sums.push_back(sum);
    }
  }

  [[nodiscard]] std::size_t index(TensorId t) const {
    return static_cast<std::size_t>(flow_of_.at(t));
  }

  const Graph& graph_;
  const Uses& uses_;
  RunView& view_;
  std::map<int, int> position_;
  std::map<TensorId, int> flow_of_;
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

Uses::Uses(const Graph& graph)
    : readers(graph.tensors.size()),
      maker(graph.tensors.size(), {-1, -1}),
      ops_of_layer(static_cast<std::size_t>(graph.num_layers)) {
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    ops_of_layer[static_cast<std::size_t>(op.layer)].push_back(static_cast<int>(o));
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      readers[op.operands[i].index()].emplace_back(static_cast<int>(o), static_cast<int>(i));
    }
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      maker[op.results[r].index()] = {static_cast<int>(o), static_cast<int>(r)};
    }
  }
}

RunView view_of(const Graph& graph, const Uses& uses, int first, int last) {
  RunView view;
  view.first = first;
  view.last = last;
  Viewer(graph, uses, view).run();
  return view;
}

}  // namespace alpa::intra_op
