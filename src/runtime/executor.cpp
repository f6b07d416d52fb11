#include "alpa/runtime/executor.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "alpa/base/error.hpp"
#include "alpa/base/overloaded.hpp"
#include "alpa/base/random.hpp"

namespace alpa {
namespace {

Reduction reduction_of(ReduceOp op) {
  return op == ReduceOp::sum ? Reduction::sum : Reduction::max;
}

/// Instructions of a segment by queue.
using ByQueue = std::array<std::vector<int>, kQueues>;

ByQueue by_queue(const Segment& segment) {
  ByQueue lists;
  for (std::size_t i = 0; i < segment.instructions.size(); ++i) {
    lists[queue_of(segment.instructions[i])].push_back(static_cast<int>(i));
  }
  return lists;
}

/// How far a call has come.
struct CallState {
  std::vector<char> done;
  std::size_t left = 0;
};

/// Host memory that stands for device memory while a communicator works on it.
struct Staged {
  std::vector<std::byte> host;
  std::byte* device = nullptr;
  bool copy_back = false;
};

/// A communication that has begun.
struct Open {
  std::unique_ptr<Request> request;
  std::vector<std::unique_ptr<Staged>> staged;
  int call = -1;
  int instruction = -1;
};

class Execution {
 public:
  Execution(const Program& program, Device& device, std::byte* arena, const Groups& groups,
            Communicator& world, const ExecutorOptions& options, Executed& executed,
            Position& position)
      : program_(program),
        device_(device),
        arena_(arena),
        groups_(groups),
        world_(world),
        options_(options),
        executed_(executed),
        position_(position),
        draw_key_(options.shuffle_seed.value_or(0)) {
    for (const Segment& s : program.segments) lists_.push_back(by_queue(s));
    states_.resize(program.calls.size());
    call_done_.assign(program.calls.size(), 0);
    for (std::size_t c = 0; c < program.calls.size(); ++c) {
      const auto n = segment_of(c).instructions.size();
      states_[c] = {std::vector<char>(n, 0), n};
    }
    for (auto& cursor : cursors_) cursor = {0, 0};
    for (std::size_t q = 0; q < kQueues; ++q) skip_to_next(q);
  }

  void run() {
    int idle = 0;
    while (!finished()) {
      if (advance()) {
        idle = 0;
        continue;
      }
      back_off(++idle);
    }
    device_.synchronize();
  }

 private:
  struct Cursor {
    std::size_t call = 0;
    std::size_t next = 0;  ///< into the call's list of the queue
  };

  [[nodiscard]] const Segment& segment_of(std::size_t call) const {
    return program_.segments[static_cast<std::size_t>(program_.calls[call].segment)];
  }
  [[nodiscard]] const std::vector<int>& list(std::size_t call, std::size_t queue) const {
    return lists_[static_cast<std::size_t>(program_.calls[call].segment)][queue];
  }

  void skip_to_next(std::size_t queue) {
    Cursor& cursor = cursors_[queue];
    while (cursor.call < program_.calls.size() && cursor.next >= list(cursor.call, queue).size()) {
      cursor = {cursor.call + 1, 0};
    }
  }

  [[nodiscard]] bool finished() const {
    for (std::size_t q = 0; q < kQueues; ++q) {
      if (open_[q].request || cursors_[q].call < program_.calls.size()) return false;
    }
    return true;
  }

  /// One round over the queues; true if something began or ended.
  bool advance() {
    std::array<std::size_t, kQueues> order{kMessagesBack, kMessages, kCollectives, kKernels};
    if (options_.shuffle_seed) {
      for (std::size_t i = kQueues; i-- > 1;) std::swap(order[i], order[draw() % (i + 1)]);
      return std::any_of(order.begin(), order.end(), [&](std::size_t q) { return advance(q); });
    }
    bool moved = false;
    for (const std::size_t q : order) moved = advance(q) || moved;
    return moved;
  }

