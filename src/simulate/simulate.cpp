#include "alpa/simulate/simulate.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

constexpr double kUnknown = -1.0;

/// An instruction in its place in a rank's program.
struct Place {
  std::size_t call = 0;
  int instruction = 0;
};

/// A rank on its way through its program.
struct RankState {
  std::array<std::vector<Place>, kQueues> queues;  ///< all instructions of the step
  std::array<std::size_t, kQueues> next{};
  std::array<double, kQueues> free{};     ///< when the queue's last instruction ended
  std::vector<std::vector<double>> ends;  ///< [call][instruction]
  std::vector<std::size_t> left;          ///< [call] instructions that have not ended
  std::vector<double> call_end;
  std::vector<std::vector<double>> kernels;  ///< [segment][instruction] time of kernels
  /// [queue] messages matched so far, by peer
  std::array<std::map<int, std::size_t>, kQueues> sent, received;
};

/// When both sides of a message have come to it.
struct Meeting {
  double sender = kUnknown;
  double receiver = kUnknown;
};

class Simulation {
 public:
  Simulation(const std::vector<Program>& programs, const InstructionCosts& costs, bool keep_spans)
      : programs_(programs), costs_(costs), keep_spans_(keep_spans), ranks_(programs.size()) {
    timeline_.ranks.resize(programs.size());
    for (std::size_t r = 0; r < programs.size(); ++r) enqueue(r);
  }

