#include "segment_builder.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/graph/kernel_work.hpp"
#include "alpa/sharding/arrival_layout.hpp"

namespace alpa {
namespace {

MemoryClass class_of(Role role) {
  switch (role) {
    case Role::parameter:
    case Role::replica:
      return MemoryClass::parameters;
    case Role::optimizer_state:
      return MemoryClass::optimizer;
    case Role::accumulator:
      return MemoryClass::gradients;
    case Role::input:
    case Role::step_scalar:
    case Role::global_scalar:
      return MemoryClass::buffers;
    case Role::activation:
    case Role::gradient:
      return MemoryClass::transient;
  }
  check_failed("known role", SourceLine::here());
}

std::vector<KernelPiece> pieces_of(const std::vector<Operand>& operands) {
  std::vector<KernelPiece> pieces;
  pieces.reserve(operands.size());
  for (const Operand& o : operands) pieces.push_back({o.dtype, o.box.extent});
  return pieces;
}

}  // namespace

SegmentBuilder::SegmentBuilder(const PlacedGraph& placed, int rank,
                               const WorkspaceSize& workspace_size)
    : placed_(placed),
      workspace_size_(workspace_size),
      seat_(seat_of(*placed.plan, rank)),
      available_(placed.graph->tensors.size()) {
  if (seat_.stage >= 0) stage_ = &placed.plan->stages[static_cast<std::size_t>(seat_.stage)];
  program.rank = rank;
  program.world_size = placed.plan->world_size;
  program.num_microbatches = placed.plan->num_microbatches;
  program.microbatch_size = placed.graph->microbatch_size;
}

int SegmentBuilder::add_segment(const std::string& name, SegmentInfo what) {
  program.segments.push_back({name, {}});
  info.push_back(what);
  layer_of_instruction.emplace_back();
  return static_cast<int>(info.size()) - 1;
}

BufferId SegmentBuilder::add_buffer(const std::string& name, Bytes size, MemoryClass memory_class,
                                    bool is_static) {
  program.buffers.push_back({name, {}, size, {}, -1, memory_class});
  static_.push_back(is_static);
  layer_of_buffer.push_back(layer_);
  return {static_cast<std::int32_t>(program.buffers.size()) - 1};
}

void SegmentBuilder::add_state(bool accumulators) {
  const auto add = [&](Role role) {
    if (seat_.stage < 0) return;
    for (const TensorId t : placed_.state_of_stage[static_cast<std::size_t>(seat_.stage)]) {
      if (tensor(t).role != role) continue;
      layer_ = tensor(t).layer;
      const ShardingSpec& spec = placed_.source[t.index()];
      const Box box = box_of(t, spec, seat_.index);
      const auto shared = leader_.find(t);
      const BufferId buffer =
          shared != leader_.end()
              ? available_[shared->second.index()].front().buffer
              : add_buffer(tensor(t).name, bytes_of(box.extent, tensor(t).dtype), class_of(role),
                           true);
      available_[t.index()].push_back({spec, buffer, -1, true});
      if (role == Role::accumulator) continue;
      // Among the holders of one piece, tensors take turns: each writes its share of checkpoints.
      bool owner = true;
      const auto place = coordinates(stage_->mesh, seat_.index);
      for (std::size_t a = 0; a < place.size(); ++a) {
        const bool splits =
            std::any_of(spec.dim_axes.begin(), spec.dim_axes.end(), [&](const auto& axes) {
              return std::find(axes.begin(), axes.end(), static_cast<MeshAxis>(a)) != axes.end();
            });
        owner = owner && (splits || place[a] == t.value % stage_->mesh.extents[a]);
      }
      program.state.push_back(
          {tensor(t).name, tensor(t).shape, tensor(t).dtype, box, buffer, owner});
    }
  };
  add(Role::parameter);
  add(Role::optimizer_state);
  layer_ = -1;
  for (const Role role : {Role::step_scalar, Role::global_scalar}) {
    const bool step = role == Role::step_scalar;
    for (const TensorId t : step ? placed_.step_scalars : placed_.global_scalars) {
      step_state_index_[t] = static_cast<int>(step_state_index_.size());
      auto& names = step ? program.step_scalars : program.global_scalars;
      names.push_back(tensor(t).name);
    }
  }
  const auto count = static_cast<std::int64_t>(step_state_index_.size());
  program.step_state = add_buffer("step_state", {8 * count}, MemoryClass::buffers, true);
  if (!accumulators) return;
  share_accumulators();
  add(Role::accumulator);
  layer_ = -1;
}

bool SegmentBuilder::is_sum_of_accumulators(const Operator& op) const {
  const auto* map = std::get_if<Map>(&op.kernel);
  return op.phase == Phase::reduce && map != nullptr && map->op == MapOp::add &&
         std::all_of(op.operands.begin(), op.operands.end(),
                     [&](TensorId t) { return tensor(t).role == Role::accumulator; });
}

/// Gradient sums of one parameter that lie alike on one stage add up in one buffer.
void SegmentBuilder::share_accumulators() {
  if (seat_.stage < 0) return;
  for (const std::size_t o : placed_.ops_of_stage[static_cast<std::size_t>(seat_.stage)]) {
    const Operator& op = placed_.graph->operators[o];
    if (!is_sum_of_accumulators(op)) continue;
    std::vector<TensorId> here;
    for (const TensorId t : op.operands) {
      if (placed_.stage_of_tensor[t.index()] == seat_.stage) here.push_back(t);
    }
    std::sort(here.begin(), here.end());
    for (std::size_t i = 1; i < here.size(); ++i) {
      const bool alike = placed_.source[here[i].index()] == placed_.source[here[0].index()] &&
                         tensor(here[i]).dtype == tensor(here[0]).dtype;
      if (alike) leader_[here[i]] = here[0];
    }
  }
}

/// The operands of a sum, without those that share another's buffer.
bool SegmentBuilder::sum_shared(int segment, std::size_t index) {
  const Operator& op = placed_.graph->operators[index];
  if (!is_sum_of_accumulators(op)) return false;
  const OperatorLayout& layout = *placed_.layout_of_op[index];
  RunKernel run;
  Map map = std::get<Map>(op.kernel);
  map.operands.clear();
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    if (leader_.contains(op.operands[i])) continue;
    const BufferId buffer = want(segment, op.operands[i], layout.operands[i]);
    run.operands.push_back(operand(op.operands[i], layout.operands[i], buffer));
    map.operands.push_back(std::get<Map>(op.kernel).operands[i]);
  }
  const ShardingSpec& spec = layout.results[0];
  const TensorId sum = op.results[0];
  if (run.operands.size() == 1 && tensor(sum).dtype == run.operands[0].dtype) {
    available_[sum.index()].push_back({spec, run.operands[0].buffer, segment, true});
    return true;
  }
  run.kernel = map;
  run.results.push_back(result_operand(segment, index, 0));
  emit(segment, {op.name, std::move(run), {}, {}});
  return true;
}

