#include "alpa/lowering/border.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/memory/packing.hpp"
#include "alpa/sharding/arrival_layout.hpp"

#include "placed_graph.hpp"

namespace alpa {
namespace {

bool is_state(Role role) {
  return role == Role::parameter || role == Role::optimizer_state || role == Role::accumulator;
}

/// The tensors that cross between stages, and the messages that take them.
class Borders {
 public:
  Borders(const Graph& graph, const std::vector<StageSide>& stages)
      : graph_(graph), stages_(stages) {
    for (std::size_t s = 0; s < stages.size(); ++s) {
      for (int l = stages[s].first_layer; l <= stages[s].last_layer; ++l) {
        stage_of_layer_[l] = static_cast<int>(s);
      }
    }
    found_.staging.resize(stages.size());
  }

  CrossTraffic run(const std::vector<CrossTensor>& cross) {
    for (const CrossTensor& tensor : cross) {
      const int from = stage_of_layer_.at(tensor.layer);
      std::set<int> seen{from};
      for (const auto& [op, operand] : tensor.readers) {
        const int to = stage_of_layer_.at(op_at(op).layer);
        if (seen.insert(to).second) add(tensor, from, to, op, operand);
      }
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] const Operator& op_at(int op) const {
    return graph_.operators[static_cast<std::size_t>(op)];
  }
  [[nodiscard]] const StageSide& stage(int s) const { return stages_[static_cast<std::size_t>(s)]; }

  [[nodiscard]] OperatorLayout layout_of(int op, const StageSide& side) const {
    const Operator& chosen = graph_.original(op_at(op));
    const auto strategy = side.strategies->find(chosen.name);
    ALPA_CHECK(strategy != side.strategies->end());
    auto result = apply_strategy(op_at(op).rule, strategy->second, side.mesh);
    ALPA_CHECK(result.layout.has_value());
    return std::move(*result.layout);
  }

  [[nodiscard]] ShardingSpec sent(const CrossTensor& cross, const StageSide& side) const {
    if (cross.maker < 0) return replicated(graph_.tensor(cross.tensor).shape.size());
    const OperatorLayout layout = layout_of(cross.maker, side);
    return without_partial(layout.results[static_cast<std::size_t>(cross.result)]);
  }

  [[nodiscard]] ShardingSpec arrives(const CrossTensor& cross, const StageSide& side, int op,
                                     int operand) const {
    const Tensor& tensor = graph_.tensor(cross.tensor);
    if (side.arrivals != nullptr) {
      const auto chosen = side.arrivals->find(tensor.name);
      if (chosen != side.arrivals->end()) return chosen->second;
    }
    const OperatorLayout layout = layout_of(op, side);
    return arrival_layout(tensor.shape, layout.operands[static_cast<std::size_t>(operand)],
                          side.mesh);
  }

  void add(const CrossTensor& cross, int from, int to, int op, int operand) {
    const Tensor& tensor = graph_.tensor(cross.tensor);
    const PlacedTensor here{sent(cross, stage(from)), stage(from).mesh};
    const PlacedTensor there{arrives(cross, stage(to), op, operand), stage(to).mesh};
    const Phase phase = is_state(tensor.role) ? op_at(op).phase : op_at(cross.maker).phase;
    const int last_sender = num_devices(here.mesh) - 1;
    const int last_receiver = num_devices(there.mesh) - 1;
    const Box out = local_box(tensor.shape, here.spec, here.mesh, last_sender);
    const Box in = local_box(tensor.shape, there.spec, there.mesh, last_receiver);
    for (const BoxTransfer& t : box_transfers(tensor.shape, here, there)) {
      StageMessage message;
      message.from_stage = message.from_chunk = from;
      message.to_stage = message.to_chunk = to;
      message.from_rank = stage(from).ranks[static_cast<std::size_t>(t.sender)];
      message.to_rank = stage(to).ranks[static_cast<std::size_t>(t.receiver)];
      message.phase = phase;
      message.size = bytes_of(t.box.extent, tensor.dtype);
      if (t.sender == last_sender && !run_offset(out, t.box)) stage_bytes(from, message.size);
      if (t.receiver == last_receiver && !run_offset(in, t.box)) stage_bytes(to, message.size);
      found_.messages.push_back(message);
    }
  }

  void stage_bytes(int stage, Bytes size) {
    found_.staging[static_cast<std::size_t>(stage)] += align_up(size);
  }

  const Graph& graph_;
  const std::vector<StageSide>& stages_;
  std::map<int, int> stage_of_layer_;
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
      if (read.layer < 0 || read.layer == op.layer) continue;
      const int reader = static_cast<int>(o);
      if (!read.readers.empty() && read.readers.back().first == reader) continue;
      read.readers.emplace_back(reader, static_cast<int>(i));
    }
  }
  std::erase_if(all, [](const CrossTensor& tensor) { return tensor.readers.empty(); });
  return all;
}

StageSide side_of(const StagePlan& stage) {
  return {stage.chunks.front().first,
          stage.chunks.front().second,
          stage.ranks,
          stage.mesh,
          &stage.strategies,
          &stage.arrivals};
}

CrossTraffic cross_traffic(const Graph& graph, const std::vector<CrossTensor>& cross,
                           const std::vector<StageSide>& stages) {
  return Borders(graph, stages).run(cross);
}

}  // namespace alpa
