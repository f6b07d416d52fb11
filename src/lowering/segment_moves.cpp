// The moves of redistributions: what SegmentBuilder emits to bring a tensor into another layout.

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/lowering/move_parts.hpp"
#include "alpa/sharding/arrival_layout.hpp"

#include "segment_builder.hpp"

namespace alpa {
const Available& SegmentBuilder::source_of(int segment, TensorId t,
                                           const ShardingSpec& spec) const {
  const ShardingSpec whole = without_partial(spec);
  for (const Available& value : available_[t.index()]) {
    if (!value.source || !visible(value, t, segment)) continue;
    if (tensor(t).role != Role::input || value.spec == whole) return value;
  }
  check_failed("a source can be seen", SourceLine::here());
}

bool SegmentBuilder::is_only_demand(TensorId t, const ShardingSpec& spec) const {
  const auto& demands = placed_.demands[t.index()];
  const auto here = demands.find(seat_.stage);
  return here != demands.end() && here->second.size() == 1 && here->second.contains(spec);
}

bool SegmentBuilder::may_overwrite(int segment, TensorId t, const Available& source,
                                   const ShardingSpec& spec) const {
  const bool once = info[static_cast<std::size_t>(segment)].kind == SegmentInfo::Kind::once;
  // What outlives the microbatch must not be changed by each microbatch.
  const bool ends_with_the_scope = source.segment >= 0 || once;
  return ends_with_the_scope && tensor(t).role != Role::input && is_only_demand(t, spec);
}

bool SegmentBuilder::lasts(int segment, TensorId t) const {
  const Role role = tensor(t).role;
  const bool stored = role == Role::parameter || role == Role::replica;
  return segment == prepare_segment &&
         (!stored || retention_of(*stage_, tensor(t)) == Retention::step);
}

BufferId SegmentBuilder::deliver(int segment, TensorId t, const ShardingSpec& spec) {
  const Available source = source_of(segment, t, spec);
  const auto path =
      redistribution(tensor(t).shape, tensor(t).dtype, source.spec, spec, stage_->mesh);
  const int made_in = lasts(segment, t) ? -1 : segment;
  bool mine = may_overwrite(segment, t, source, spec);
  BufferId buffer = source.buffer;
  for (const Move& move : path) {
    const BufferId from = buffer;
    buffer = apply_move(segment, t, move, from, mine);
    if (move.kind == Move::Kind::all_reduce && buffer == source.buffer) {  // the source is no more
      std::erase_if(available_[t.index()], [&](const Available& v) { return v.buffer == from; });
      available_[t.index()].push_back({move.after, buffer, made_in, true});
    }
    mine = mine || buffer != from;
  }
  if (find(segment, t, spec) == nullptr) {
    available_[t.index()].push_back({spec, buffer, made_in, false});
  }
  return buffer;
}

BufferId SegmentBuilder::piece_buffer(int segment, TensorId t, const ShardingSpec& spec,
                                      const std::string& what) {
  const bool once = segment == prepare_segment;
  const auto memory_class = once ? MemoryClass::parameters : MemoryClass::transient;
  return add_buffer(tensor(t).name + " " + what,
                    bytes_of(box_of(t, spec, seat_.index).extent, tensor(t).dtype), memory_class);
}

std::vector<int> SegmentBuilder::members(const Move& move) const {
  return devices_along(stage_->mesh, seat_.index, move.axes);
}

GroupId SegmentBuilder::group(std::vector<int> world_ranks) {
  const auto next = static_cast<std::int32_t>(program.groups.size());
  const auto [it, is_new] = group_ids_.try_emplace(world_ranks, GroupId{next});
  if (is_new) program.groups.push_back(std::move(world_ranks));
  return it->second;
}

BufferId SegmentBuilder::apply_move(int segment, TensorId t, const Move& move, BufferId from,
                                    bool may_overwrite) {
  if (members(move).size() == 1) return from;
  if (move.kind == Move::Kind::all_reduce && may_overwrite) {
    const Bytes size = program.buffer(from).size;
    Collective c = collective(Collective::Kind::all_reduce, move, tensor(t).dtype);
    c.in = c.out = {from, {}, size};
    c.op = move.before.partial_op;
    emit(segment, {"all_reduce " + tensor(t).name, c, {}, {}});
    return from;
  }
  const BufferId to = piece_buffer(segment, t, move.after, to_string(move.after));
  const Operand source = operand(t, move.before, from);
  const Operand target = operand(t, move.after, to);
  switch (move.kind) {
    case Move::Kind::all_reduce: {
      copy_box(segment, source, target, "copy " + tensor(t).name);
      Collective c = collective(Collective::Kind::all_reduce, move, tensor(t).dtype);
      c.in = c.out = {to, {}, target.size()};
      c.op = move.before.partial_op;
      emit(segment, {"all_reduce " + tensor(t).name, c, {}, {}});
      break;
    }
    case Move::Kind::all_gather:
      gather(segment, t, move, from, to);
      break;
    case Move::Kind::reduce_scatter:
      scatter(segment, t, move, from, to);
      break;
    case Move::Kind::all_to_all:
      transpose(segment, t, move, from, to);
      break;
    case Move::Kind::margins:
      transpose(segment, t, move, from, to);
      break;
    case Move::Kind::slice:
      copy_box(segment, source, target, "slice " + tensor(t).name);
      break;
    case Move::Kind::to_partial: {
      const auto place = coordinates(stage_->mesh, seat_.index);
      const bool keeps = place[static_cast<std::size_t>(move.axes[0])] == 0;
      if (keeps)
        copy_box(segment, source, target, "to_partial " + tensor(t).name);
      else
        emit(segment, {"to_partial " + tensor(t).name,
                       RunKernel{Fill{}, {}, {target}, {}, false, 0.0},
                       {},
                       {}});
      break;
    }
  }
  return to;
}

Collective SegmentBuilder::collective(Collective::Kind kind, const Move& move, DType dtype) {
  std::vector<int> world;
  for (const int index : members(move)) {
    world.push_back(stage_->ranks[static_cast<std::size_t>(index)]);
  }
  Collective c;
  c.kind = kind;
  c.group = group(std::move(world));
  c.dtype = dtype;
  return c;
}

void SegmentBuilder::gather(int segment, TensorId t, const Move& move, BufferId from, BufferId to) {
  Collective c = collective(Collective::Kind::all_gather, move, tensor(t).dtype);
  const Operand whole = operand(t, move.after, to);
  std::vector<Operand> pieces;
  Bytes total{0};
  for (const int index : members(move)) {
    pieces.push_back({{}, total, tensor(t).dtype, box_of(t, move.before, index), tensor(t).shape});
    c.piece_sizes.push_back(pieces.back().size());
    total += pieces.back().size();
  }
  const bool direct = is_outermost(whole.box, move.from_dim);
  const BufferId landing =
      direct ? to : add_buffer(tensor(t).name + " gathered", total, MemoryClass::transient);
  c.in = {from, {}, program.buffer(from).size};
  c.out = {landing, {}, total};
  emit(segment, {"all_gather " + tensor(t).name, c, {}, {}});
  for (Operand& piece : pieces) {
    piece.buffer = landing;
    if (!direct) copy_box(segment, piece, whole, "unpack " + tensor(t).name);
  }
}

void SegmentBuilder::scatter(int segment, TensorId t, const Move& move, BufferId from,
                             BufferId to) {
  Collective c = collective(Collective::Kind::reduce_scatter, move, tensor(t).dtype);
  c.op = move.before.partial_op;
  const Operand whole = operand(t, move.before, from);
  std::vector<Operand> pieces;
  Bytes total{0};
  for (const int index : members(move)) {
    pieces.push_back({{}, total, tensor(t).dtype, box_of(t, move.after, index), tensor(t).shape});
    c.piece_sizes.push_back(pieces.back().size());
    total += pieces.back().size();
  }
  const bool direct = is_outermost(whole.box, move.to_dim);
  const BufferId packed =
      direct ? from : add_buffer(tensor(t).name + " packed", total, MemoryClass::transient);
  for (Operand& piece : pieces) {
    piece.buffer = packed;
    if (!direct) copy_box(segment, whole, piece, "pack " + tensor(t).name);
  }
  c.in = {packed, {}, total};
  c.out = {to, {}, program.buffer(to).size};
  emit(segment, {"reduce_scatter " + tensor(t).name, c, {}, {}});
}

void SegmentBuilder::transpose(int segment, TensorId t, const Move& move, BufferId from,
                               BufferId to) {
  Collective c = collective(Collective::Kind::all_to_all, move, tensor(t).dtype);
  const Operand mine = operand(t, move.before, from);
  const Operand target = operand(t, move.after, to);
  const bool own_too = move.kind == Move::Kind::all_to_all;
  std::vector<Operand> packed, received;
  Bytes sent{0};
  Bytes got{0};
  for (const int index : members(move)) {
    const bool other = own_too || index != seat_.index;
    const auto part_of = [&](Box box) {
      if (!other) box.extent.assign(box.extent.size(), 0);
      return box;
    };
    const Box theirs = part_of(intersect(mine.box, box_of(t, move.after, index)));
    packed.push_back({{}, sent, mine.dtype, theirs, mine.full});
    c.piece_sizes.push_back(packed.back().size());
    sent += packed.back().size();
    const Box source = part_of(intersect(box_of(t, move.before, index), target.box));
    received.push_back({{}, got, mine.dtype, source, mine.full});
    c.in_sizes.push_back(received.back().size());
    got += received.back().size();
  }
  const BufferId out = add_buffer(tensor(t).name + " packed", sent, MemoryClass::transient);
  const BufferId in = add_buffer(tensor(t).name + " received", got, MemoryClass::transient);
  if (!own_too) copy_box(segment, mine, target, "copy " + tensor(t).name);
  for (Operand& part : packed) {
    part.buffer = out;
    copy_box(segment, mine, part, "pack " + tensor(t).name);
  }
  c.in = {out, {}, sent};
  c.out = {in, {}, got};
  emit(segment, {to_string(move.kind) + " " + tensor(t).name, c, {}, {}});
  for (Operand& part : received) {
    part.buffer = in;
    copy_box(segment, part, target, "unpack " + tensor(t).name);
  }
}

}  // namespace alpa
