#include "account.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"

#include "layout_list.hpp"
#include "transients.hpp"

namespace alpa::intra_op {
namespace {

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
  Accountant(const RunContext& run, const RunChoice& choice)
      : run_(run),
        choice_(choice),
        between_(delivery_time(run.view.phase_end[static_cast<std::size_t>(Phase::reduce)])) {
    layers_.resize(run.view.counts.size());
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
  StageFigures& layer(int l) { return layers_[static_cast<std::size_t>(l - run_.view.first)]; }

  void add_up_layers() {
    StageFigures& all = answer_.figures;
    all.state += {step_state_bytes(run_.graph)};
    all.transient = transients_.most();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      layers_[l].transient = transients_.most_of(run_.view.first + static_cast<int>(l));
      layers_[l].reduced = transients_.at(between_, run_.view.first + static_cast<int>(l));
    }
    for (const int seen : run_.view.seen_as) {
      const StageFigures& each = answer_.by_layer.emplace_back(layer(seen));
      all.times.prepare += each.times.prepare;
      all.times.forward += each.times.forward;
      all.times.backward += each.times.backward;
      all.times.reduce += each.times.reduce;
      all.times.update += each.times.update;
      all.state += each.state;
      all.stash += each.stash;
      all.reduced += each.reduced;
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
  /// What lives on from reduce to update does so for all layers at once.
  void hold(Life life, int at_layer, std::int64_t bytes) {
    const bool at_once = life.begin < between_ && between_ < life.end;
    transients_.add(life, at_layer, bytes, at_once ? run_.view.count(at_layer) : 1);
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
    if (readers_hold(run_.graph, flow)) hold_copies(flow);
  }

  [[nodiscard]] LayoutList layouts_wanted(const Reader& reader) const {
    LayoutList found;
    for (const int i : reader.operands) {
      found.add(option(reader.op).operands[static_cast<std::size_t>(i)]);
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
      if (forward && !stashed && !in_place) hold_copy(flow, w, Scope::forward);
      if (backward && !stashed && !in_place) hold_copy(flow, w, Scope::backward);
    }
    if (finish && !lasts) {
      move(w.finish, w.layer[3]);
      if (!in_place) hold_copy(flow, w, Scope::finish);
    }
  }

  void note_retention(const Flow& flow, Retention chosen) {
    matters_.insert(flow.tensor);
    if (chosen != (flow.weight ? Retention::step : Retention::keep)) {
      retention_.emplace_back(flow.tensor, chosen);
    }
  }

  /// From the first reader's kernel to the last one's.
  void hold_copy(const Flow& flow, const Wanted& w, Scope scope) {
    if (!copies_are_known(run_.graph, flow)) return;
    const Reading reading = reading_of(flow, w.layout, scope);
    hold(reading.life(), w.layer[static_cast<std::size_t>(scope)],
         run_.options.layouts(flow.tensor).bytes(w.layout));
  }

  /// The kernels of a part of the step that read one layout.
  struct Reading {
    int first = -1;
    int last = -1;
    [[nodiscard]] Life life() const {
      return first < 0 ? Life{} : Life{kernel_time(first), kernel_time(last) + 1};
    }
  };
  [[nodiscard]] bool wants(const Reader& reader, int layout) const {
    const auto& operands = option(reader.op).operands;
    return std::any_of(reader.operands.begin(), reader.operands.end(),
                       [&](int i) { return operands[static_cast<std::size_t>(i)] == layout; });
  }
  [[nodiscard]] Reading reading_of(const Flow& flow, int layout, Scope scope) const {
    Reading found;
    for (const Reader& reader : flow.readers) {
      if (scope_of(reader.phase) != scope || is_contribution(run_.graph, op(reader.op))) continue;
      if (!wants(reader, layout)) continue;
      if (found.first < 0) found.first = reader.position;
      found.last = reader.position;
    }
    return found;
  }

  /// The source lives until the last kernel that reads it as it is has ended and every copy is
  /// made.
  [[nodiscard]] Life life_of(const Flow& flow) const {
    Life life = life_of_source(run_, flow);
    const Scope scope = scope_of(flow.made_in);
    if (lies_in_slot(flow)) return life;
    const Reading own = reading_of(flow, source_, scope);
    if (own.first >= 0) life.end = std::max(life.end, own.life().end);
    for (const Wanted& w : wanted_) {
      const Reading copy = reading_of(flow, w.layout, scope);
      if (copy.first < 0) continue;
      if (run_.options.layouts(flow.tensor).path(source_, w.layout).reads) {
        life.end = std::max(life.end, copy.life().begin);
      }
    }
    return life;
  }

  void hold_source(const Flow& flow) {
    if (flow.total) return;
    const Tensor& tensor = run_.graph.tensor(flow.tensor);
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    const std::int64_t bytes = layouts.bytes(source_);
    const int at = maker_layer(flow);
    const Scope made = scope_of(flow.made_in);
    const bool partial = layouts.whole(source_) != source_;
    if (flow.source == Flow::Source::arrives && made != Scope::forward && made != Scope::backward) {
      // The rest has a place where it is received in one run: in lowering/border.hpp.
      if (tensor.role == Role::replica && microbatches_read_source(flow)) hold_state(at, bytes);
    } else if (tensor.role == Role::parameter || tensor.role == Role::accumulator) {
      hold_state(at, bytes);
    } else if (made == Scope::prepare) {
      // What nobody wants as it is need not outlive prepare.
      const bool by_name = made_by_name(run_.graph, flow, partial);
      const bool counts = microbatches_read_source(flow);
      if (counts && (!by_name || names_arrival(flow))) hold_state(at, bytes);
    } else if (made == Scope::forward && source_is_stashed(flow)) {
      hold_stash(at, bytes);
    } else if (lives_in_one_scope(flow) || !partial) {
      // Else its buffer may be that of a copy which is kept.
      hold(life_of(flow), at, bytes);
    }
  }

  /// True if the tensor is another name of what another stage sends or of a copy of that.
  [[nodiscard]] bool names_arrival(const Flow& flow) const {
    const TensorId operand = op(flow.maker).operands[0];
    return std::any_of(run_.view.flows.begin(), run_.view.flows.end(), [&](const Flow& other) {
      return other.tensor == operand && other.source == Flow::Source::arrives &&
             scope_of(other.readers.back().phase) == Scope::prepare;
    });
  }

  /// As it is, or to make copies of it.
  [[nodiscard]] bool microbatches_read_source(const Flow& flow) const {
    if (source_in_microbatch_) return true;
    if (flow.weight && retention(flow) == Retention::step) return false;
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    return std::any_of(wanted_.begin(), wanted_.end(), [&](const Wanted& w) {
      return (w.in[1] || w.in[2]) && layouts.path(source_, w.layout).reads;
    });
  }

  [[nodiscard]] bool source_is_stashed(const Flow& flow) const {
    const bool repeat = retention(flow) != Retention::keep;
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    return source_in_backward_ || std::any_of(wanted_.begin(), wanted_.end(), [&](const Wanted& w) {
             return w.in[2] && (!w.in[1] || repeat) && layouts.path(source_, w.layout).reads;
           });
  }

  void hold_copies(const Flow& flow) {
    const Scope scope = scope_of(flow.made_in);
    LayoutTable& layouts = run_.options.layouts(flow.tensor);
    for (const Wanted& w : wanted_) {
      const Reading reading = reading_of(flow, w.layout, scope);
      hold(reading.life(), w.layer[static_cast<std::size_t>(scope)], layouts.bytes(w.layout));
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
  int between_;  ///< reduce and update: a time
  StageAnswer answer_;
  std::vector<StageFigures> layers_;  ///< of the graph
  std::set<TensorId> matters_;
  std::vector<std::pair<TensorId, Retention>> retention_;
  Transients transients_;
  // Of the flow that is being counted:
  int source_ = -1;
  bool source_in_backward_ = false, source_in_microbatch_ = false;
  std::vector<Wanted> wanted_;
};

}  // namespace

Account account(const RunContext& run, const RunChoice& choice) {
  return Accountant(run, choice).run();
}

}  // namespace alpa::intra_op
