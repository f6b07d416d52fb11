#include "messages.hpp"

#include "alpa/lowering/border.hpp"
#include "alpa/lowering/traffic.hpp"

namespace alpa {
namespace {

std::vector<BoxTransfer> transfers_of(const PlacedGraph& placed, const Crossing& crossing) {
  const auto mesh = [&](int stage) -> const DeviceMesh& {
    return placed.plan->stages[static_cast<std::size_t>(stage)].mesh;
  };
  return box_transfers(placed.graph->tensor(crossing.tensor).shape,
                       {crossing.sent, mesh(crossing.from_stage)},
                       {crossing.arrives, mesh(crossing.to_stage)});
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
  for (const BoxTransfer& transfer : transfers_of(placed, crossing)) {
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
  for (const BoxTransfer& transfer : transfers_of(placed, crossing)) {
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

std::vector<StageMessage> traffic(const PlacedPlan& plan) {
  const PlacedGraph& placed = *plan.placed;
  const auto& stages = placed.plan->stages;
  std::vector<StageMessage> messages;
  for (const Crossing& c : placed.crossings) {
    const auto& from = stages[static_cast<std::size_t>(c.from_stage)].ranks;
    const auto& to = stages[static_cast<std::size_t>(c.to_stage)].ranks;
    for (const BoxTransfer& t : transfers_of(placed, c)) {
      messages.push_back({c.from_stage, c.to_stage, c.from_chunk, c.to_chunk,
                          from[static_cast<std::size_t>(t.sender)],
                          to[static_cast<std::size_t>(t.receiver)], c.phase,
                          bytes_of(t.box.extent, placed.graph->tensor(c.tensor).dtype)});
    }
  }
  return messages;
}

}  // namespace alpa
