#include "alpa/lowering/border.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/graph/aliasing.hpp"
#include "alpa/memory/packing.hpp"
#include "alpa/schedule/schedule.hpp"
#include "alpa/sharding/arrival_layout.hpp"

#include "placed_graph.hpp"

namespace alpa {
namespace {

bool is_state(Role role) {
  return role == Role::parameter || role == Role::optimizer_state || role == Role::accumulator;
}

/// How many slots a value of a microbatch takes that lives from one piece of work to another.
class SlotCounts {
 public:
  SlotCounts(const TableShape& table, int stages) {
    // A long table goes on as it has begun.
    const int deepest = table.warm_up.empty() ? stages : std::max(stages, table.warm_up.front());
    const int count = std::min(table.microbatches, 2 * deepest + 2);
    const bool gpipe_table = table.schedule == PipelineKind::gpipe;
    schedule_ = gpipe_table ? gpipe(stages, count) : one_f_one_b(stages, count, table.warm_up);
    rows_.resize(static_cast<std::size_t>(stages) * 2,
                 std::vector<int>(static_cast<std::size_t>(count)));
    for (std::size_t s = 0; s < schedule_.order.size(); ++s) {
      for (std::size_t k = 0; k < schedule_.order[s].size(); ++k) {
        const Work& work = schedule_.order[s][k];
        rows_[2 * s + (work.backward ? 1 : 0)][static_cast<std::size_t>(work.microbatch)] =
            schedule_.row[s][k];
      }
    }
  }

  struct Half {
    int stage = 0;
    bool backward = false;
  };
  [[nodiscard]] int of(Half begin, Half end, int rows_after) const {
    std::vector<Interval> lives;
    for (std::size_t m = 0; m < rows_.front().size(); ++m) {
      lives.push_back({rows(begin)[m], rows(end)[m] + rows_after});
    }
    return color(lives).count;
  }

  [[nodiscard]] int in_flight(int stage) const { return alpa::in_flight(schedule_, stage); }

 private:
  [[nodiscard]] const std::vector<int>& rows(Half half) const {
    return rows_[static_cast<std::size_t>(2 * half.stage + (half.backward ? 1 : 0))];
  }

  Schedule schedule_;
  std::vector<std::vector<int>> rows_;  ///< [half][microbatch]
};

/// The tensors that cross between stages, and the messages that take them.
class Borders {
 public:
  Borders(const Graph& graph, const std::vector<StageSide>& stages, const TableShape& table)
      : graph_(graph), stages_(stages), counts_(table, static_cast<int>(stages.size())) {
    for (std::size_t s = 0; s < stages.size(); ++s) {
      stage_of_layer_.resize(static_cast<std::size_t>(stages[s].last_layer) + 1,
                             static_cast<int>(s));
    }
    found_.staging.resize(stages.size());
    found_.slots.resize(stages.size());
  }