Box SegmentBuilder::box_of(TensorId t, const ShardingSpec& spec, int index) const {
  return local_box(tensor(t).shape, spec, stage_->mesh, index);
}

Operand SegmentBuilder::operand(TensorId t, const ShardingSpec& spec, BufferId buffer) const {
  if (is_step_state(tensor(t))) return step_state_operand(t);
  return {buffer, {}, tensor(t).dtype, box_of(t, spec, seat_.index), tensor(t).shape};
}

Operand SegmentBuilder::step_state_operand(TensorId t) const {
  return {program.step_state, {8 * step_state_index_.at(t)}, DType::f64, {}, {}};
}

void SegmentBuilder::emit(int segment, Instruction instruction) {
  if (auto* run = std::get_if<RunKernel>(&instruction.action)) {
    const Bytes scratch = workspace_size_(run->kernel, run->operands, run->results);
    if (scratch.value > 0) {
      run->workspace = add_buffer("workspace", scratch, MemoryClass::transient);
    }
  }
  const SegmentInfo& what = info[static_cast<std::size_t>(segment)];
  versions.stamp(program, instruction, what.kind == SegmentInfo::Kind::once);
  instruction.phase = what.phase;
  layer_of_instruction[static_cast<std::size_t>(segment)].push_back(layer_);
  program.segments[static_cast<std::size_t>(segment)].instructions.push_back(
      std::move(instruction));
}

