#include <algorithm>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/comm/communicator.hpp"

#include "in_process/fabric.hpp"
#include "in_process/group.hpp"
#include "in_process/meeting.hpp"

namespace alpa {
namespace {

/// The seats of one rank in one or more meetings. An error path that drops it early is safe: then
/// nobody touches the buffers any more, and the other ranks' calls fail.
class InProcessRequest final : public Request {
 public:
  /// @param rank in the world
  InProcessRequest(Fabric& fabric, int rank) : fabric_(fabric), rank_(rank) {}

  ~InProcessRequest() override {
    if (done_) return;
    for (const Seat& seat : seats_) seat.meeting->work.abandon();
    if (!opened_) return;
    fabric_.close(rank_, seats_);
    // While unwinding, the error on its way says more.
    if (std::uncaught_exceptions() > 0) return;
    fabric_.note_failure(rank_, "rank " + std::to_string(rank_) + " dropped a request that was " +
                                    "not complete: " + to_text(seats_.front()));
  }

  void add(Seat seat) { seats_.push_back(std::move(seat)); }

  /// All seats are taken.
  void open() {
    if (help()) return;
    fabric_.open(rank_, seats_);
    opened_ = true;
  }

  [[nodiscard]] bool test() override {
    if (done_) return true;
    if (help()) {
      fabric_.close(rank_, seats_);
      fabric_.note_progress();
      return true;
    }
    fabric_.check_alive(rank_);
    if (fabric_.any_returned()) check_for_returned();
    if (fabric_.out_of_patience() && waits_for_somebody()) {
      fabric_.fail(rank_, "no rank has got anywhere for " + std::to_string(fabric_.patience_ms()) +
                              " ms; is this a deadlock?");
    }
    return false;
  }

 private:
  bool help() {
    while (finished_ < seats_.size() && seats_[finished_].meeting->work.help()) ++finished_;
    // Those behind one that waits may be ready too, and the other side waits for them.
    for (std::size_t i = finished_ + 1; i < seats_.size(); ++i) {
      static_cast<void>(seats_[i].meeting->work.help());
    }
    done_ = finished_ == seats_.size();
    return done_;
  }

  [[nodiscard]] bool waits_for_somebody() const {
    return std::any_of(seats_.begin(), seats_.end(),
                       [](const Seat& seat) { return !seat.meeting->work.begun(); });
  }

  /// A member that has returned will never come. It set its flag after its last call, so a meeting
  /// it attended is seen here with it present.
  void check_for_returned() const {
    for (const Seat& seat : seats_) {
      for (std::size_t party = 0; party < seat.meeting->ranks.size(); ++party) {
        const int other = seat.meeting->ranks[party];
        if (!fabric_.has_returned(other) || seat.meeting->present[party]) continue;
        fabric_.fail(rank_, "rank " + std::to_string(other) + " has returned without joining the " +
                                to_text(seat));
      }
    }
  }

  Fabric& fabric_;
  int rank_;
  std::vector<Seat> seats_;
  std::size_t finished_ = 0;  ///< that many seats from the front
  bool opened_ = false;
  bool done_ = false;
};

std::vector<std::int64_t> copy_of(std::span<const std::int64_t> sizes) {
  return {sizes.begin(), sizes.end()};
}

class InProcessCommunicator final : public Communicator {
 public:
  InProcessCommunicator(int rank, std::shared_ptr<Group> group)
      : Communicator(rank, static_cast<int>(group->members().size())), group_(std::move(group)) {}

 private:
  std::unique_ptr<Request> do_all_reduce(std::span<std::byte> data, DType dtype,
                                         Reduction op) override {
    return call({CallKind::all_reduce, dtype, op, data, data, {}, {}});
  }

  std::unique_ptr<Request> do_all_gather(std::span<const std::byte> piece,
                                         std::span<std::byte> whole,
                                         std::span<const std::int64_t> sizes) override {
    return call(
        {CallKind::all_gather, DType::i32, Reduction::sum, piece, whole, {}, copy_of(sizes)});
  }

  std::unique_ptr<Request> do_reduce_scatter(std::span<const std::byte> whole,
                                             std::span<std::byte> piece,
                                             std::span<const std::int64_t> sizes, DType dtype,
                                             Reduction op) override {
    return call({CallKind::reduce_scatter, dtype, op, whole, piece, copy_of(sizes), {}});
  }