  Timeline run() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (std::size_t r = 0; r < ranks_.size(); ++r) {
        for (std::size_t q = 0; q < kQueues; ++q) {
          while (advance(r, q)) moved = true;
        }
      }
    }
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      for (std::size_t q = 0; q < kQueues; ++q) {
        ALPA_CHECK(ranks_[r].next[q] == ranks_[r].queues[q].size());  // else the programs deadlock
      }
    }
    for (RankTime& rank : timeline_.ranks) rank.exposed = timeline_.makespan.value - rank.busy[0];
    std::sort(timeline_.spans.begin(), timeline_.spans.end(), [](const Span& a, const Span& b) {
      return std::tie(a.rank, a.call, a.instruction) < std::tie(b.rank, b.call, b.instruction);
    });
    return std::move(timeline_);
  }

 private:
  void enqueue(std::size_t r) {
    const Program& program = programs_[r];
    RankState& rank = ranks_[r];
    for (std::size_t c = 0; c < program.calls.size(); ++c) {
      const auto& instructions = instructions_of(r, c);
      for (std::size_t i = 0; i < instructions.size(); ++i) {
        rank.queues[queue_of(instructions[i])].push_back({c, static_cast<int>(i)});
      }
      rank.ends.emplace_back(instructions.size(), kUnknown);
      rank.left.push_back(instructions.size());
    }
    rank.call_end.assign(program.calls.size(), 0.0);
    rank.kernels.resize(program.segments.size());
  }

  /// Of a kernel; all of a segment are looked up when the first one runs.
  double kernel_seconds(std::size_t r, const Place& at) {
    const auto segment = static_cast<std::size_t>(programs_[r].calls[at.call].segment);
    std::vector<double>& times = ranks_[r].kernels[segment];
    if (times.empty()) {
      for (const Instruction& i : programs_[r].segments[segment].instructions) {
        const auto* run = std::get_if<RunKernel>(&i.action);
        times.push_back(run == nullptr ? 0.0 : costs_.kernel(*run, programs_[r].rank).value);
      }
    }
    return times[static_cast<std::size_t>(at.instruction)];
  }

  [[nodiscard]] const std::vector<Instruction>& instructions_of(std::size_t r,
                                                                std::size_t call) const {
    const Program& program = programs_[r];
    return program.segments[static_cast<std::size_t>(program.calls[call].segment)].instructions;
  }

  /// When the first instruction of a queue could begin, or nothing while what it waits for runs.
  [[nodiscard]] std::optional<double> ready(std::size_t r, std::size_t q, const Place& at) const {
    const RankState& rank = ranks_[r];
    double time = rank.free[q];
    for (const int call : programs_[r].calls[at.call].waits) {
      const auto c = static_cast<std::size_t>(call);
      if (rank.left[c] > 0) return std::nullopt;
      time = std::max(time, rank.call_end[c]);
    }
    const auto& waits = instructions_of(r, at.call)[static_cast<std::size_t>(at.instruction)].waits;
    for (const int i : waits) {
      const double end = rank.ends[at.call][static_cast<std::size_t>(i)];
      if (end == kUnknown) return std::nullopt;
      time = std::max(time, end);
    }
    return time;
  }

  bool advance(std::size_t r, std::size_t q) {
    RankState& rank = ranks_[r];
    if (rank.next[q] >= rank.queues[q].size()) return false;
    const Place at = rank.queues[q][rank.next[q]];
    const auto begin = ready(r, q, at);
    if (!begin) return false;
    const Instruction& instruction =
        instructions_of(r, at.call)[static_cast<std::size_t>(at.instruction)];
    if (std::holds_alternative<RunKernel>(instruction.action)) {
      finish(r, q, at, *begin, *begin + kernel_seconds(r, at));
      return true;
    }
    if (const auto* c = std::get_if<Collective>(&instruction.action)) {
      return meet(r, at, *begin, *c);
    }
    return exchange(r, q, at, *begin, std::get<Exchange>(instruction.action));
  }

  void finish(std::size_t r, std::size_t q, const Place& at, double begin, double end) {
    RankState& rank = ranks_[r];
    rank.ends[at.call][static_cast<std::size_t>(at.instruction)] = end;
    rank.call_end[at.call] = std::max(rank.call_end[at.call], end);
    --rank.left[at.call];
    ++rank.next[q];
    rank.free[q] = end;
    timeline_.ranks[r].busy[q] += end - begin;
    timeline_.makespan.value = std::max(timeline_.makespan.value, end);
    if (keep_spans_) {
      timeline_.spans.push_back({static_cast<int>(r), static_cast<int>(q),
                                 static_cast<int>(at.call), at.instruction, begin, end});
    }
  }

  /// Once all members have come to their next collective of the group, it begins on all.
  bool meet(std::size_t r, const Place& at, double begin, const Collective& c) {
    const auto& group = programs_[r].groups.at(c.group.index());
    auto& waiting = waiting_[group];
    waiting[static_cast<int>(r)] = {at, begin};
    if (waiting.size() < group.size()) return false;
    double all = 0.0;
    for (const auto& [member, arrival] : waiting) all = std::max(all, arrival.second);
    const double end = all + costs_.collective(c, programs_[r]).value;
    const auto arrivals = std::exchange(waiting, {});
    for (const auto& [member, arrival] : arrivals) {
      finish(static_cast<std::size_t>(member), 1, arrival.first, all, end);
    }
    return true;
  }

  /// Times at which the two sides of each message came to it; the k-th of a pair matches the k-th.
  bool exchange(std::size_t r, std::size_t q, const Place& at, double begin, const Exchange& e) {
    RankState& rank = ranks_[r];
    const int me = static_cast<int>(r);
    std::map<int, std::size_t> sent = rank.sent[q];
    std::map<int, std::size_t> received = rank.received[q];
    double start = begin;
    double out = 0.0;
    double in = 0.0;
    bool all_here = true;
    for (const Message& m : e.out) {
      Meeting& meeting = meetings_[{me, m.peer, q}][sent[m.peer]++];
      meeting.sender = begin;
      all_here = all_here && meeting.receiver != kUnknown;
      start = std::max(start, meeting.receiver);
      out += costs_.message(m.region.size, me, m.peer).value;
    }
    for (const Message& m : e.in) {
      Meeting& meeting = meetings_[{m.peer, me, q}][received[m.peer]++];
      meeting.receiver = begin;
      all_here = all_here && meeting.sender != kUnknown;
      start = std::max(start, meeting.sender);
      in += costs_.message(m.region.size, m.peer, me).value;
    }
    if (!all_here) return false;
    rank.sent[q] = std::move(sent);
    rank.received[q] = std::move(received);
    finish(r, q, at, start, start + std::max(out, in));
    return true;
  }

  const std::vector<Program>& programs_;
  const InstructionCosts& costs_;
  bool keep_spans_;
  std::vector<RankState> ranks_;
  Timeline timeline_;
  std::map<std::vector<int>, std::map<int, std::pair<Place, double>>> waiting_;
  /// By sender, receiver and queue.
  std::map<std::tuple<int, int, std::size_t>, std::map<std::size_t, Meeting>> meetings_;
};

}  // namespace

Timeline simulate(const std::vector<Program>& programs, const InstructionCosts& costs,
                  bool keep_spans) {
  return Simulation(programs, costs, keep_spans).run();
}

}  // namespace alpa