void SegmentBuilder::copy_box(int segment, const Operand& from, const Operand& to,
                              const std::string& why) {
  if (is_empty(intersect(from.box, to.box))) return;
  emit(segment, {why, RunKernel{CopyBox{}, {from}, {to}, {}, false, 0.0}, {}, {}});
}

bool SegmentBuilder::visible(const Available& value, TensorId t, int segment) const {
  if (value.segment < 0 || value.segment == segment) return true;
  const SegmentInfo& made = info[static_cast<std::size_t>(value.segment)];
  const SegmentInfo& here = info[static_cast<std::size_t>(segment)];
  if (here.kind == SegmentInfo::Kind::once)
    return made.kind == SegmentInfo::Kind::once && value.source;
  if (made.kind == SegmentInfo::Kind::once) return false;
  if (value.source) return true;
  const bool same_chunk = made.chunk == here.chunk;
  return same_chunk && retention_of(*stage_, tensor(t)) == Retention::keep;
}

const Available* SegmentBuilder::find(int segment, TensorId t, const ShardingSpec& spec) const {
  for (const Available& value : available_[t.index()]) {
    if (value.spec == spec && visible(value, t, segment)) return &value;
  }
  return nullptr;
}

bool SegmentBuilder::wants_preparation(int segment, TensorId t) const {
  const Role role = tensor(t).role;
  const auto kind = info[static_cast<std::size_t>(segment)].kind;
  return (role == Role::parameter || role == Role::replica) && kind != SegmentInfo::Kind::once &&
         retention_of(*stage_, tensor(t)) == Retention::step;
}

BufferId SegmentBuilder::want(int segment, TensorId t, const ShardingSpec& spec) {
  if (is_step_state(tensor(t))) return program.step_state;
  if (tensor(t).role == Role::input) prepare_input(segment, t, spec);
  unpack_arrival(segment, t);
  if (const Available* value = find(segment, t, spec)) return value->buffer;
  return deliver(wants_preparation(segment, t) ? prepare_segment : segment, t, spec);
}

/// The host writes an input in every layout that is wanted; partial ones are made from it.
void SegmentBuilder::prepare_input(int segment, TensorId t, const ShardingSpec& wanted) {
  const ShardingSpec spec = without_partial(wanted);
  if (find(segment, t, spec) != nullptr) return;
  const Box box = box_of(t, spec, seat_.index);
  const BufferId buffer = add_buffer("input " + tensor(t).name + " " + to_string(spec),
                                     bytes_of(box.extent, tensor(t).dtype), MemoryClass::buffers);
  available_[t.index()].push_back({spec, buffer, -1, true});
  program.inputs.push_back({tensor(t).name, tensor(t).dtype, box, tensor(t).shape, buffer});
}

void SegmentBuilder::expect_arrival(Arrival arrival) {
  const TensorId t = arrival.crossing->tensor;
  arrivals_[t] = std::move(arrival);
}

void SegmentBuilder::unpack_arrival(int segment, TensorId t) {
  const auto it = arrivals_.find(t);
  if (it == arrivals_.end() || it->second.unpacked) return;
  Arrival& arrival = it->second;
  arrival.unpacked = true;
  const ShardingSpec& spec = arrival.crossing->arrives;
  const Operand whole = operand(t, spec, arrival.buffer);
  for (const ArrivedPiece& piece : arrival.pieces) {
    if (!piece.staging.valid()) continue;
    const Operand part{piece.staging, {}, tensor(t).dtype, piece.box, tensor(t).shape};
    copy_box(segment, part, whole, "unpack " + tensor(t).name);
  }
  const bool once = info[static_cast<std::size_t>(segment)].kind == SegmentInfo::Kind::once;
  available_[t.index()].push_back({spec, arrival.buffer, once ? -1 : segment, true});
}

