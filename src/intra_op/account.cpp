#include "account.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/graph/aliasing.hpp"
#include "alpa/memory/packing.hpp"

namespace alpa::intra_op {
namespace {

struct Held {
  Life life;
  std::int64_t bytes = 0;
  int layer = 0;
};

Seconds& of_phase(StageTimes& times, Phase phase) {
  switch (phase) {
    case Phase::prepare:
      return times.prepare;
    case Phase::forward:
      return times.forward;
    case Phase::backward:
      return times.backward;
    case Phase::reduce:
      return times.reduce;
    case Phase::update:
      return times.update;
  }
  check_failed("known phase", SourceLine::here());
}

Bytes most_at_once(const std::vector<Held>& held, int layer) {
  std::map<int, std::int64_t> change;
  for (const Held& h : held) {
    if (layer >= 0 && h.layer != layer) continue;
    change[h.life.begin] += h.bytes;
    change[h.life.end] -= h.bytes;
  }
  std::int64_t live = 0;
  std::int64_t most = 0;
  for (const auto& [time, bytes] : change) most = std::max(most, live += bytes);
  return {most};
}

/// A layout other than the source's that someone wants.
struct Wanted {
  int layout = 0;
  bool in[4] = {false, false, false, false};  ///< by scope
  Phase finish = Phase::update;               ///< the first phase of `finish` that wants it
  int layer[4] = {0, 0, 0, 0};                ///< of the first reader in the scope
  void want(Phase phase, int reader_layer) {
    const auto s = static_cast<std::size_t>(scope_of(phase));
    if (!in[s]) layer[s] = reader_layer;
    if (!in[s] && scope_of(phase) == Scope::finish) finish = phase;
    in[s] = true;
  }
};

class Accountant {
 public:
  Accountant(const RunContext& run, const RunChoice& choice) : run_(run), choice_(choice) {
    answer_.by_layer.resize(static_cast<std::size_t>(run.view.last - run.view.first) + 1);
  }

  Account run() {
    for (const int o : run_.view.ops) count_operator(o);
    for (const SharedSum& sum : run_.view.sums) count_sum(sum);
    for (const Flow& flow : run_.view.flows) count_flow(flow);
    for (const TensorId t : run_.view.unread_state) {
      LayoutTable& layouts = run_.options.layouts(t);
      const Tensor& tensor = run_.graph.tensor(t);
      hold_state(tensor.layer, layouts.bytes(layouts.number(replicated(tensor.shape.size()))));
    }
    add_up_layers();
    return {std::move(answer_), std::move(matters_), std::move(retention_)};
  }

 private:
  [[nodiscard]] const Operator& op(int o) const {
    return run_.graph.operators[static_cast<std::size_t>(o)];
  }
  [[nodiscard]] const Option& option(int o) const {
    return *choice_.options[static_cast<std::size_t>(o)];
  }
  StageFigures& layer(int l) {
    return answer_.by_layer[static_cast<std::size_t>(l - run_.view.first)];
  }

  void add_up_layers() {
    StageFigures& all = answer_.figures;
    all.state += {step_state_bytes(run_.graph)};
    all.transient = most_at_once(held_, -1);
    for (std::size_t l = 0; l < answer_.by_layer.size(); ++l) {
      StageFigures& each = answer_.by_layer[l];
      if (run_.view.counts[l] == 0) {
        each = layer(run_.view.seen_as[l]);
      } else {
        each.transient = most_at_once(held_, run_.view.first + static_cast<int>(l));
      }
      all.times.prepare += each.times.prepare;
      all.times.forward += each.times.forward;
      all.times.backward += each.times.backward;
      all.times.reduce += each.times.reduce;
      all.times.update += each.times.update;
      all.state += each.state;
      all.stash += each.stash;
    }
  }

  void take(Phase phase, int at_layer, double seconds) {
    of_phase(layer(at_layer).times, phase) += {seconds};
  }
  void hold_state(int at_layer, std::int64_t bytes) {
    layer(at_layer).state += {placed_bytes(bytes)};
  }
  void hold_stash(int at_layer, std::int64_t bytes) {
    layer(at_layer).stash += {placed_bytes(bytes)};
  }
  void hold(Life life, int at_layer, std::int64_t bytes) {
    if (life.begin < life.end) held_.push_back({life, bytes, at_layer});
  }

