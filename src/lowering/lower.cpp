#include "alpa/lowering/lower.hpp"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "alpa/base/error.hpp"
#include "alpa/lowering/table.hpp"

#include "arena.hpp"
#include "messages.hpp"
#include "segment_builder.hpp"

namespace alpa {
namespace {

using Kind = SegmentInfo::Kind;

constexpr std::size_t kOperatorsForThreads = 1000;

Work of_first_microbatch(Work work) {
  work.microbatch = 0;
  return work;
}

/// Lowers one rank's step or evaluation. Segments are built first, then calls, then memory.
class Lowering {
 public:
  /// @param schedule outlives the result
  Lowering(const PlacedGraph& placed, int rank, bool training, const Schedule& schedule,
           const WorkspaceSize& workspace)
      : placed_(placed),
        training_(training),
        schedule_(schedule),
        builder_(placed, rank, workspace) {}

  LoweredSegments run() {
    builder_.add_state(training_);
    if (builder_.seat().stage >= 0) {
      lower_once(Phase::prepare);
      lower_chunks();
      call_once(Phase::prepare);
      call_schedule();
      if (training_) lower_once(Phase::reduce);
      call_once(Phase::reduce);
    } else {
      finish_ = builder_.add_segment("finish", {Kind::once, 0, StepPhase::reduce});
    }
    close();
    builder_.versions.close(builder_.program);
    return {std::move(builder_.program),
            builder_.info,
            std::move(works_),
            &schedule_,
            std::move(carried_),
            std::move(builder_.layer_of_buffer),
            std::move(builder_.layer_of_instruction)};
  }

 private:
  [[nodiscard]] bool here(int stage) const { return stage == builder_.seat().stage; }

  [[nodiscard]] bool is_mine(int chunk) const {
    return here(schedule_.stage_of_chunk[static_cast<std::size_t>(chunk)]);
  }

  /// The stage's operators.
  [[nodiscard]] const std::vector<std::size_t>& mine() const {
    return placed_.ops_of_stage[static_cast<std::size_t>(builder_.seat().stage)];
  }

  /// The operators of a phase on this stage, in order.
  void lower_operators(int segment, Phase phase) {
    const auto& operators = placed_.graph->operators;
    for (const std::size_t o : mine()) {
      if (operators[o].phase == phase && !sent_in_prepare_.contains(o)) {
        builder_.lower_operator(segment, o);
      }
    }
  }

  /// Those of a chunk's work.
  void lower_operators(int segment, const Work& work) {
    const auto& operators = placed_.graph->operators;
    const Phase phase = work.backward ? Phase::backward : Phase::forward;
    for (const std::size_t o : mine()) {
      const bool late = placed_.splits_backward && placed_.is_late[o];
      if (operators[o].phase == phase && placed_.chunk_of_op[o] == work.chunk &&
          late == work.weights) {
        builder_.lower_operator(segment, o);
      }
    }
  }

  /// Messages of the crossings of a phase, or of those that a chunk makes: sends are packed at the
  /// end of `segment`.
  std::vector<Message> sends(int segment, Phase phase, std::optional<int> chunk = {}) {
    std::vector<Message> out;
    for (const Crossing& c : placed_.crossings) {
      if (c.phase != phase || !here(c.from_stage) || (chunk && c.from_chunk != *chunk)) continue;
      for (Message& m : send_messages(builder_, segment, c)) out.push_back(std::move(m));
    }
    return out;
  }