  bool advance(std::size_t queue) {
    if (open_[queue].request) {
      if (!open_[queue].request->test()) return false;
      finish(queue);
      return true;
    }
    const Cursor cursor = cursors_[queue];
    if (cursor.call >= program_.calls.size()) return false;
    const int index = list(cursor.call, queue)[cursor.next];
    if (!ready(cursor.call, index)) return false;
    start(queue, cursor.call, index);
    ++cursors_[queue].next;
    skip_to_next(queue);
    return true;
  }

  [[nodiscard]] bool ready(std::size_t call, int index) const {
    const auto& calls = program_.calls[call].waits;
    const auto& waits = segment_of(call).instructions[static_cast<std::size_t>(index)].waits;
    return std::all_of(calls.begin(), calls.end(),
                       [&](int c) { return call_done_[static_cast<std::size_t>(c)] != 0; }) &&
           std::all_of(waits.begin(), waits.end(),
                       [&](int i) { return states_[call].done[static_cast<std::size_t>(i)] != 0; });
  }

  void mark_done(std::size_t call, int index) {
    CallState& state = states_[call];
    state.done[static_cast<std::size_t>(index)] = 1;
    if (--state.left == 0) call_done_[call] = 1;
    position_.ticks.fetch_add(1, std::memory_order_relaxed);
  }

  void start(std::size_t queue, std::size_t call, int index) {
    const Instruction& instruction = segment_of(call).instructions[static_cast<std::size_t>(index)];
    const Call& c = program_.calls[call];
    position_.phase.store(static_cast<int>(instruction.phase), std::memory_order_relaxed);
    position_.call.store(static_cast<int>(call), std::memory_order_relaxed);
    position_.instruction.store(index, std::memory_order_relaxed);
    if (options_.before) options_.before(instruction, c);
    if (const auto* run = std::get_if<RunKernel>(&instruction.action)) {
      launch(*run, c);
      mark_done(call, index);
      return;
    }
    Open& open = open_[queue];
    open.call = static_cast<int>(call);
    open.instruction = index;
    if (const auto* collective = std::get_if<Collective>(&instruction.action)) {
      open.request = begin(*collective, c, open);
    } else {
      open.request = begin(std::get<Exchange>(instruction.action), c, open);
    }
    count(instruction);
  }

  void finish(std::size_t queue) {
    Open& open = open_[queue];
    for (const auto& staged : open.staged) {
      if (staged->copy_back) device_.copy_in(staged->device, staged->host);
    }
    const Open ended = std::move(open);
    open = {};
    mark_done(static_cast<std::size_t>(ended.call), ended.instruction);
  }

  void count(const Instruction& instruction) {
    int size = world_.size();
    int rank = world_.rank();
    std::string kind = "exchange";
    if (const auto* c = std::get_if<Collective>(&instruction.action)) {
      const Communicator& group = groups_.of(program_.groups.at(c->group.index()));
      size = group.size();
      rank = group.rank();
      kind = to_string(c->kind);
    }
    executed_.bytes_sent[kind] += bytes_sent(instruction, size, rank);
    ++executed_.counts[kind];
  }

  [[nodiscard]] std::byte* address(const Region& region, const Call& call) const {
    return arena_ + bytes_in_arena(program_, region, call).begin;
  }

  void launch(const RunKernel& run, const Call& call) {
    const auto pieces = [&](const std::vector<Operand>& operands, std::vector<Piece>& out) {
      out.clear();
      for (const Operand& o : operands) {
        out.push_back({address({o.buffer, o.start, o.size()}, call), o.dtype, o.box, o.full});
      }
    };
    pieces(run.operands, operands_);
    pieces(run.results, results_);
    Launch launch;
    launch.operands = operands_;
    launch.results = results_;
    launch.batch_origin = call.microbatch * program_.microbatch_size;
    launch.batch_size = program_.num_microbatches * program_.microbatch_size;
    launch.first = run.first && call.microbatch == 0;
    if (run.workspace.valid()) {
      const Bytes size = program_.buffer(run.workspace).size;
      launch.workspace = {address({run.workspace, {}, size}, call),
                          static_cast<std::size_t>(size.value)};
    }
    device_.launch(Queue::compute, run.kernel, launch);
    executed_.flops += run.flops;
  }