  void count_operator(int o) {
    const Operator& each = op(o);
    if (option(o).sum_seconds.empty()) take(each.phase, each.layer, option(o).seconds);
    for (std::size_t r = 0; r < each.results.size(); ++r) {
      if (run_.graph.tensor(each.results[r]).role != Role::optimizer_state) continue;
      hold_state(each.layer, run_.options.layouts(each.results[r]).bytes(option(o).results[r]));
    }
  }

  [[nodiscard]] bool shares(const Flow& flow) const {
    if (flow.leader < 0) return false;
    return source_of(flow) == source_of(run_.view.flows[static_cast<std::size_t>(flow.leader)]);
  }

  void count_sum(const SharedSum& sum) {
    int separate = 0;
    for (const int f : sum.followers) {
      separate += shares(run_.view.flows[static_cast<std::size_t>(f)]) ? 0 : 1;
    }
    take(op(sum.op).phase, op(sum.op).layer, sum_seconds(option(sum.op), sum, separate));
  }

  [[nodiscard]] int source_of(const Flow& flow) const {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const auto i = static_cast<std::size_t>(flow.result);
    switch (flow.source) {
      case Flow::Source::made:
        return option(flow.maker).results[i];
      case Flow::Source::arrives: {
        const auto chosen = choice_.arrivals.find(run_.graph.tensor(flow.tensor).name);
        if (chosen != choice_.arrivals.end()) return layouts.number(chosen->second);
        return layouts.arrival(option(flow.maker).operands[i]);
      }
      case Flow::Source::stored:
      case Flow::Source::input:
        return layouts.number(replicated(run_.graph.tensor(flow.tensor).shape.size()));
    }
    check_failed("known source", SourceLine::here());
  }

  void count_flow(const Flow& flow) {
    if (flow.source == Flow::Source::input) {
      count_input(flow);
      return;
    }
    if (shares(flow)) return;
    source_ = source_of(flow);
    source_in_backward_ = source_in_microbatch_ = false;
    note_border(flow);
    bool source_wanted = false;
    wanted_.clear();
    for (const Reader& reader : flow.readers) {
      for (const int layout : layouts_wanted(reader)) {
        if (layout == source_) {
          source_wanted = true;
          source_in_backward_ |= scope_of(reader.phase) == Scope::backward;
          source_in_microbatch_ |= reader.phase == Phase::forward || source_in_backward_;
        } else {
          want(layout).want(reader.phase, op(reader.op).layer);
        }
      }
    }
    const int whole = run_.options.layouts(flow.tensor).whole(source_);
    if (flow.sent && whole != source_) want(whole).want(flow.sent_in, maker_layer(flow));
    const bool alone = wanted_.size() == 1 && !source_wanted;
    for (const Wanted& w : wanted_) deliver(flow, w, alone);
    hold_source(flow);
    if (readers_hold(run_.graph, flow)) hold_at_readers(flow);
  }

  [[nodiscard]] std::vector<int> layouts_wanted(const Reader& reader) const {
    std::vector<int> found;
    for (const int i : reader.operands) {
      const int layout = option(reader.op).operands[static_cast<std::size_t>(i)];
      if (std::find(found.begin(), found.end(), layout) == found.end()) found.push_back(layout);
    }
    return found;
  }

  Wanted& want(int layout) {
    for (Wanted& w : wanted_) {
      if (w.layout == layout) return w;
    }
    wanted_.emplace_back().layout = layout;
    return wanted_.back();
  }

  [[nodiscard]] int maker_layer(const Flow& flow) const {
    return flow.source == Flow::Source::stored ? run_.graph.tensor(flow.tensor).layer
                                               : op(flow.maker).layer;
  }

  [[nodiscard]] Retention retention(const Flow& flow) const {
    return choice_.retention(run_.graph.tensor(flow.tensor));
  }

