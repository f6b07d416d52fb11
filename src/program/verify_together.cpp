#include <algorithm>
#include <array>
#include <deque>
#include <optional>

#include "verify_parts.hpp"

namespace alpa::verification {
namespace {

/// One run of an instruction.
struct Place {
  std::size_t call = 0;
  std::size_t instruction = 0;
};

/// A rank on its way through its program.
struct Walker {
  struct Cursor {
    std::size_t call = 0;
    std::size_t next = 0;  ///< into the segment's list of the queue
  };
  const Program* program = nullptr;
  std::vector<std::array<std::vector<std::size_t>, kQueues>> lists;  ///< [segment][queue]
  std::vector<std::vector<char>> done;                               ///< [call][instruction]
  std::vector<std::size_t> left;                                     ///< [call]
  std::array<Cursor, kQueues> cursors;
  std::array<bool, kQueues> open{};  ///< the queue's head has started and waits for partners
  std::array<std::size_t, kQueues> open_messages{};  ///< of the open exchanges

  explicit Walker(const Program& p) : program(&p) {
    for (const Segment& segment : p.segments) {
      auto& list = lists.emplace_back();
      for (std::size_t i = 0; i < segment.instructions.size(); ++i) {
        list[queue_of(segment.instructions[i])].push_back(i);
      }
    }
    for (const Call& call : p.calls) {
      left.push_back(segment_of(p, call).instructions.size());
      done.emplace_back(left.back(), 0);
    }
    for (std::size_t q = 0; q < kQueues; ++q) skip(q);
  }

  [[nodiscard]] const std::vector<std::size_t>& list(std::size_t call, std::size_t queue) const {
    return lists[static_cast<std::size_t>(program->calls[call].segment)][queue];
  }
  void skip(std::size_t queue) {
    Cursor& c = cursors[queue];
    while (c.call < done.size() && c.next >= list(c.call, queue).size()) c = {c.call + 1, 0};
  }
  [[nodiscard]] bool at_end(std::size_t queue) const { return cursors[queue].call >= done.size(); }
  [[nodiscard]] Place head(std::size_t queue) const {
    return {cursors[queue].call, list(cursors[queue].call, queue)[cursors[queue].next]};
  }
  [[nodiscard]] const Instruction& at(const Place& place) const {
    return segment_of(*program, program->calls[place.call]).instructions[place.instruction];
  }
  [[nodiscard]] bool is_done(std::size_t call) const { return left[call] == 0; }

  [[nodiscard]] bool ready(const Place& place) const {
    const auto& calls = program->calls[place.call].waits;
    const auto& waits = at(place).waits;
    return std::all_of(calls.begin(), calls.end(),
                       [&](int c) { return is_done(static_cast<std::size_t>(c)); }) &&
           std::all_of(waits.begin(), waits.end(),
                       [&](int i) { return done[place.call][static_cast<std::size_t>(i)] != 0; });
  }

  /// Ends the head of a queue.
  void finish(std::size_t queue) {
    const Place place = head(queue);
    done[place.call][place.instruction] = 1;
    --left[place.call];
    open[queue] = false;
    ++cursors[queue].next;
    skip(queue);
  }
};

/// A message as one side sees it.
struct Half {
  const Message* message = nullptr;
  int microbatch = -1;  ///< whose value it is; -1 where the buffer has no slots
};

/// One direction between two ranks on one queue: what has been posted and not yet met.
struct Channel {
  std::deque<Half> sends, receives;
};
struct Ends {
  std::size_t from = 0, to = 0, queue = 0;
  friend auto operator<=>(const Ends&, const Ends&) = default;
};

/// All ranks at once. Collectives end when all members have started them, exchanges when each of
/// their messages has its other half: nothing is buffered on the way.
class Together {
 public:
  Together(const std::vector<Program>& programs, Mistakes& mistakes)
      : mistakes_(mistakes), dirty_(programs.size(), true) {
    for (const Program& p : programs) walkers_.emplace_back(p);
  }