  /// Host memory for a region: the region itself if the host may touch it, else a staged copy.
  std::span<std::byte> host(const Region& region, const Call& call, Open& open, bool in, bool out) {
    std::byte* device = address(region, call);
    const auto size = static_cast<std::size_t>(region.size.value);
    if (device_.host_accessible()) return {device, size};
    open.staged.push_back(std::make_unique<Staged>());
    Staged& staged = *open.staged.back();
    staged.host.resize(size);
    staged.device = device;
    staged.copy_back = out;
    if (in) device_.copy_out(staged.host, device);
    return staged.host;
  }

  std::unique_ptr<Request> begin(const Collective& c, const Call& call, Open& open) {
    Communicator& group = groups_.of(program_.groups.at(c.group.index()));
    std::vector<std::int64_t> sizes, in_sizes;
    for (const Bytes b : c.piece_sizes) sizes.push_back(b.value);
    for (const Bytes b : c.in_sizes) in_sizes.push_back(b.value);
    if (c.kind == Collective::Kind::all_reduce) {
      return group.all_reduce(host(c.in, call, open, true, true), c.dtype, reduction_of(c.op));
    }
    const auto in = host(c.in, call, open, true, false);
    const auto out = host(c.out, call, open, false, true);
    switch (c.kind) {
      case Collective::Kind::all_gather:
        return group.all_gather(in, out, sizes);
      case Collective::Kind::reduce_scatter:
        return group.reduce_scatter(in, out, sizes, c.dtype, reduction_of(c.op));
      case Collective::Kind::all_to_all:
        return group.all_to_all(in, sizes, out, in_sizes);
      case Collective::Kind::all_reduce:
        break;
    }
    check_failed("known collective", SourceLine::here());
  }

  std::unique_ptr<Request> begin(const Exchange& e, const Call& call, Open& open) {
    std::vector<Outgoing> out;
    std::vector<Incoming> in;
    const int tag = e.back ? 1 : 0;  // both ways may be open at once
    for (const Message& m : e.out)
      out.push_back({m.peer, tag, host(m.region, call, open, true, false)});
    for (const Message& m : e.in)
      in.push_back({m.peer, tag, host(m.region, call, open, false, true)});
    return world_.exchange(out, in);
  }

  std::uint64_t draw() { return philox(draw_key_, draws_++, 0)[0]; }

  static void back_off(int idle) {
    if (idle < 64)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(idle < 1024 ? 20 : 200));
  }

  const Program& program_;
  Device& device_;
  std::byte* arena_;
  const Groups& groups_;
  Communicator& world_;
  const ExecutorOptions& options_;
  Executed& executed_;
  Position& position_;
  std::uint64_t draw_key_;
  std::uint64_t draws_ = 0;
  std::vector<ByQueue> lists_;
  std::vector<CallState> states_;
  std::vector<char> call_done_;
  std::array<Cursor, kQueues> cursors_{};
  std::array<Open, kQueues> open_{};
  std::vector<Piece> operands_, results_;
};

}  // namespace

Groups::Groups(Communicator& world, const std::vector<const Program*>& programs) : world_(world) {
  std::set<std::vector<int>> wanted;
  for (const Program* program : programs) {
    wanted.insert(program->groups.begin(), program->groups.end());
  }
  for (const auto& members : wanted) {
    if (static_cast<int>(members.size()) == world.size()) continue;
    std::string text;
    for (const int rank : members) text += std::to_string(rank) + ",";
    made_[members] = world.subgroup(members, static_cast<int>(hash_of(text) % 30000));
  }
}

Communicator& Groups::of(const std::vector<int>& members) const {
  const auto it = made_.find(members);
  return it == made_.end() ? world_ : *it->second;
}

void execute(const Program& program, Device& device, std::byte* arena, const Groups& groups,
             Communicator& world, const ExecutorOptions& options, Executed& executed,
             Position& position) {
  Execution(program, device, arena, groups, world, options, executed, position).run();
}

}  // namespace alpa