  /// prepare or reduce: pack and send what other stages need, receive, run.
  void lower_once(Phase phase) {
    const bool prepare = phase == Phase::prepare;
    const StepPhase step_phase = prepare ? StepPhase::prepare : StepPhase::reduce;
    const std::string name = prepare ? "prepare" : "reduce";
    const int pack = builder_.add_segment("pack for " + name, {Kind::once, 0, step_phase});
    if (prepare) lower_what_is_sent(pack);
    Exchange exchange;
    exchange.out = sends(pack, phase);
    for (const Crossing& c : placed_.crossings) {
      if (c.phase != phase || !here(c.to_stage)) continue;
      for (Message& m : receive_messages(builder_, c)) exchange.in.push_back(std::move(m));
    }
    const int transfer =
        builder_.add_segment("exchange for " + name, {Kind::exchange, 0, StepPhase::transfer});
    if (!exchange.out.empty() || !exchange.in.empty()) add_exchange(transfer, std::move(exchange));
    const int run =
        builder_.add_segment(prepare ? "prepare" : "finish", {Kind::once, 0, step_phase});
    once_[phase] = {pack, transfer, run};
    if (prepare) {
      builder_.prepare_segment = run;
      lower_operators(run, Phase::prepare);
      return;
    }
    finish_ = run;
    lower_operators(run, Phase::reduce);
    builder_.reduce_globals(run);
    builder_.info[static_cast<std::size_t>(run)].phase = StepPhase::update;
    lower_operators(run, Phase::update);
  }

  /// Operators of prepare whose results other stages need: casts of parameters that they use too.
  void lower_what_is_sent(int segment) {
    builder_.prepare_segment = segment;
    const auto& operators = placed_.graph->operators;
    for (const std::size_t o : mine()) {
      const bool sent =
          operators[o].phase == Phase::prepare &&
          std::any_of(placed_.crossings.begin(), placed_.crossings.end(), [&](const Crossing& c) {
            return here(c.from_stage) && c.tensor == operators[o].results[0];
          });
      if (!sent) continue;
      builder_.lower_operator(segment, o);
      sent_in_prepare_.insert(o);
    }
  }

  void add_exchange(int segment, Exchange exchange) {
    auto& instructions = builder_.program.segments[static_cast<std::size_t>(segment)].instructions;
    instructions.push_back({"exchange", std::move(exchange), StepPhase::transfer, {}});
    builder_.layer_of_instruction[static_cast<std::size_t>(segment)].push_back(-1);
  }

  /// Forwards in the order of the layers, then backwards in the other: as a microbatch runs.
  void lower_chunks() {
    const int chunks = static_cast<int>(schedule_.stage_of_chunk.size());
    expect_arrivals(Phase::forward);
    for (int chunk = 0; chunk < chunks; ++chunk) {
      if (is_mine(chunk)) lower_work({chunk, false, 0});
    }
    if (!training_) return;
    expect_arrivals(Phase::backward);
    for (int chunk = chunks - 1; chunk >= 0; --chunk) {
      if (!is_mine(chunk)) continue;
      lower_work({chunk, true, 0});
      if (placed_.splits_backward) lower_work({chunk, true, 0, true});
    }
  }

  void expect_arrivals(Phase phase) {
    for (const Crossing& c : placed_.crossings) {
      if (c.phase != phase || !here(c.to_stage)) continue;
      auto& in = received_[{c.from_chunk, phase == Phase::backward, 0}];
      for (Message& m : receive_messages(builder_, c)) in.push_back(std::move(m));
    }
  }

  /// @param work of microbatch 0
  void lower_work(const Work& work) {
    const std::string name = work.weights ? "weights " : work.backward ? "backward " : "forward ";
    const int segment = builder_.add_segment(
        name + std::to_string(work.chunk),
        {work.backward ? Kind::backward : Kind::forward, work.chunk,
         work.backward ? StepPhase::backward : StepPhase::forward, work.weights});
    builder_.program.segments.back().chunk = work.chunk;
    builder_.program.segments.back().weights = work.weights;
    segment_of_[work] = segment;
    lower_operators(segment, work);
    if (work.weights) return;
    sent_[work] = sends(segment, work.backward ? Phase::backward : Phase::forward, work.chunk);
  }

  void call(int segment, int microbatch, std::vector<Work> works) {
    if (builder_.program.segments[static_cast<std::size_t>(segment)].instructions.empty()) return;
    builder_.program.calls.push_back({segment, microbatch, {}, {}, {}});
    works_.push_back(std::move(works));
  }

  void call_once(Phase phase) {
    const auto it = once_.find(phase);
    if (it == once_.end()) return;
    for (const int segment : it->second) call(segment, 0, {});
  }

