// Tensors with several readers: which layouts are made of them, when, and who pays.

#include <algorithm>

#include "alpa/base/error.hpp"

#include "numbering.hpp"
#include "stage_problem.hpp"

namespace alpa::intra_op {

/// What may be done about one layout.
struct StageProblem::Copy {
  enum class Kind : std::uint8_t {
    none,
    source,          ///< it is the source's own layout
    source_forward,  ///< the same, and nobody wants it in backward
    step,            ///< made in prepare, for the step
    prepare,         ///< made in prepare alone
    forward,
    backward,
    kept,      ///< made in forward because `reader` (or the sending) wants it, for backward too
    repeated,  ///< made in forward and in backward
    finish,    ///< made in the phase `in`
    reader_finish,  ///< the same, because `reader` wants it then
  };
  Kind kind = Kind::none;
  bool prepare = false;  ///< also in prepare
  int reader = -1;       ///< that must want it
  Phase in = Phase::update;
  bool alone = false;  ///< nothing else is wanted: the source may be reduced in place

  [[nodiscard]] bool serves(const Reader& by) const {
    const Scope scope = scope_of(by.phase);
    switch (kind) {
      case Kind::none:
        return false;
      case Kind::source:
      case Kind::step:
      case Kind::reader_finish:
        return true;
      case Kind::source_forward:
        return scope != Scope::backward;
      case Kind::prepare:
        return scope == Scope::prepare;
      case Kind::forward:
        return scope == Scope::forward || (prepare && scope == Scope::prepare);
      case Kind::backward:
        return scope == Scope::backward || (prepare && scope == Scope::prepare);
      case Kind::kept:
      case Kind::repeated:
        return scope == Scope::forward || scope == Scope::backward ||
               (prepare && scope == Scope::prepare);
      case Kind::finish:
        return scope == Scope::finish && in <= by.phase;
    }
    return false;
  }
  [[nodiscard]] bool makes() const { return kind > Kind::source_forward; }
  [[nodiscard]] bool reads_source_in_backward() const {
    return kind == Kind::source || kind == Kind::backward || kind == Kind::repeated;
  }
  [[nodiscard]] bool in_prepare() const { return prepare || kind == Kind::step; }
  [[nodiscard]] bool in_forward() const {
    return kind == Kind::forward || kind == Kind::kept || kind == Kind::repeated;
  }
  [[nodiscard]] bool in_backward() const {
    return kind == Kind::backward || kind == Kind::repeated;
  }
  [[nodiscard]] bool in_finish() const {
    return kind == Kind::finish || kind == Kind::reader_finish;
  }
  /// @param weight of which copies may be made once a step
  [[nodiscard]] bool fits(Retention retention, bool weight) const {
    if (kind == Kind::step) return retention == Retention::step;
    if (kind == Kind::kept && retention != Retention::keep) return false;
    if (kind == Kind::repeated && retention == Retention::keep) return false;
    const bool each_microbatch = in_forward() || in_backward();
    return !(weight && retention == Retention::step && each_microbatch);
  }
};

struct StageProblem::Gathering {
  const Group* group = nullptr;
  LayoutTable* layouts = nullptr;
  std::vector<int> of_maker;  ///< source layout by the maker's option
  Numbering sources;
  std::vector<std::vector<LayoutList>> wanted;  ///< [reader][option]
  Numbering targets;
  std::vector<PathPrice> paths;  ///< [source][target]
  bool stashes = false;          ///< whether the source is kept for backward is to be told apart
  int source_node = -1;          ///< options: sources, then, if `stashes`, the same kept
  std::vector<Retention> retentions;
  int retention_node = -1;
  int alone_node = -1;  ///< options: several layouts, or targets