  CrossTraffic run(const std::vector<CrossTensor>& cross) {
    std::vector<int> seen;
    for (const CrossTensor& tensor : cross) {
      const int from = stage_of(tensor.layer);
      seen.assign(1, from);
      for (const CrossTensor::Reader& reader : tensor.readers) {
        const int to = stage_of(reader.layer);
        if (std::find(seen.begin(), seen.end(), to) != seen.end()) continue;
        seen.push_back(to);
        add(tensor, from, to, reader);
      }
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] const Operator& op_at(int op) const {
    return graph_.operators[static_cast<std::size_t>(op)];
  }
  [[nodiscard]] int stage_of(int layer) const {
    return stage_of_layer_.at(static_cast<std::size_t>(layer));
  }
  [[nodiscard]] const StageSide& stage(int s) const { return stages_[static_cast<std::size_t>(s)]; }

  [[nodiscard]] OperatorLayout layout_of(int op, int layer, const StageSide& side) const {
    auto result = apply_strategy(op_at(op).rule, side.strategy(op_at(op), layer), side.mesh);
    ALPA_CHECK(result.layout.has_value());
    return std::move(*result.layout);
  }

  [[nodiscard]] ShardingSpec sent(const CrossTensor& cross, const StageSide& side) const {
    if (cross.maker < 0) return replicated(graph_.tensor(cross.tensor).shape.size());
    const OperatorLayout layout = layout_of(cross.maker, cross.layer, side);
    return without_partial(layout.results[static_cast<std::size_t>(cross.result)]);
  }

  [[nodiscard]] ShardingSpec arrives(const CrossTensor& cross, const StageSide& side,
                                     const CrossTensor::Reader& reader) const {
    const Tensor& tensor = graph_.tensor(cross.tensor);
    if (side.arrivals != nullptr) {
      const auto chosen = side.arrivals->find(tensor.name);
      if (chosen != side.arrivals->end()) return chosen->second;
    }
    const OperatorLayout layout = layout_of(reader.op, reader.layer, side);
    return arrival_layout(tensor.shape, layout.operands[static_cast<std::size_t>(reader.operand)],
                          side.mesh);
  }

  /// A tensor on its way from one stage to another.
  struct Crossing {
    const CrossTensor& cross;
    int from = 0;
    int to = 0;
    Phase phase = Phase::forward;      ///< in which it is sent
    Phase first_use = Phase::forward;  ///< in which it is unpacked
  };

  void add(const CrossTensor& cross, int from, int to, const CrossTensor::Reader& reader) {
    const Tensor& tensor = graph_.tensor(cross.tensor);
    const Phase use = op_at(reader.op).phase;
    const Phase phase = is_state(tensor.role) ? use : op_at(cross.maker).phase;
    const Crossing crossing{cross, from, to, phase, use};
    const PlacedTensor here{sent(cross, stage(from)), stage(from).mesh};
    const PlacedTensor there{arrives(cross, stage(to), reader), stage(to).mesh};
    const int last_sender = num_devices(here.mesh) - 1;
    const int last_receiver = num_devices(there.mesh) - 1;
    const Box out = local_box(tensor.shape, here.spec, here.mesh, last_sender);
    const Box in = local_box(tensor.shape, there.spec, there.mesh, last_receiver);
    bool sends_own = false;
    bool receives_own = false;
    for (const BoxTransfer& t : box_transfers(tensor.shape, here, there)) {
      StageMessage message;
      message.from_stage = from;
      message.to_stage = to;
      message.from_rank = stage(from).ranks[static_cast<std::size_t>(t.sender)];
      message.to_rank = stage(to).ranks[static_cast<std::size_t>(t.receiver)];
      message.phase = phase;
      message.size = bytes_of(t.box.extent, tensor.dtype);
      if (t.sender == last_sender) {
        if (run_offset(out, t.box))
          sends_own = true;
        else
          at(found_.staging, from) += align_up(message.size) * slots_sent(crossing);
      }
      if (t.receiver == last_receiver) {
        if (run_offset(in, t.box))
          receives_own = true;
        else
          at(found_.staging, to) += align_up(message.size) * slots_arrived(crossing);
      }
      found_.messages.push_back(message);
    }
    if (sends_own) hold_sent(crossing, bytes_of(out.extent, tensor.dtype));
    if (!receives_own || is_named_anew(reader, there)) return;
    hold_arrived(crossing, bytes_of(in.extent, tensor.dtype));
  }

  static Bytes& at(std::vector<Bytes>& of_stages, int stage) {
    return of_stages[static_cast<std::size_t>(stage)];
  }

  static bool once(const Crossing& c) {
    return c.phase != Phase::forward && c.phase != Phase::backward;
  }

  [[nodiscard]] bool read_in_backward(const Crossing& c, int by) const {
    const StageSide& side = stage(by);
    const auto& layers = c.cross.backward_layers;
    return std::any_of(layers.begin(), layers.end(),
                       [&](int l) { return side.first_layer <= l && l <= side.last_layer; });
  }

  /// A sent value lives a row longer, so that the next row need not wait for the sending.
  [[nodiscard]] int slots_sent(const Crossing& c) const {
    if (once(c)) return 1;
    const SlotCounts::Half half{c.from, c.phase == Phase::backward};
    return counts_.of(half, half, 1);
  }

  [[nodiscard]] int slots_arrived(const Crossing& c) const {
    if (once(c)) return 1;
    return counts_.of({c.from, c.phase == Phase::backward}, {c.to, c.first_use == Phase::backward},
                      0);
  }

  /// What is sent from its own buffer, unless it may be among what is kept for backward.
  void hold_sent(const Crossing& c, Bytes size) {
    if (once(c) || !sent_.insert(&c.cross).second) return;
    if (c.phase == Phase::forward && read_in_backward(c, c.from)) return;
    at(found_.slots, c.from) += align_up(size) * slots_sent(c);
  }

  /// A copy in prepare that changes nothing: the stage's figures count the buffer by its new name.
  [[nodiscard]] bool is_named_anew(const CrossTensor::Reader& by, const PlacedTensor& there) const {
    const Operator& reader = op_at(by.op);
    if (reader.phase != Phase::prepare || !is_copy(reader.kernel)) return false;
    const DType dtype = graph_.tensor(reader.operands[0]).dtype;
    if (dtype != graph_.tensor(reader.results[0]).dtype) return false;
    const OperatorLayout layout = layout_of(by.op, by.layer, stage(stage_of(by.layer)));
    const ShardingSpec& wanted = layout.operands[static_cast<std::size_t>(by.operand)];
    const Shape& shape = graph_.tensor(reader.operands[0]).shape;
    const int last = num_devices(there.mesh) - 1;  // axes of one device split nothing
    return local_box(shape, wanted, there.mesh, last) ==
           local_box(shape, there.spec, there.mesh, last);
  }

  [[nodiscard]] bool microbatches_read(const Crossing& c) const {
    return std::any_of(c.cross.readers.begin(), c.cross.readers.end(), [&](const auto& reader) {
      const Phase phase = op_at(reader.op).phase;
      return stage_of(reader.layer) == c.to &&
             (phase == Phase::forward || phase == Phase::backward);
    });
  }

  /// What arrives in its own buffer. What is kept for backward the stage's figures count, a slot
  /// for each microbatch in flight; whether it is they alone know: what is left in either case.
  void hold_arrived(const Crossing& c, Bytes size) {
    if (once(c)) {
      if (!microbatches_read(c)) at(found_.slots, c.to) += align_up(size);
      return;
    }
    int more = slots_arrived(c);
    if (c.phase == Phase::forward && read_in_backward(c, c.to)) {
      const int kept = counts_.of({c.from, false}, {c.to, true}, 0) - counts_.in_flight(c.to);
      more = std::max(0, c.first_use == Phase::backward ? kept : std::min(more, kept));
    }
    at(found_.slots, c.to) += align_up(size) * more;
  }

  const Graph& graph_;
  const std::vector<StageSide>& stages_;
  SlotCounts counts_;
  std::vector<int> stage_of_layer_;
  std::set<const CrossTensor*> sent_;
  CrossTraffic found_;
};

}  // namespace

std::vector<BoxTransfer> box_transfers(const Shape& shape, const PlacedTensor& from,
                                       const PlacedTensor& to) {
  std::map<Box, std::vector<int>> holders;
  for (int i = 0; i < num_devices(from.mesh); ++i) {
    holders[local_box(shape, from.spec, from.mesh, i)].push_back(i);
  }
  std::map<Box, std::size_t> turn;
  std::vector<BoxTransfer> transfers;
  for (int j = 0; j < num_devices(to.mesh); ++j) {
    const Box wanted = local_box(shape, to.spec, to.mesh, j);
    for (const auto& [box, devices] : holders) {
      const Box common = intersect(box, wanted);
      if (is_empty(common)) continue;
      transfers.push_back({devices[turn[box]++ % devices.size()], j, common});
    }
  }
  return transfers;
}

std::optional<std::int64_t> run_offset(const Box& whole, const Box& part) {
  std::size_t d = 0;
  while (d < whole.extent.size() && part.extent[d] == 1) ++d;
  for (std::size_t e = d + 1; e < whole.extent.size(); ++e) {
    if (part.extent[e] != whole.extent[e]) return std::nullopt;
  }
  std::int64_t offset = 0;
  for (std::size_t e = 0; e < whole.extent.size(); ++e) {
    offset = offset * whole.extent[e] + (part.offset[e] - whole.offset[e]);
  }
  return offset;
}

std::vector<CrossTensor> cross_tensors(const Graph& graph) {
  std::vector<CrossTensor> all(graph.tensors.size());
  for (std::size_t t = 0; t < all.size(); ++t) {
    all[t].tensor = {static_cast<std::int32_t>(t)};
    const bool stored = graph.tensors[t].role == Role::parameter;
    all[t].layer = stored ? graph.tensors[t].layer : -1;
  }
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      if (is_step_state(graph.tensor(op.results[r]))) continue;
      CrossTensor& made = all[op.results[r].index()];
      made.maker = static_cast<int>(o);
      made.result = static_cast<int>(r);
      made.layer = op.layer;
    }
  }
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      CrossTensor& read = all[op.operands[i].index()];
      if (op.phase == Phase::backward) read.backward_layers.push_back(op.layer);
      if (read.layer < 0 || read.layer == op.layer) continue;
      const int reader = static_cast<int>(o);
      if (!read.readers.empty() && read.readers.back().op == reader) continue;
      read.readers.push_back({reader, static_cast<int>(i), op.layer});
    }
  }
  std::erase_if(all, [](const CrossTensor& tensor) { return tensor.readers.empty(); });
  return all;
}