  std::unique_ptr<Request> do_all_to_all(std::span<const std::byte> out,
                                         std::span<const std::int64_t> out_sizes,
                                         std::span<std::byte> in,
                                         std::span<const std::int64_t> in_sizes) override {
    return call({CallKind::all_to_all, DType::i32, Reduction::sum, out, in, copy_of(out_sizes),
                 copy_of(in_sizes)});
  }

  std::unique_ptr<Request> do_exchange(std::span<const Outgoing> out,
                                       std::span<const Incoming> in) override {
    auto request = begin();
    for (const Outgoing& message : out) {
      request->add(group_->send(rank(), message.peer, message.tag, message.data));
    }
    for (const Incoming& message : in) {
      request->add(group_->receive(message.peer, rank(), message.tag, message.data));
    }
    request->open();
    return request;
  }

  std::unique_ptr<Communicator> do_subgroup(std::span<const int> members, int tag) override {
    group_->fabric().check_alive(world_rank());
    const int nth = made_[{std::vector<int>(members.begin(), members.end()), tag}]++;
    const auto self = std::find(members.begin(), members.end(), rank()) - members.begin();
    return std::make_unique<InProcessCommunicator>(static_cast<int>(self),
                                                   group_->subgroup(members, tag, nth));
  }

  [[nodiscard]] int world_rank() const {
    return group_->members()[static_cast<std::size_t>(rank())];
  }

  std::unique_ptr<InProcessRequest> begin() {
    group_->fabric().check_alive(world_rank());
    return std::make_unique<InProcessRequest>(group_->fabric(), world_rank());
  }

  std::unique_ptr<Request> call(Offer offer) {
    auto request = begin();
    request->add(group_->call(rank(), calls_++, std::move(offer)));
    request->open();
    return request;
  }

  std::shared_ptr<Group> group_;
  std::int64_t calls_ = 0;                                ///< collective calls made
  std::map<std::pair<std::vector<int>, int>, int> made_;  ///< subgroups per members and tag
};

/// Collects how the ranks end. Slot r is written by the thread of rank r only.
class Outcome {
 public:
  explicit Outcome(int size) : errors_(static_cast<std::size_t>(size)) {}

  std::exception_ptr& of(int rank) { return errors_[static_cast<std::size_t>(rank)]; }

  void rethrow_first(const Fabric& fabric) {
    if (fabric.culprit() < 0) return;
    if (of(fabric.culprit())) std::rethrow_exception(of(fabric.culprit()));
    throw SystemError(fabric.reason(), ExitCode::rank_lost);
  }

 private:
  std::vector<std::exception_ptr> errors_;
};

void run_rank(int rank, Fabric& fabric, const std::shared_ptr<Group>& world, Outcome& outcome,
              const std::function<void(Communicator&)>& body) {
  const std::string who = "rank " + std::to_string(rank) + ": ";
  try {
    InProcessCommunicator communicator(rank, world);
    body(communicator);
    fabric.note_return(rank);
  } catch (const std::exception& error) {
    outcome.of(rank) = std::current_exception();
    fabric.note_failure(rank, who + error.what());
  } catch (...) {
    outcome.of(rank) = std::current_exception();
    fabric.note_failure(rank, who + "an exception of unknown type");
  }
}

}  // namespace

void run_ranks(int size, int patience_ms, const std::function<void(Communicator&)>& body) {
  ALPA_CHECK(size >= 1 && patience_ms > 0);
  Fabric fabric(size, patience_ms);
  std::vector<int> members(static_cast<std::size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  const auto world = std::make_shared<Group>(fabric, members);
  Outcome outcome(size);
  {
    std::vector<std::jthread> threads;
    threads.reserve(members.size());
    for (const int rank : members) {
      threads.emplace_back(run_rank, rank, std::ref(fabric), std::cref(world), std::ref(outcome),
                           std::cref(body));
    }
  }
  outcome.rethrow_first(fabric);
}

void run_alone(const std::function<void(Communicator&)>& body) {
  constexpr int kNeverMs = 1 << 30;
  Fabric fabric(1, kNeverMs);
  InProcessCommunicator communicator(0, std::make_shared<Group>(fabric, std::vector<int>{0}));
  body(communicator);
}

}  // namespace alpa