  /// Row by row: this stage's work, then the messages of the row, those of forwards first.
  void call_schedule() {
    const auto stage = static_cast<std::size_t>(builder_.seat().stage);
    std::vector<std::vector<Work>> rows(static_cast<std::size_t>(schedule_.num_rows));
    std::vector<const Work*> mine(rows.size(), nullptr);
    for (std::size_t s = 0; s < schedule_.order.size(); ++s) {
      for (std::size_t k = 0; k < schedule_.order[s].size(); ++k) {
        const auto row = static_cast<std::size_t>(schedule_.row[s][k]);
        const Work& work = schedule_.order[s][k];
        if (s == stage) mine[row] = &work;
        const Work key = of_first_microbatch(work);
        const bool sends = s == stage && sent_.contains(key) && !sent_.at(key).empty();
        const bool receives = s != stage && received_.contains(key) && !received_.at(key).empty();
        if (sends || receives) rows[row].push_back(work);
      }
    }
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (const Work* work = mine[row]) {
        call(segment_of_.at(of_first_microbatch(*work)), work->microbatch, {*work});
      }
      for (const bool back : {false, true}) {
        std::vector<Work> one_way;
        std::copy_if(rows[row].begin(), rows[row].end(), std::back_inserter(one_way),
                     [&](const Work& w) { return w.backward == back; });
        if (!one_way.empty()) call_exchange(one_way);
      }
    }
  }

  /// @param works of the same direction
  void call_exchange(const std::vector<Work>& works) {
    std::vector<Work> key;
    for (const Work& w : works) key.push_back(of_first_microbatch(w));
    auto it = exchange_segments_.find(key);
    if (it == exchange_segments_.end()) {
      const int segment =
          builder_.add_segment("exchange " + std::to_string(exchange_segments_.size()),
                               {Kind::exchange, 0, StepPhase::transfer});
      Exchange exchange;
      exchange.back = works.front().backward;
      for (const Work& k : key) {
        const bool own = is_mine(k.chunk);
        const auto& messages = own ? sent_.at(k) : received_.at(k);
        auto& list = own ? exchange.out : exchange.in;
        list.insert(list.end(), messages.begin(), messages.end());
        for (const Message& m : messages) {
          carried_[{segment, m.region.buffer}] = {k, !own};
        }
      }
      add_exchange(segment, std::move(exchange));
      it = exchange_segments_.emplace(key, segment).first;
    }
    call(it->second, 0, works);
  }

  /// The world's reduction of loss and norm; after evaluation and on idle ranks it stands alone.
  void close() {
    if (training_ && builder_.seat().stage >= 0) return;
    if (finish_ < 0) finish_ = builder_.add_segment("finish", {Kind::once, 0, StepPhase::reduce});
    builder_.reduce_globals(finish_);
    call(finish_, 0, {});
  }

