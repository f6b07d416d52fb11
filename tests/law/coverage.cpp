#include "law/coverage.hpp"

#include <sstream>

namespace alpa::law {
namespace {

std::string name_of(const AxisUse& use) {
  return use.linear >= 0 ? "linear" + std::to_string(use.linear) : std::string(1, use.factor);
}

}  // namespace

void Coverage::add(const Graph& graph, const Plan& plan, const Outcome& outcome) {
  ++plans_;
  for (const Operator& op : graph.operators) {
    auto& uses = uses_[kind_of(op.kernel)];
    for (const Strategy& s : all_strategies(op.rule, {{2}})) {
      for (const AxisUse& use : s.uses) uses.try_emplace(name_of(use), 0);
    }
    const auto& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
    for (const AxisUse& use : strategy_of(stage, graph, op).uses) {
      if (extent(stage.mesh, use.axis) > 1) ++uses[name_of(use)];
    }
  }
  for (const Executed& rank : outcome.executed) {
    for (const auto& [kind, count] : rank.counts) collectives_[kind] += count;
  }
}

std::vector<std::string> Coverage::missing() const {
  std::vector<std::string> list;
  for (const auto& [kind, uses] : uses_) {
    for (const auto& [use, count] : uses) {
      if (count == 0) list.push_back(kind + " " + use);
    }
  }
  for (const std::string kind :
       {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "exchange"}) {
    const auto it = collectives_.find(kind);
    if (it == collectives_.end() || it->second == 0) list.push_back(kind);
  }
  return list;
}

std::string Coverage::table() const {
  std::ostringstream text;
  text << "operators and factors executed under " << plans_ << " plans\n";
  for (const auto& [kind, uses] : uses_) {
    text << "  " << kind;
    for (const auto& [use, count] : uses) text << "  " << use << ":" << count;
    text << "\n";
  }
  text << "collectives executed\n";
  for (const auto& [kind, count] : collectives_) text << "  " << kind << ": " << count << "\n";
  return text.str();
}

}  // namespace alpa::law