  /// Counts the copies in one layout.
  /// @param alone no other layout is wanted: a partial sum may be reduced in place
  void deliver(const Flow& flow, const Wanted& w, bool alone) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const PathPrice path = layouts.path(source_, w.layout);
    const std::int64_t bytes = layouts.bytes(w.layout);
    const Retention chosen = retention(flow);
    const bool outlives = scope_of(flow.made_in) == Scope::prepare;
    const auto move = [&](Phase phase, int at) {
      const bool own = alone && (!outlives || phase == Phase::prepare);
      take(phase, at, path.seconds + (own ? 0.0 : path.copy_seconds));
    };
    const auto [prepare, forward, backward, finish] = w.in;
    const bool step = flow.weight && chosen == Retention::step;
    // What prepare made for the step is there for the update, too.
    const bool lasts = step && (forward || backward || (prepare && finish));
    const bool in_place = alone && path.overwrites && (!outlives || step || prepare);
    if (flow.weight ? forward || backward : forward && backward) note_retention(flow, chosen);
    if (prepare || (step && (forward || backward))) {
      const int at = w.layer[prepare ? 0 : forward ? 1 : 2];
      move(Phase::prepare, at);
      if (lasts) hold_state(at, bytes);
    }
    if (!step) {
      const bool twice = forward && backward && chosen != Retention::keep;
      const bool stashed = forward && backward && !twice;
      if (forward) move(Phase::forward, w.layer[1]);
      if (twice && in_place) {  // made from what the first time has left
        take(Phase::backward, w.layer[2], layouts.path(path.reduced, w.layout).seconds);
      } else if (backward && !stashed) {
        move(Phase::backward, w.layer[2]);
      }
      if (stashed) hold_stash(w.layer[1], bytes);
      if (forward && !stashed && !in_place) hold_copy(flow, w, Scope::forward, bytes);
      if (backward && !stashed && !in_place) hold_copy(flow, w, Scope::backward, bytes);
    }
    if (finish && !lasts) {
      move(w.finish, w.layer[3]);
      if (!in_place) hold_copy(flow, w, Scope::finish, bytes);
    }
  }

  void note_retention(const Flow& flow, Retention chosen) {
    const std::string& name = run_.graph.tensor(flow.tensor).name;
    matters_.insert(name);
    if (chosen != (flow.weight ? Retention::step : Retention::keep)) {
      retention_.emplace_back(flow.tensor, chosen);
    }
  }

  void hold_copy(const Flow& flow, const Wanted& w, Scope scope, std::int64_t bytes) {
    if (!copies_are_known(run_.graph, flow)) return;
    const Reader* reader = only_reader(run_.graph, flow, scope);
    if (reader == nullptr) return;
    const int at = kernel_time(reader->position);
    hold({at, at + 1}, w.layer[static_cast<std::size_t>(scope)], bytes);
  }

  void hold_source(const Flow& flow) {
    if (flow.total) return;
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const std::int64_t bytes = layouts.bytes(source_);
    const int at = maker_layer(flow);
    const Scope made = scope_of(flow.made_in);
    const bool partial = layouts.whole(source_) != source_;
    if (tensor.role == Role::parameter || tensor.role == Role::accumulator) {
      hold_state(at, bytes);
    } else if (made == Scope::prepare) {
      // What nobody wants as it is need not outlive prepare.
      const bool counts = flow.source == Flow::Source::arrives || source_in_microbatch_;
      if (counts && !made_by_name(run_.graph, flow, partial)) hold_state(at, bytes);
    } else if (made == Scope::forward && source_is_stashed(flow)) {
      hold_stash(at, bytes);
    } else if (lives_in_one_scope(flow) || !partial) {
      // Else its buffer may be that of a copy which is kept.
      hold(life_of_source(run_, flow), at, bytes);
    }
  }

  [[nodiscard]] bool source_is_stashed(const Flow& flow) const {
    const bool repeat = retention(flow) != Retention::keep;
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    return source_in_backward_ || std::any_of(wanted_.begin(), wanted_.end(), [&](const Wanted& w) {
             return w.in[2] && (!w.in[1] || repeat) && layouts.path(source_, w.layout).reads;
           });
  }

  void hold_at_readers(const Flow& flow) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    for (const Reader& reader : flow.readers) {
      if (is_contribution(run_.graph, op(reader.op))) continue;
      const int at = kernel_time(reader.position);
      for (const int layout : layouts_wanted(reader)) {
        hold({at, at + 1}, op(reader.op).layer, layouts.bytes(layout));
      }
    }
  }

  void count_input(const Flow& flow) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    std::set<int> seen;
    for (const Reader& reader : flow.readers) {
      for (const int i : reader.operands) {
        const int wanted = option(reader.op).operands[static_cast<std::size_t>(i)];
        const int layout = layouts.whole(wanted);
        if (!layouts.path(layout, wanted).reads || !seen.insert(layout).second) continue;
        const std::int64_t bytes = placed_bytes(layouts.bytes(layout)) * run_.num_microbatches;
        layer(op(reader.op).layer).state += {bytes};
      }
    }
    if (flow.readers.empty()) return;
    const Reader& first = flow.readers.front();
    for (const int layout : layouts_wanted(first)) {
      const double seconds = layouts.path(layouts.whole(layout), layout).seconds;
      take(first.phase, op(first.op).layer, seconds);
    }
  }

  void note_border(const Flow& flow) {
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const bool in = flow.source == Flow::Source::arrives;
    if (!in && !flow.sent) return;
    const int shown = in ? source_ : layouts.whole(source_);
    answer_.borders += (in ? "in " : "out ") + run_.graph.tensor(flow.tensor).name + ' ' +
                       to_string(layouts.spec(shown)) + '\n';
  }

  const RunContext& run_;
  const RunChoice& choice_;
  StageAnswer answer_;
  std::set<std::string> matters_;
  std::vector<std::pair<TensorId, Retention>> retention_;
  std::vector<Held> held_;
  // Of the flow that is being counted:
  int source_ = -1;
  bool source_in_backward_ = false, source_in_microbatch_ = false;
  std::vector<Wanted> wanted_;
};

}  // namespace