  [[nodiscard]] const Flow& flow() const { return group->front(); }
  [[nodiscard]] const PathPrice& path(std::size_t source, int target) const {
    return paths[source * targets.size() + targets.at(target)];
  }
  [[nodiscard]] bool overwritten(int target) const {
    for (std::size_t s = 0; s < sources.size(); ++s) {
      if (path(s, target).overwrites) return true;
    }
    return false;
  }
  [[nodiscard]] bool wants(std::size_t reader, std::size_t option, int layout) const {
    return wanted[reader][option].contains(layout);
  }
  [[nodiscard]] bool may_want(std::size_t reader, int layout) const {
    for (std::size_t p = 0; p < wanted[reader].size(); ++p) {
      if (wants(reader, p, layout)) return true;
    }
    return false;
  }
};

StageProblem::Gathering StageProblem::gather(const Group& group) const {
  Gathering star;
  star.group = &group;
  const Flow& flow = group.front();
  star.layouts = &run_.options.layouts(flow.tensor);
  star.of_maker = source_layouts(flow);
  for (const int s : star.of_maker) star.sources.add(s);
  bool read_in_backward = false;
  for (const Reader& reader : flow.readers) {
    read_in_backward |= scope_of(reader.phase) == Scope::backward;
    const auto& lists = star.wanted.emplace_back(wanted_layouts(reader));
    for (const auto& list : lists) {
      for (const int layout : list) star.targets.add(layout);
    }
  }
  if (flow.sent) {
    for (const int s : star.sources.values()) star.targets.add(star.layouts->whole(s));
  }
  star.paths = star.layouts->paths(star.sources.values(), star.targets.values());
  const bool counted = question_.memory || question_.weights.stash_byte > 0.0;
  star.stashes = counted && read_in_backward && scope_of(flow.made_in) == Scope::forward;
  const Tensor& tensor = run_.graph.tensor(flow.tensor);
  star.retentions = retentions_of(tensor, constraints_);
  if (!flow.weight) {
    std::replace(star.retentions.begin(), star.retentions.end(), Retention::step,
                 Retention::repeat);
  }
  return star;
}

void StageProblem::add_source_node(Gathering& star) {
  const Flow& flow = star.flow();
  const auto& sources = star.sources.values();
  const std::size_t n = sources.size();
  const std::size_t options = star.stashes ? 2 * n : n;
  star.source_node = add_node(options, run_.graph.tensor(flow.tensor).name);
  if (named_) {
    for (std::size_t p = 0; p < options; ++p) {
      option_names[static_cast<std::size_t>(star.source_node)][p] =
          to_string(star.layouts->spec(sources[p % n])) + (p < n ? "" : " kept");
    }
  }
  if (flow.source != Flow::Source::stored) {
    std::vector<double> costs;
    for (const int s : star.of_maker) {
      for (std::size_t p = 0; p < options; ++p) {
        costs.push_back(sources[p % n] == s ? 0.0 : kForbidden);
      }
    }
    add_edge(node_of(flow.maker), star.source_node, std::move(costs));
  }
  if (!star.stashes) return;
  Amounts kept(options, 0), live(options, 0);
  for (std::size_t s = 0; s < n; ++s) {
    kept[n + s] = placed_bytes(star.layouts->bytes(sources[s]));
    const bool whole = star.layouts->whole(sources[s]) == sources[s];
    live[s] = whole ? star.layouts->bytes(sources[s]) : 0;
  }
  hold_stash(star.source_node, kept, star.group->count());
  for (const Flow* each : star.group->flows) {
    hold_for(star.source_node, life_of_source(run_, *each), live);
  }
}

void StageProblem::add_retention_node(Gathering& star) {
  const TensorId tensor = star.flow().tensor;
  if (star.retentions.empty()) contradiction_ = true;
  if (star.retentions.size() == 1) {
    for (const Flow* flow : star.group->flows) {
      fixed_retention_.emplace_back(flow->tensor, star.retentions[0]);
    }
    return;
  }
  star.retention_node =
      add_node(star.retentions.size(), run_.graph.tensor(tensor).name, " retention");
  deciding_.push_back(star.retention_node);
  for (std::size_t p = 0; named_ && p < star.retentions.size(); ++p) {
    option_names[static_cast<std::size_t>(star.retention_node)][p] = to_string(star.retentions[p]);
  }
  for (const Flow* flow : star.group->flows) {
    retention_nodes_[flow->tensor] = {star.retention_node, star.retentions};
  }
}

/// A partial sum may be reduced in place for the only layout wanted.
void StageProblem::add_alone_node(Gathering& star) {
  const auto& targets = star.targets.values();
  if (targets.size() < 2 ||
      std::none_of(targets.begin(), targets.end(), [&](int t) { return star.overwritten(t); })) {
    return;
  }
  const TensorId tensor = star.flow().tensor;
  star.alone_node = add_node(1 + targets.size(), run_.graph.tensor(tensor).name, " alone");
  for (std::size_t t = 0; named_ && t < targets.size(); ++t) {
    auto& names = option_names[static_cast<std::size_t>(star.alone_node)];
    names[0] = "several";
    names[1 + t] = to_string(star.layouts->spec(targets[t]));
  }
}

std::vector<StageProblem::Copy> StageProblem::ways_to_make(const Gathering& star, int layout) {
  using Kind = Copy::Kind;
  const Flow& flow = star.flow();
  bool in[4] = {false, false, false, false};
  for (std::size_t r = 0; r < flow.readers.size(); ++r) {
    in[static_cast<std::size_t>(scope_of(flow.readers[r].phase))] |= star.may_want(r, layout);
  }
  if (flow.sent) in[static_cast<std::size_t>(scope_of(flow.sent_in))] = true;
  const auto allows = [&](Retention r) {
    return std::find(star.retentions.begin(), star.retentions.end(), r) != star.retentions.end();
  };
  std::vector<Copy> found;
  if (flow.weight && allows(Retention::step)) found.push_back({Kind::step, true});
  std::vector<Copy> each;
  if (in[1]) each.push_back({Kind::forward});
  if (in[2]) each.push_back({Kind::backward});
  for (std::size_t r = 0; in[2] && allows(Retention::keep) && r < flow.readers.size(); ++r) {
    if (flow.readers[r].phase != Phase::forward || !star.may_want(r, layout)) continue;
    each.push_back({Kind::kept, false, static_cast<int>(r)});
  }
  if (in[2] && allows(Retention::keep) && flow.sent && flow.sent_in == Phase::forward) {
    each.push_back({Kind::kept});
  }
  if (in[1] && in[2] && allows(Retention::repeat)) each.push_back({Kind::repeated});
  if (in[0]) found.push_back({Kind::prepare, true});
  if (!flow.weight || allows(Retention::keep) || allows(Retention::repeat)) {
    for (Copy copy : each) {
      found.push_back(copy);
      copy.prepare = true;
      if (in[0]) found.push_back(copy);
    }
  }
  if (!in[3]) return found;
  found.push_back({Kind::finish, false, -1, flow.sent ? Phase::reduce : Phase::update});
  for (std::size_t r = 0; r < flow.readers.size(); ++r) {
    if (flow.sent || flow.readers[r].phase != Phase::reduce || !star.may_want(r, layout)) continue;
    found.push_back({Kind::reader_finish, false, static_cast<int>(r), Phase::reduce});
  }
  return found;
}

void StageProblem::add_copy_node(Gathering& star, int layout) {
  using Kind = Copy::Kind;
  const Flow& flow = star.flow();
  const Scope made = scope_of(flow.made_in);
  std::vector<Copy> copies{{Kind::none}};
  const auto& sources = star.sources.values();
  if (std::find(sources.begin(), sources.end(), layout) != sources.end()) {
    copies.push_back({Kind::source});
    if (star.stashes) copies.push_back({Kind::source_forward});
  }
  for (Copy copy : ways_to_make(star, layout)) {
    copies.push_back(copy);
    const bool own = made != Scope::prepare || copy.in_prepare();
    const bool twice = copy.prepare && copy.kind != Copy::Kind::step;
    if (twice || !own || !star.overwritten(layout)) continue;
    copy.alone = true;
    copies.push_back(copy);
  }

  const std::string& tensor = run_.graph.tensor(flow.tensor).name;
  const std::string as = named_ ? " as " + to_string(star.layouts->spec(layout)) : "";
  const int node = add_node(copies.size(), tensor, as.c_str());
  if (named_) name_copies(node, copies, flow);
  const auto& targets = star.targets.values();
  const auto place =
      static_cast<std::size_t>(std::find(targets.begin(), targets.end(), layout) - targets.begin());

  // What the copies of each source cost, and what the source's node must say.
  const std::size_t n = sources.size();
  const std::size_t states = star.stashes ? 2 * n : n;
  const double count = star.group->count();
  std::vector<double> costs;
  costs.reserve(states * copies.size());
  for (std::size_t p = 0; p < states; ++p) {
    const std::size_t s = p % n;
    const bool kept = p >= n;
    const PathPrice& path = star.path(s, layout);
    const bool is_source = sources[s] == layout;
    const bool to_send = flow.sent && !is_source && star.layouts->whole(sources[s]) == layout;
    for (const Copy& copy : copies) {
      double cost = 0.0;
      const double seconds = path.seconds + (copy.alone ? 0.0 : path.copy_seconds);
      const auto pay = [&](Phase phase, double each) { cost += count * weight(phase) * each; };
      if (copy.kind == Kind::none && to_send) cost = kForbidden;
      if (copy.in_prepare()) pay(Phase::prepare, seconds);
      if (copy.in_forward()) pay(Phase::forward, seconds);
      if (copy.in_backward()) {
        const bool again = copy.alone && copy.kind == Kind::repeated && path.overwrites;
        pay(Phase::backward, again ? star.layouts->path(path.reduced, layout).seconds : seconds);
      }
      if (copy.in_finish()) pay(copy.in, seconds);
      if (copy.kind == Kind::source || copy.kind == Kind::source_forward) {
        if (!is_source) cost = kForbidden;
      }
      if (copy.kind == Kind::kept && copy.reader < 0 && !to_send) cost = kForbidden;
      if (copy.makes() && is_source) cost = kForbidden;
      if (copy.alone && !path.overwrites) cost = kForbidden;
      if (to_send && copy.makes() && !sends(copy, flow)) cost = kForbidden;
      if (star.stashes && !kept && path.reads && copy.reads_source_in_backward()) {
        cost = kForbidden;
      }
      costs.push_back(cost);
    }
  }
  add_edge(star.source_node, node, std::move(costs));

  if (star.retention_node >= 0) {
    costs.clear();
    for (const Retention r : star.retentions) {
      for (const Copy& copy : copies) {
        const bool fits = copy.fits(r, flow.weight);
        costs.push_back(fits ? 0.0 : kForbidden);
      }
    }
    add_edge(star.retention_node, node, std::move(costs));
  }
  if (star.alone_node >= 0) {
    costs.clear();
    for (std::size_t z = 0; z <= targets.size(); ++z) {
      for (const Copy& copy : copies) {
        const bool fits = z == 0           ? !copy.alone
                          : z - 1 == place ? copy.alone
                                           : copy.kind == Kind::none;
        costs.push_back(fits ? 0.0 : kForbidden);
      }
    }
    add_edge(star.alone_node, node, std::move(costs));
  }
  connect_readers(star, node, layout, copies);
  hold_copies(star, node, layout, copies);
}

/// True if the copy is there when the tensor is sent to other layers.
bool StageProblem::sends(const Copy& copy, const Flow& flow) {
  const Reader sender{-1, {}, flow.sent_in, 0};
  return copy.serves(sender);
}

void StageProblem::name_copies(int node, const std::vector<Copy>& copies, const Flow& flow) {
  static const char* const kNames[] = {
      "no",       "as made",       "as made, in forward",  "for the step", "prepare", "forward",
      "backward", "forward, kept", "forward and backward", "finish",       "finish"};
  for (std::size_t k = 0; k < copies.size(); ++k) {
    std::string& name = option_names[static_cast<std::size_t>(node)][k];
    name = kNames[static_cast<std::size_t>(copies[k].kind)];
    if (copies[k].reader >= 0) {
      name += " for " + op(flow.readers[static_cast<std::size_t>(copies[k].reader)].op).name;
    }
    if (copies[k].prepare && copies[k].kind > Copy::Kind::prepare) name += " and prepare";
    if (copies[k].alone) name += " in place";
  }
}

void StageProblem::connect_readers(const Gathering& star, int node, int layout,
                                   const std::vector<Copy>& copies) {
  const auto& readers = star.flow().readers;
  for (std::size_t r = 0; r < readers.size(); ++r) {
    if (!star.may_want(r, layout)) continue;
    std::vector<double> costs;
    for (std::size_t p = 0; p < star.wanted[r].size(); ++p) {
      const bool wants = star.wants(r, p, layout);
      for (const Copy& copy : copies) {
        const bool fits = wants ? copy.serves(readers[r]) : copy.reader != static_cast<int>(r);
        costs.push_back(fits ? 0.0 : kForbidden);
      }
    }
    add_edge(node_of(readers[r].op), node, std::move(costs));
  }
}

void StageProblem::hold_copies(const Gathering& star, int node, int layout,
                               const std::vector<Copy>& copies) {
  using Kind = Copy::Kind;
  const std::int64_t bytes = star.layouts->bytes(layout);
  const Flow& flow = star.flow();
  const bool replica = scope_of(flow.made_in) == Scope::prepare &&
                       flow.source == Flow::Source::made &&
                       run_.graph.tensor(flow.tensor).role != Role::parameter;
  Amounts state(copies.size(), 0), stash(copies.size(), 0);
  Amounts live[4] = {state, state, state, state};
  for (std::size_t k = 0; k < copies.size(); ++k) {
    const Kind kind = copies[k].kind;
    if (kind == Kind::kept) stash[k] = placed_bytes(bytes);
    if (kind == Kind::step) state[k] = placed_bytes(bytes);
    if (kind == Kind::source && replica) {
      const bool partial = star.layouts->whole(layout) != layout;
      if (!made_by_name(run_.graph, flow, partial)) state[k] = placed_bytes(bytes);
    }
    if (copies[k].alone) continue;
    if (kind == Kind::forward || kind == Kind::repeated) live[1][k] = bytes;
    if (copies[k].in_backward()) live[2][k] = bytes;
    if (copies[k].in_finish()) live[3][k] = bytes;
  }
  hold_state(node, state, star.group->count());
  hold_stash(node, stash, star.group->count());
  if (!question_.memory || !copies_are_known(run_.graph, flow)) return;
  for (const Flow* each : star.group->flows) {
    for (const Scope scope : {Scope::forward, Scope::backward, Scope::finish}) {
      const Reader* reader = only_reader(run_.graph, *each, scope);
      if (reader == nullptr) continue;
      const int at = kernel_time(reader->position);
      hold_for(node, {at, at + 1}, live[static_cast<std::size_t>(scope)]);
    }
  }
}

void StageProblem::add_star(const Group& group) {
  Gathering star = gather(group);
  add_source_node(star);
  add_retention_node(star);
  if (contradiction_) return;
  add_alone_node(star);
  for (const int layout : star.targets.values()) add_copy_node(star, layout);
}

}  // namespace alpa::intra_op