  const PlacedGraph& placed_;
  bool training_;
  const Schedule& schedule_;
  SegmentBuilder builder_;
  int finish_ = -1;
  std::set<std::size_t> sent_in_prepare_;  ///< operators that are lowered before the exchange
  std::map<Phase, std::vector<int>> once_;
  std::map<Work, int> segment_of_;  ///< works of microbatch 0, here and below
  std::map<Work, std::vector<Message>> sent_, received_;
  std::map<std::vector<Work>, int> exchange_segments_;
  std::map<std::pair<int, BufferId>, Carried> carried_;
  std::vector<std::vector<Work>> works_;  ///< per call: what it runs or carries
};

/// What all ranks agree on.
struct Common {
  PlacedPlan plan;
  std::optional<PlacedPlan> evaluated;  ///< where it is another one
  Schedule step, evaluate;
};

Common common_of(const PlacedPlan& placed, bool evaluation) {
  const Graph& graph = *placed.placed->graph;
  const Plan& plan = *placed.placed->plan;
  Common common{placed, {}, table_of(plan), evaluation_table_of(plan)};
  if (evaluation && graph.evaluation) common.evaluated.emplace(*graph.evaluation, plan);
  return common;
}

LoweredSegments segments_of(const Common& common, int rank, bool training,
                            const WorkspaceSize& workspace_size) {
  const Schedule& schedule = training ? common.step : common.evaluate;
  const PlacedPlan& plan = !training && common.evaluated ? *common.evaluated : common.plan;
  return Lowering(*plan.placed, rank, training, schedule, workspace_size).run();
}

RankPrograms lower_rank(const Common& common, int rank, const WorkspaceSize& workspace_size) {
  RankPrograms programs{lay_out(segments_of(common, rank, true, workspace_size)),
                        lay_out(segments_of(common, rank, false, workspace_size))};
  const Bytes arena = std::max(programs.step.arena, programs.evaluate.arena);
  programs.step.arena = programs.evaluate.arena = arena;
  return programs;
}

std::optional<CountedStep> count_rank(const Common& common, int rank,
                                      const WorkspaceSize& workspace_size, bool evaluation,
                                      const RepeatedLayers& repeats) {
  auto step = count(segments_of(common, rank, true, workspace_size), repeats);
  if (!step || !evaluation) return step;
  const auto other = count(segments_of(common, rank, false, workspace_size), repeats);
  if (!other) return std::nullopt;
  step->arena = std::max(step->arena, other->arena);
  return step;
}

/// Ranks are lowered side by side where that is worth a thread; a device's answers about scratch
/// are asked for by one thread only.
std::size_t threads_for(const Graph& graph, std::size_t ranks, const WorkspaceSize& workspace) {
  using Plain = Bytes (*)(const Kernel&, const std::vector<Operand>&, const std::vector<Operand>&);
  const auto* plain = workspace.target<Plain>();
  if (plain == nullptr || *plain != no_workspace) return 1;
  if (graph.operators.size() < kOperatorsForThreads) return 1;
  return std::min<std::size_t>(ranks, std::max(1U, std::thread::hardware_concurrency()));
}

/// Calls `lower` for every rank, and gives what comes out in their order.
template <class Lower>
auto lower_ranks(const Graph& graph, const std::vector<int>& ranks,
                 const WorkspaceSize& workspace_size, const Lower& lower) {
  std::vector<decltype(lower(0))> all(ranks.size());
  std::atomic<std::size_t> next{0};
  const auto take = [&] {
    for (std::size_t i = next++; i < all.size(); i = next++) all[i] = lower(ranks[i]);
  };
  std::vector<std::jthread> others;
  for (std::size_t t = 1; t < threads_for(graph, ranks.size(), workspace_size); ++t) {
    others.emplace_back(take);
  }
  take();
  others.clear();
  return all;
}

}  // namespace

Bytes no_workspace(const Kernel&, const std::vector<Operand>&, const std::vector<Operand>&) {
  return {0};
}

RankPrograms lower(const Graph& graph, const Plan& plan, int rank,
                   const WorkspaceSize& workspace_size) {
  return std::move(lower(graph, plan, std::vector<int>{rank}, workspace_size).front());
}

std::vector<RankPrograms> lower(const Graph& graph, const Plan& plan, const std::vector<int>& ranks,
                                const WorkspaceSize& workspace_size) {
  const Common common = common_of(PlacedPlan(graph, plan), true);
  return lower_ranks(graph, ranks, workspace_size, [&](int rank) {
    RankPrograms programs = lower_rank(common, rank, workspace_size);
    set_waits(programs.step);
    set_waits(programs.evaluate);
    return programs;
  });
}

std::optional<std::vector<CountedStep>> count_steps(const PlacedPlan& plan,
                                                    const std::vector<int>& ranks,
                                                    const WorkspaceSize& workspace_size,
                                                    bool evaluation, const LayerLine* line) {
  const Common common = common_of(plan, evaluation);
  const Graph& graph = *plan.placed->graph;
  const RepeatedLayers repeats(line == nullptr ? LayerLine(graph.num_layers) : *line);
  auto all = lower_ranks(graph, ranks, workspace_size, [&](int rank) {
    return count_rank(common, rank, workspace_size, evaluation, repeats);
  });
  std::vector<CountedStep> steps;
  for (auto& step : all) {
    if (!step) return std::nullopt;
    steps.push_back(std::move(*step));
  }
  return steps;
}

}  // namespace alpa
