// Tensors of which all readers of a part of the step take one layout.

#include <algorithm>
#include <optional>

#include "numbering.hpp"
#include "stage_problem.hpp"

namespace alpa::intra_op {
namespace {

/// Readers that share a layout: those of prepare, of forward and backward, of reduce and update.
int part_of(Phase phase) {
  const Scope scope = scope_of(phase);
  return scope == Scope::prepare ? 0 : scope == Scope::finish ? 2 : 1;
}

/// What the one layout is and how copies of it live.
struct Way {
  int layout = -1;
  std::optional<Retention> retention;  ///< of a copy; none: the source has the layout
};

}  // namespace

struct StageProblem::Shared {
  const Group* group = nullptr;
  LayoutTable* layouts = nullptr;
  std::vector<int> of_maker;           ///< source layout by the maker's option
  std::vector<const Reader*> readers;  ///< of one part
  std::vector<std::vector<LayoutList>> wanted;
  std::vector<Retention> retentions;
  bool sent = false;     ///< in this part
  bool replica = false;  ///< of a parameter, with a buffer of its own that microbatches read

  [[nodiscard]] const Flow& flow() const { return group->front(); }
  [[nodiscard]] bool reads_in(Scope scope) const {
    return std::any_of(readers.begin(), readers.end(),
                       [&](const Reader* r) { return scope_of(r->phase) == scope; });
  }
};

void StageProblem::add_shared(const Group& group) {
  const Flow& flow = group.front();
  Shared shared;
  shared.group = &group;
  shared.layouts = &run_.options.layouts(flow.tensor);
  shared.of_maker = source_layouts(flow);
  shared.retentions = retentions_of(run_.graph.tensor(flow.tensor), constraints_);
  if (!flow.weight) {
    std::replace(shared.retentions.begin(), shared.retentions.end(), Retention::step,
                 Retention::repeat);
  }
  if (shared.retentions.empty()) {
    contradiction_ = true;
    return;
  }
  for (int part = 0; part < 3; ++part) {
    Shared here = shared;
    for (const Reader& reader : flow.readers) {
      if (part_of(reader.phase) != part) continue;
      here.readers.push_back(&reader);
      here.wanted.push_back(wanted_layouts(reader));
    }
    here.sent = flow.sent && part_of(flow.sent_in) == part;
    here.replica = part == 1 && flow.source == Flow::Source::made &&
                   run_.graph.tensor(flow.tensor).role == Role::replica &&
                   !made_by_name(run_.graph, flow, false);
    if (here.readers.empty()) {
      if (here.sent) pay_at_maker(here);
    } else {
      add_shared_part(here, part);
    }
  }
}

/// What is sent is whole.
double StageProblem::sending_seconds(const Shared& shared, int source) const {
  if (!shared.sent) return 0.0;
  const int whole = shared.layouts->whole(source);
  if (whole == source) return 0.0;
  return shared.group->count() * weight(shared.flow().sent_in) *
         shared.layouts->path(source, whole).seconds;
}

void StageProblem::pay_at_maker(const Shared& shared) {
  if (shared.flow().source == Flow::Source::stored) return;
  auto& costs = problem_.nodes[static_cast<std::size_t>(node_of(shared.flow().maker))].costs;
  for (std::size_t p = 0; p < costs.size(); ++p) {
    costs[p] += sending_seconds(shared, shared.of_maker[p]);
  }
}

/// Seconds of a step, weighted, for making the copy.
double StageProblem::shared_seconds(const Shared& shared, int source, int layout,
                                    double path_seconds, std::optional<Retention> retention) const {
  const int whole = shared.layouts->whole(source);
  double cost = source == layout || whole != layout ? sending_seconds(shared, source) : 0.0;
  if (source == layout) return cost;
  const double seconds = shared.group->count() * path_seconds;
  if (retention == Retention::step) return cost + weight(Phase::prepare) * seconds;
  bool paid = false;
  for (const Phase phase :
       {Phase::prepare, Phase::forward, Phase::backward, Phase::reduce, Phase::update}) {
    const bool read = std::any_of(shared.readers.begin(), shared.readers.end(),
                                  [&](const Reader* r) { return r->phase == phase; });
    if (!read || (paid && retention != Retention::repeat)) continue;
    cost += weight(phase) * seconds;
    paid = true;
  }
  return cost;
}

/// Bytes of a replica that each microbatch makes copies of.
double StageProblem::replica_bytes(const Shared& shared, int source) const {
  const auto bytes = static_cast<double>(placed_bytes(shared.layouts->bytes(source)));
  return shared.group->count() * bytes;
}

void StageProblem::add_shared_part(const Shared& shared, int part) {
  const Flow& flow = shared.flow();
  const bool choice = flow.weight && part == 1;
  Numbering targets;
  for (const auto& lists : shared.wanted) {
    for (const auto& list : lists) {
      if (list.size() == 1) targets.add(list.front());
    }
  }
  std::vector<Way> ways;
  for (const int layout : targets.values()) {
    if (choice) ways.push_back({layout, std::nullopt});
    if (choice) {
      for (const Retention r : shared.retentions) ways.push_back({layout, r});
    } else {
      ways.push_back({layout, part == 1 ? shared.retentions.front() : Retention::keep});
    }
  }
  const int node = add_node(ways.size(), run_.graph.tensor(flow.tensor).name, " as read");
  if (contradiction_) return;
  for (std::size_t w = 0; named_ && w < ways.size(); ++w) {
    option_names[static_cast<std::size_t>(node)][w] =
        to_string(shared.layouts->spec(ways[w].layout)) +
        (ways[w].retention ? " " + to_string(*ways[w].retention) : " as made");
  }
  connect_shared(shared, node, targets.values(), choice);
  hold_shared(shared, node, targets.values(), choice);
  if (!choice) return;
  deciding_.push_back(node);
  std::vector<Retention> retentions;
  for (const Way& way : ways) {
    retentions.push_back(way.retention.value_or(shared.retentions.front()));
  }
  for (const Flow* each : shared.group->flows) retention_nodes_[each->tensor] = {node, retentions};
}

void StageProblem::connect_shared(const Shared& shared, int node, const std::vector<int>& targets,
                                  bool choice) {
  const Flow& flow = shared.flow();
  const std::size_t each = choice ? 1 + shared.retentions.size() : 1;
  for (std::size_t r = 0; r < shared.readers.size(); ++r) {
    std::vector<double> costs;
    for (const auto& list : shared.wanted[r]) {
      for (const int layout : targets) {
        const bool fits = list.size() == 1 && list.front() == layout;
        costs.insert(costs.end(), each, fits ? 0.0 : kForbidden);
      }
    }
    add_edge(node_of(shared.readers[r]->op), node, std::move(costs));
  }
  Numbering sources;
  for (const int source : shared.of_maker) sources.add(source);
  const auto paths = shared.layouts->paths(sources.values(), targets);
  std::vector<double> rows, row_bytes;  // by source
  for (std::size_t k = 0; k < paths.size(); ++k) {
    const int source = sources.values()[k / targets.size()];
    const int layout = targets[k % targets.size()];
    const auto seconds = [&](Retention retention) {
      return shared_seconds(shared, source, layout, paths[k].seconds, retention);
    };
    if (!choice) {
      rows.push_back(seconds(shared.retentions.front()));
      row_bytes.push_back(0.0);
      continue;
    }
    rows.push_back(source == layout ? seconds(shared.retentions.front()) : kForbidden);
    row_bytes.push_back(0.0);
    for (const Retention retention : shared.retentions) {
      rows.push_back(source == layout ? kForbidden : seconds(retention));
      const bool read = shared.replica && source != layout && retention != Retention::step;
      row_bytes.push_back(read ? replica_bytes(shared, source) : 0.0);
    }
  }
  std::vector<double> costs, bytes;
  const std::size_t ways = targets.size() * each;
  costs.reserve(shared.of_maker.size() * ways);
  for (const int source : shared.of_maker) {
    const double* row = rows.data() + sources.at(source) * ways;
    costs.insert(costs.end(), row, row + ways);
    const double* own_bytes = row_bytes.data() + sources.at(source) * ways;
    bytes.insert(bytes.end(), own_bytes, own_bytes + ways);
  }
  if (flow.source == Flow::Source::stored) {
    auto& own = problem_.nodes[static_cast<std::size_t>(node)].costs;
    for (std::size_t w = 0; w < own.size(); ++w) own[w] += costs[w];
  } else {
    add_priced_edge(node_of(flow.maker), node, std::move(costs), std::move(bytes));
  }
}

void StageProblem::hold_shared(const Shared& shared, int node, const std::vector<int>& targets,
                               bool choice) {
  const Flow& flow = shared.flow();
  Amounts bytes;
  for (const int layout : targets) {
    const std::int64_t size = placed_bytes(shared.layouts->bytes(layout));
    if (!choice) {
      bytes.push_back(size);
      continue;
    }
    bytes.push_back(shared.replica ? size : 0);
    for (const Retention r : shared.retentions) bytes.push_back(r == Retention::step ? size : 0);
  }
  if (choice) {
    hold_state(node, bytes, shared.group->count());
    return;
  }
  const bool forward = scope_of(flow.made_in) == Scope::forward;
  if (!forward || !shared.reads_in(Scope::backward)) return;
  if (shared.reads_in(Scope::forward) || flow.source == Flow::Source::stored) {
    hold_stash(node, bytes, shared.group->count());
    return;
  }
  Amounts kept;
  for (const int s : shared.of_maker) kept.push_back(placed_bytes(shared.layouts->bytes(s)));
  hold_stash(node_of(flow.maker), kept, shared.group->count());
}

}  // namespace alpa::intra_op