  void run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t r = 0; r < walkers_.size(); ++r) {
        while (dirty_[r]) {
          dirty_[r] = false;
          for (std::size_t q = 0; q < kQueues; ++q) advance(r, q);
          moved = true;
        }
      }
    }
    report_stuck();
  }

 private:
  [[nodiscard]] const Program& program(std::size_t rank) const { return *walkers_[rank].program; }

  void finish(std::size_t rank, std::size_t queue) {
    walkers_[rank].finish(queue);
    dirty_[rank] = true;
  }

  void advance(std::size_t rank, std::size_t queue) {
    Walker& walker = walkers_[rank];
    while (!walker.at_end(queue) && !walker.open[queue]) {
      const Place place = walker.head(queue);
      if (!walker.ready(place)) return;
      if (queue == kKernels) {
        finish(rank, queue);
        continue;
      }
      walker.open[queue] = true;
      const Instruction& instruction = walker.at(place);
      if (queue == kCollectives)
        meet(std::get<Collective>(instruction.action), rank);
      else
        post(std::get<Exchange>(instruction.action), rank, queue, place.call);
    }
  }

  [[nodiscard]] const std::vector<int>& group(std::size_t rank, const Collective& c) const {
    return program(rank).groups[c.group.index()];
  }

  /// The collective that a member has started for this group, if it has.
  [[nodiscard]] const Collective* started(std::size_t rank, const std::vector<int>& members) const {
    const Walker& walker = walkers_[rank];
    if (!walker.open[kCollectives]) return nullptr;
    const auto& c = std::get<Collective>(walker.at(walker.head(kCollectives)).action);
    return group(rank, c) == members ? &c : nullptr;
  }

  void meet(const Collective& c, std::size_t rank) {
    const std::vector<int>& members = group(rank, c);
    for (const int m : members) {
      if (started(static_cast<std::size_t>(m), members) == nullptr) return;
    }
    for (std::size_t b = 1; b < members.size(); ++b) check_agreement(members, 0, b);
    if (c.kind == Collective::Kind::all_to_all) {  // every pair has sizes of its own
      for (std::size_t a = 1; a < members.size(); ++a) {
        for (std::size_t b = a + 1; b < members.size(); ++b) check_agreement(members, a, b);
      }
    }
    for (const int m : members) finish(static_cast<std::size_t>(m), kCollectives);
  }

  /// The collectives of two members, given by their places in the group.
  void check_agreement(const std::vector<int>& members, std::size_t i, std::size_t j) {
    const auto first = static_cast<std::size_t>(members[i]);
    const auto other = static_cast<std::size_t>(members[j]);
    const Collective& a = *started(first, members);
    const Collective& b = *started(other, members);
    const Place at_a = walkers_[first].head(kCollectives);
    const Place at_b = walkers_[other].head(kCollectives);
    const auto differ = [&](const std::string& what) {
      mistakes_.add("ranks " + std::to_string(first) + " and " + std::to_string(other) +
                    " disagree on " + what + ": " + describe(first, at_a) + " meets " +
                    describe(other, at_b));
    };
    const std::string& name_a = walkers_[first].at(at_a).name;
    const std::string& name_b = walkers_[other].at(at_b).name;
    if (a.kind != b.kind)
      differ("the kind of a collective");
    else if (name_a != name_b)
      differ("which collective is next");
    else if (microbatch(first, at_a) != microbatch(other, at_b))
      differ("the microbatch of a collective");
    else if (a.dtype != b.dtype || a.op != b.op)
      differ("dtype or operation of a collective");
    else if (!sizes_agree(a, i, b, j))
      differ("the sizes of a collective");
  }

  [[nodiscard]] int microbatch(std::size_t rank, const Place& place) const {
    return program(rank).calls[place.call].microbatch;
  }

  /// `a` is of member i, `b` of member j.
  [[nodiscard]] static bool sizes_agree(const Collective& a, std::size_t i, const Collective& b,
                                        std::size_t j) {
    switch (a.kind) {
      case Collective::Kind::all_reduce:
        return a.in.size == b.in.size;
      case Collective::Kind::all_gather:
      case Collective::Kind::reduce_scatter:
        return a.piece_sizes == b.piece_sizes;
      case Collective::Kind::all_to_all:
        return a.piece_sizes[j] == b.in_sizes[i] && a.in_sizes[j] == b.piece_sizes[i];
    }
    return false;
  }

  [[nodiscard]] Half half(std::size_t rank, const Message& message, std::size_t call) const {
    const int family = program(rank).buffer(message.region.buffer).family;
    if (family < 0) return {&message, -1};
    return {&message, program(rank).calls[call].slot_microbatch[static_cast<std::size_t>(family)]};
  }

  void post(const Exchange& e, std::size_t rank, std::size_t queue, std::size_t call) {
    walkers_[rank].open_messages[queue] = e.out.size() + e.in.size();
    for (const Message& m : e.out) {
      const auto peer = static_cast<std::size_t>(m.peer);
      channels_[{rank, peer, queue}].sends.push_back(half(rank, m, call));
    }
    for (const Message& m : e.in) {
      const auto peer = static_cast<std::size_t>(m.peer);
      channels_[{peer, rank, queue}].receives.push_back(half(rank, m, call));
    }
    for (const Message& m : e.out) match(rank, static_cast<std::size_t>(m.peer), queue);
    for (const Message& m : e.in) match(static_cast<std::size_t>(m.peer), rank, queue);
  }

  void match(std::size_t from, std::size_t to, std::size_t queue) {
    Channel& channel = channels_[{from, to, queue}];
    while (!channel.sends.empty() && !channel.receives.empty()) {
      compare(from, to, channel.sends.front(), channel.receives.front());
      channel.sends.pop_front();
      channel.receives.pop_front();
      for (const std::size_t rank : {from, to}) {
        if (--walkers_[rank].open_messages[queue] == 0) finish(rank, queue);
      }
    }
  }

  void compare(std::size_t from, std::size_t to, const Half& sent, const Half& received) {
    const auto text = [](const Half& half) {
      return half.message->value + ", " + std::to_string(half.message->region.size.value) +
             " bytes" +
             (half.microbatch < 0 ? "" : ", microbatch " + std::to_string(half.microbatch));
    };
    const bool same =
        sent.message->value == received.message->value &&
        sent.message->region.size == received.message->region.size &&
        (sent.microbatch == received.microbatch || sent.microbatch < 0 || received.microbatch < 0);
    if (same) return;
    mistakes_.add("rank " + std::to_string(from) + " sends " + text(sent) + " where rank " +
                  std::to_string(to) + " receives " + text(received));
  }

  [[nodiscard]] std::string describe(std::size_t rank, const Place& place) const {
    const Segment& segment = segment_of(program(rank), program(rank).calls[place.call]);
    return "rank " + std::to_string(rank) + ", " + name_of(program(rank), place.call) + ", " +
           name_of(segment, place.instruction);
  }

  void report_stuck() {
    for (std::size_t r = 0; r < walkers_.size(); ++r) {
      for (std::size_t q = 0; q < kQueues; ++q) {
        if (!walkers_[r].at_end(q)) mistakes_.add("stuck: " + why(r, q));
      }
    }
  }

  [[nodiscard]] std::string why(std::size_t rank, std::size_t queue) const {
    const Walker& walker = walkers_[rank];
    const Place place = walker.head(queue);
    const std::string text = describe(rank, place);
    if (!walker.open[queue]) return text + " waits for" + unfinished(walker, place);
    std::set<std::size_t> missing;
    if (queue == kCollectives) {
      const auto& members = group(rank, std::get<Collective>(walker.at(place).action));
      for (const int m : members) {
        const auto member = static_cast<std::size_t>(m);
        if (started(member, members) == nullptr) missing.insert(member);
      }
    } else {
      for (const auto& [ends, channel] : channels_) {
        if (ends.queue != queue) continue;
        if (ends.from == rank && !channel.sends.empty()) missing.insert(ends.to);
        if (ends.to == rank && !channel.receives.empty()) missing.insert(ends.from);
      }
    }
    std::string ranks;
    for (const std::size_t m : missing) ranks += " " + std::to_string(m);
    return text + " has begun and waits for rank" + ranks;
  }

  [[nodiscard]] static std::string unfinished(const Walker& walker, const Place& place) {
    std::string text;
    for (const int c : walker.program->calls[place.call].waits) {
      const auto call = static_cast<std::size_t>(c);
      if (!walker.is_done(call)) text += " " + name_of(*walker.program, call);
    }
    for (const int i : walker.at(place).waits) {
      if (walker.done[place.call][static_cast<std::size_t>(i)] == 0) {
        text += " instruction " + std::to_string(i);
      }
    }
    return text;
  }

  Mistakes& mistakes_;
  std::vector<Walker> walkers_;
  std::vector<bool> dirty_;
  std::map<Ends, Channel> channels_;
};

}  // namespace

void check_together(const std::vector<Program>& programs, Mistakes& mistakes) {
  Together(programs, mistakes).run();
}

}  // namespace alpa::verification
