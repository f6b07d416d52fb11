#include "messages.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "alpa/lowering/traffic.hpp"

namespace alpa {
namespace {

/// One box that goes from one device of a mesh to one of another.
struct Transfer {
  int sender = 0;    ///< index in the sending mesh
  int receiver = 0;  ///< index in the receiving mesh
  Box box;
};

std::vector<Transfer> transfers_of(const PlacedGraph& placed, const Crossing& crossing) {
  const Tensor& tensor = placed.graph->tensor(crossing.tensor);
  const DeviceMesh& from = placed.plan->stages[static_cast<std::size_t>(crossing.from_stage)].mesh;
  const DeviceMesh& to = placed.plan->stages[static_cast<std::size_t>(crossing.to_stage)].mesh;
  std::map<Box, std::vector<int>> holders;
  for (int i = 0; i < num_devices(from); ++i) {
    holders[local_box(tensor.shape, crossing.sent, from, i)].push_back(i);
  }
  std::map<Box, std::size_t> turn;
  std::vector<Transfer> transfers;
  for (int j = 0; j < num_devices(to); ++j) {
    const Box wanted = local_box(tensor.shape, crossing.arrives, to, j);
    for (const auto& [box, devices] : holders) {
      const Box common = intersect(box, wanted);
      if (is_empty(common)) continue;
      transfers.push_back({devices[turn[box]++ % devices.size()], j, common});
    }
  }
  return transfers;
}

/// Where `part` begins in `whole`'s dense memory, in elements, if it is one run there.
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

std::string message_name(const Tensor& tensor, const Box& box) {
  return tensor.name + " " + to_string(box);
}

}  // namespace

std::vector<Message> send_messages(SegmentBuilder& builder, int segment, const Crossing& crossing) {
  const PlacedGraph& placed = builder.placed();
  const Tensor& tensor = placed.graph->tensor(crossing.tensor);
  const StagePlan& to = placed.plan->stages[static_cast<std::size_t>(crossing.to_stage)];
  const BufferId buffer = builder.want(segment, crossing.tensor, crossing.sent);
  const Operand mine = builder.operand(crossing.tensor, crossing.sent, buffer);
  std::vector<Message> messages;
  for (const Transfer& transfer : transfers_of(placed, crossing)) {
    if (transfer.sender != builder.seat().index) continue;
    const Bytes size = bytes_of(transfer.box.extent, tensor.dtype);
    Message message{to.ranks[static_cast<std::size_t>(transfer.receiver)],
                    {buffer, {}, size},
                    message_name(tensor, transfer.box)};
    if (const auto offset = run_offset(mine.box, transfer.box)) {
      message.region.start = {*offset * size_of(tensor.dtype)};
    } else {
      const BufferId staging =
          builder.add_buffer("send " + message.value, size, MemoryClass::buffers);
      builder.copy_box(segment, mine, {staging, {}, tensor.dtype, transfer.box, tensor.shape},
                       "pack " + tensor.name);
      message.region.buffer = staging;
    }
    builder.versions.send(message.region);
    messages.push_back(std::move(message));
  }
  return messages;
}

std::vector<Message> receive_messages(SegmentBuilder& builder, const Crossing& crossing) {
  const PlacedGraph& placed = builder.placed();
  const Tensor& tensor = placed.graph->tensor(crossing.tensor);
  const StagePlan& from = placed.plan->stages[static_cast<std::size_t>(crossing.from_stage)];
  const Box whole = builder.box_of(crossing.tensor, crossing.arrives, builder.seat().index);
  Arrival arrival;
  arrival.crossing = &crossing;
  // What arrives in `prepare` is another stage's parameter, and stays for the step.
  const auto memory_class =
      crossing.phase == Phase::prepare ? MemoryClass::parameters : MemoryClass::buffers;
  arrival.buffer = builder.add_buffer("arrived " + tensor.name,
                                      bytes_of(whole.extent, tensor.dtype), memory_class);
  std::vector<Message> messages;
  for (const Transfer& transfer : transfers_of(placed, crossing)) {
    if (transfer.receiver != builder.seat().index) continue;
    const Bytes size = bytes_of(transfer.box.extent, tensor.dtype);
    Message message{from.ranks[static_cast<std::size_t>(transfer.sender)],
                    {arrival.buffer, {}, size},
                    message_name(tensor, transfer.box)};
    if (const auto offset = run_offset(whole, transfer.box)) {
      message.region.start = {*offset * size_of(tensor.dtype)};
    } else {
      const BufferId staging =
          builder.add_buffer("receive " + message.value, size, MemoryClass::buffers);
      arrival.pieces.push_back({staging, transfer.box});
      message.region.buffer = staging;
    }
    builder.versions.receive(message.region);
    messages.push_back(std::move(message));
  }
  builder.expect_arrival(std::move(arrival));
  return messages;
}

std::vector<StageMessage> traffic(const Graph& graph, const Plan& plan) {
  const PlacedGraph placed = place(graph, plan);
  std::vector<StageMessage> messages;
  for (const Crossing& c : placed.crossings) {
    const auto& from = plan.stages[static_cast<std::size_t>(c.from_stage)].ranks;
    const auto& to = plan.stages[static_cast<std::size_t>(c.to_stage)].ranks;
    for (const Transfer& t : transfers_of(placed, c)) {
      messages.push_back({c.from_stage, c.to_stage, from[static_cast<std::size_t>(t.sender)],
                          to[static_cast<std::size_t>(t.receiver)], c.phase,
                          bytes_of(t.box.extent, graph.tensor(c.tensor).dtype)});
    }
  }
  return messages;
}

}  // namespace alpa