Operand SegmentBuilder::result_operand(int segment, std::size_t op, std::size_t r) {
  const TensorId t = placed_.graph->operators[op].results[r];
  const ShardingSpec& spec = placed_.layout_of_op[op]->results[r];
  if (const Available* state = find(segment, t, spec); state != nullptr && state->segment < 0) {
    return operand(t, spec, state->buffer);  // changed in place
  }
  const BufferId buffer = piece_buffer(segment, t, spec, to_string(spec));
  const bool lasts = segment == prepare_segment;
  available_[t.index()].push_back({spec, buffer, lasts ? -1 : segment, true});
  return operand(t, spec, buffer);
}

/// A copy to the layout and dtype that its operand already has is another name for the buffer.
bool SegmentBuilder::alias_copy(int segment, std::size_t op) {
  const Operator& o = placed_.graph->operators[op];
  const auto* map = std::get_if<Map>(&o.kernel);
  if (map == nullptr || map->op != MapOp::copy || segment != prepare_segment) return false;
  const OperatorLayout& layout = *placed_.layout_of_op[op];
  if (tensor(o.operands[0]).dtype != tensor(o.results[0]).dtype) return false;
  if (layout.operands[0] != layout.results[0]) return false;
  if (!layout.results[0].partial_axes.empty()) return false;
  const BufferId buffer = want(segment, o.operands[0], layout.operands[0]);
  available_[o.results[0].index()].push_back({layout.results[0], buffer, -1, true});
  return true;
}

void SegmentBuilder::contribute(int segment, const Operator& op, const ShardingSpec& spec,
                                BufferId value) {
  const auto place = coordinates(stage_->mesh, seat_.index);
  for (std::size_t a = 0; a < place.size(); ++a) {
    const auto& partial = spec.partial_axes;
    const bool summed =
        std::find(partial.begin(), partial.end(), static_cast<MeshAxis>(a)) != partial.end();
    if (!summed && place[a] != 0) return;  // a copy: the first device counts it
  }
  const Operand from = operand(op.operands[0], spec, value);
  emit(segment, {op.name,
                 RunKernel{op.kernel, {from}, {step_state_operand(op.results[0])}, {}, false, 0.0},
                 {},
                 {}});
}

void SegmentBuilder::lower_operator(int segment, std::size_t index) {
  layer_ = placed_.graph->operators[index].layer;
  if (!alias_copy(segment, index) && !sum_shared(segment, index)) emit_operator(segment, index);
  layer_ = -1;
}

void SegmentBuilder::emit_operator(int segment, std::size_t index) {
  const Operator& op = placed_.graph->operators[index];
  const OperatorLayout& layout = *placed_.layout_of_op[index];
  RunKernel run;
  run.kernel = op.kernel;
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    const BufferId buffer = want(segment, op.operands[i], layout.operands[i]);
    run.operands.push_back(operand(op.operands[i], layout.operands[i], buffer));
  }
  if (!op.results.empty() && tensor(op.results[0]).role == Role::global_scalar) {
    contribute(segment, op, layout.operands[0], run.operands[0].buffer);
    return;
  }
  for (std::size_t r = 0; r < op.results.size(); ++r) {
    run.results.push_back(result_operand(segment, index, r));
  }
  run.first =
      std::holds_alternative<Accumulate>(op.kernel) && summed_.insert(run.results[0].buffer).second;
  run.flops = flops_of_pieces(op.rule, pieces_of(run.operands), pieces_of(run.results)).value;
  emit(segment, {op.name, std::move(run), {}, {}});
}

void SegmentBuilder::reduce_globals(int segment) {
  std::vector<int> world(static_cast<std::size_t>(program.world_size));
  for (std::size_t r = 0; r < world.size(); ++r) world[r] = static_cast<int>(r);
  if (world.size() == 1) return;
  Collective c;
  c.kind = Collective::Kind::all_reduce;
  c.group = group(std::move(world));
  c.dtype = DType::f64;
  const auto scalars = static_cast<std::int64_t>(program.step_scalars.size());
  const auto globals = static_cast<std::int64_t>(program.global_scalars.size());
  c.in = c.out = {program.step_state, {8 * scalars}, {8 * globals}};
  emit(segment, {"all_reduce global scalars", c, {}, {}});
}

}  // namespace alpa
