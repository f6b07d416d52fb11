// Gradient sums of one parameter that lie alike share a buffer and are not added up again.

#include <set>

#include "numbering.hpp"
#include "stage_problem.hpp"

namespace alpa::intra_op {

void StageProblem::add_sums() {
  for (const SharedSum& sum : run_.view.sums) {
    const int node = node_of(sum.op);
    auto& costs = problem_.nodes[static_cast<std::size_t>(node)].costs;
    for (std::size_t p = 0; p < costs.size(); ++p) {
      costs[p] +=
          count(op(sum.op)) * weight(op(sum.op).phase) * sum_seconds(options(sum.op)[p], sum, 0);
    }
    for (const int f : sum.followers) {
      add_sharing(sum, run_.view.flows[static_cast<std::size_t>(f)]);
    }
  }
}

/// One node says whether the follower lies as its leader, and in which layout it lies.
void StageProblem::add_sharing(const SharedSum& sum, const Flow& follower) {
  const Flow& leader = run_.view.flows[static_cast<std::size_t>(follower.leader)];
  LayoutTable& layouts = run_.options.layouts(follower.tensor);
  const auto of_leader = source_layouts(leader);
  const auto of_follower = source_layouts(follower);
  Numbering own, shared;
  for (const int s : of_follower) own.add(s);
  const std::set<int> leaders(of_leader.begin(), of_leader.end());
  for (const int s : own.values()) {
    if (leaders.contains(s)) shared.add(s);
  }
  const std::size_t apart = own.size();  // options: layouts of its own, then shared ones
  const std::size_t all = apart + shared.size();
  const auto layout = [&](std::size_t k) {
    return k < apart ? own.values()[k] : shared.values()[k - apart];
  };
  const std::string& name = run_.graph.tensor(follower.tensor).name;
  const int node = add_node(all, name, " buffer");
  Amounts bytes(all, 0);
  for (std::size_t k = 0; k < all; ++k) {
    if (named_) {
      option_names[static_cast<std::size_t>(node)][k] =
          to_string(layouts.spec(layout(k))) + (k < apart ? "" : " shared");
    }
    if (k < apart) bytes[k] = placed_bytes(layouts.bytes(layout(k)));
  }
  hold_state(node, bytes, follower.count);
  std::vector<double> costs;
  for (const int s : of_follower) {
    for (std::size_t k = 0; k < all; ++k) costs.push_back(s == layout(k) ? 0.0 : kForbidden);
  }
  add_edge(node_of(follower.maker), node, std::move(costs));
  costs.clear();
  for (const int s : of_leader) {
    for (std::size_t k = 0; k < all; ++k) {
      costs.push_back(k < apart || s == layout(k) ? 0.0 : kForbidden);
    }
  }
  add_edge(node_of(leader.maker), node, std::move(costs));
  costs.clear();
  const Reader& reader = follower.readers.front();
  const auto wanted = wanted_layouts(reader);
  const auto& choices = options(sum.op);
  for (std::size_t p = 0; p < choices.size(); ++p) {
    const double kernel = sum_seconds(choices[p], sum, 1) - sum_seconds(choices[p], sum, 0);
    for (std::size_t k = 0; k < all; ++k) {
      const double seconds =
          k < apart ? kernel + layouts.path(layout(k), wanted[p].front()).seconds : 0.0;
      costs.push_back(count(op(sum.op)) * weight(op(sum.op).phase) * seconds);
    }
  }
  add_edge(node_of(sum.op), node, std::move(costs));
}

}  // namespace alpa::intra_op