Account account(const RunContext& run, const RunChoice& choice) {
  return Accountant(run, choice).run();
}

std::int64_t placed_bytes(std::int64_t bytes) { return align_up({bytes}).value; }

std::int64_t step_state_bytes(const Graph& graph) {
  const auto count = std::count_if(graph.tensors.begin(), graph.tensors.end(), is_scalar);
  return placed_bytes(8 * static_cast<std::int64_t>(count));
}

bool is_contribution(const Graph& graph, const Operator& op) {
  return !op.results.empty() && graph.tensor(op.results[0]).role == Role::global_scalar;
}

Life life_of_source(const RunContext& run, const Flow& flow) {
  const Scope scope = scope_of(flow.made_in);
  Life life{kernel_time(flow.position), kernel_time(flow.position) + 1};
  if (flow.source == Flow::Source::arrives) life = {delivery_time(flow.position), 0};
  if (flow.sent && scope != Scope::finish) {
    const int end = run.view.phase_end[static_cast<std::size_t>(flow.made_in)];
    life.end = std::max(life.end, delivery_time(end));
    return life;
  }
  for (const Reader& reader : flow.readers) {
    if (scope_of(reader.phase) != scope) continue;
    const auto& op = run.graph.operators[static_cast<std::size_t>(reader.op)];
    if (!is_contribution(run.graph, op)) {
      life.end = std::max(life.end, kernel_time(reader.position));
    }
    break;
  }
  return life;
}

bool lives_in_one_scope(const Flow& flow) {
  const Scope scope = scope_of(flow.made_in);
  return std::all_of(flow.readers.begin(), flow.readers.end(),
                     [&](const Reader& r) { return scope_of(r.phase) == scope; });
}

bool is_direct(const Flow& flow) {
  return flow.readers.size() == 1 && lives_in_one_scope(flow) && !flow.sent && !flow.weight &&
         (flow.source == Flow::Source::made || flow.source == Flow::Source::arrives) &&
         scope_of(flow.made_in) != Scope::prepare;
}

bool readers_hold(const Graph& graph, const Flow& flow) {
  return lives_in_one_scope(flow) && !flow.sent && !flow.weight && !flow.total &&
         scope_of(flow.made_in) != Scope::prepare &&
         graph.tensor(flow.tensor).role != Role::accumulator;
}

bool made_by_name(const Graph& graph, const Flow& flow, bool partial) {
  if (flow.source != Flow::Source::made || flow.made_in != Phase::prepare || partial) return false;
  const auto& op = graph.operators[static_cast<std::size_t>(flow.maker)];
  return is_copy(op.kernel) &&
         graph.tensor(op.operands[0]).dtype == graph.tensor(flow.tensor).dtype;
}

bool copies_are_known(const Graph& graph, const Flow& flow) {
  return !is_direct(flow) && !flow.sent && !readers_hold(graph, flow) &&
         graph.tensor(flow.tensor).role != Role::accumulator;
}

const Reader* only_reader(const Graph& graph, const Flow& flow, Scope scope) {
  const Reader* found = nullptr;
  for (const Reader& reader : flow.readers) {
    if (scope_of(reader.phase) != scope) continue;
    if (found != nullptr) return nullptr;
    found = &reader;
  }
  if (found == nullptr) return nullptr;
  const auto& op = graph.operators[static_cast<std::size_t>(found->op)];
  return is_contribution(graph, op) ? nullptr : found;
}

double sum_seconds(const Option& option, const SharedSum& sum, int separate) {
  const auto at = [&](int operands) {
    return option.sum_seconds[static_cast<std::size_t>(operands)];
  };
  const int all = static_cast<int>(sum.followers.size());
  if (all == 0) return at(sum.others);
  return at(sum.others) + separate * (at(sum.others + all) - at(sum.others)) / all;
}

}  // namespace alpa::intra_op