std::vector<CrossTensor> cross_tensors(const Graph& graph, const LayerLine& line) {
  const std::vector<CrossTensor> all = cross_tensors(graph);
  if (line.is_whole()) return all;
  std::vector<std::vector<const CrossTensor*>> of_layer(static_cast<std::size_t>(graph.num_layers));
  for (const CrossTensor& tensor : all) {
    of_layer[static_cast<std::size_t>(tensor.layer)].push_back(&tensor);
  }
  std::vector<CrossTensor> found;
  for (int l = 0; l < line.length(); ++l) {
    const int like = line.like(l);
    const bool repeats = line.run_of(l) != nullptr;
    // What repeats itself reaches no farther than the next layer.
    const auto place = [&](int layer) { return repeats ? l + layer - like : line.layer_of(layer); };
    for (const CrossTensor* tensor : of_layer[static_cast<std::size_t>(like)]) {
      CrossTensor& here = found.emplace_back(*tensor);
      here.layer = l;
      for (CrossTensor::Reader& reader : here.readers) reader.layer = place(reader.layer);
      for (int& layer : here.backward_layers) layer = place(layer);
    }
  }
  return found;
}

StageSide side_of(const StagePlan& stage, const Graph& graph) {
  const auto strategy = [&](const Operator& op, int) {
    return stage.strategies.at(graph.original(op).name);
  };
  return {stage.chunks.front().first,
          stage.chunks.front().second,
          stage.ranks,
          stage.mesh,
          strategy,
          &stage.arrivals};
}

CrossTraffic cross_traffic(const Graph& graph, const std::vector<CrossTensor>& cross,
                           const std::vector<StageSide>& stages, const TableShape& table) {
  return Borders(graph, stages, table).run(cross);
}

}  // namespace alpa
