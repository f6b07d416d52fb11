#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "alpa/base/dtype.hpp"

namespace alpa {

enum class Reduction : std::uint8_t { sum, max };

/// One message of an exchange: `data` goes to or comes from rank `peer` of the communicator.
/// Messages between two ranks with one tag are matched in the order of the calls.
struct Outgoing {
  int peer = 0;
  int tag = 0;
  std::span<const std::byte> data;
};
struct Incoming {
  int peer = 0;
  int tag = 0;
  std::span<std::byte> data;
};

/// Work that a communicator has begun. Buffers belong to it until `test` has returned true.
class Request {
 public:
  Request() = default;
  virtual ~Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  /// Makes progress; true once complete (and from then on). Never blocks.
  [[nodiscard]] virtual bool test() = 0;
};

/// An ordered group of ranks that exchange host memory. Every collective is issued by all members in
/// the same order with sizes that agree; several may be open at once. The reduction order is fixed
/// (or, in the MPI back end, by the library from size and rank alone), so every member gets the same
/// bits, in every run. One thread per rank calls it.
///
/// Sizes are checked here, once, so that a back end can trust them: a call that breaks its own
/// contract throws Error with ExitCode::bug. Pieces may be empty. Counts are 64 bit throughout.
class Communicator {
 public:
  /// Tags of messages and groups lie in [0, kTags): what Open MPI allows over InfiniBand, halved.
  static constexpr int kTags = 1 << 22;

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return size_; }

  /// data[i] <- reduction over ranks of data[i]. bf16 and f16 are added up in f32, then rounded (over
  /// MPI at each addition).
  [[nodiscard]] std::unique_ptr<Request> all_reduce(std::span<std::byte> data, DType dtype,
                                                    Reduction op);

  /// whole = piece of rank 0 ++ piece of rank 1 ++ ...; `sizes[r]` bytes each.
  /// @pre |piece| = sizes[rank()], |whole| = sum of sizes; `piece` may lie inside `whole` at its place
  [[nodiscard]] std::unique_ptr<Request> all_gather(std::span<const std::byte> piece,
                                                    std::span<std::byte> whole,
                                                    std::span<const std::int64_t> sizes);

  /// `whole` as in all_gather, on every rank; piece <- reduction over ranks of this rank's part.
  /// @pre every size is a multiple of the element size; `piece` does not overlap `whole`
  [[nodiscard]] std::unique_ptr<Request> reduce_scatter(std::span<const std::byte> whole,
                                                        std::span<std::byte> piece,
                                                        std::span<const std::int64_t> sizes,
                                                        DType dtype, Reduction op);

  /// Parts of `out` in rank order (`out_sizes` bytes each) go to the ranks; `in` likewise.
  /// @pre in_sizes[s] here = out_sizes[rank()] on rank s; the buffers do not overlap
  [[nodiscard]] std::unique_ptr<Request> all_to_all(std::span<const std::byte> out,
                                                    std::span<const std::int64_t> out_sizes,
                                                    std::span<std::byte> in,
                                                    std::span<const std::int64_t> in_sizes);

  /// Sends and receives at once; complete when all of them are. A send may complete only once its
  /// receive has been posted. @pre tags in [0, kTags); both sides give one message the same size
  [[nodiscard]] std::unique_ptr<Request> exchange(std::span<const Outgoing> out,
                                                  std::span<const Incoming> in);

  /// A communicator of `members` (ranks of this one, ascending, containing this rank); collective
  /// over the members alone. `tag` in [0, kTags) tells apart groups made at the same time. It must
  /// not outlive this one.
  [[nodiscard]] std::unique_ptr<Communicator> subgroup(std::span<const int> members, int tag);

  /// Waits for every member.
  void barrier();

  /// Bytes that rank `root` has, on every rank (others' `data` is replaced, length included). Ranks
  /// that wait sleep rather than spin: they may wait for minutes while rank 0 plans.
  void broadcast(std::vector<std::byte>& data, int root);

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

 private:
  [[nodiscard]] virtual std::unique_ptr<Request> do_all_reduce(std::span<std::byte> data,
                                                               DType dtype, Reduction op) = 0;
  [[nodiscard]] virtual std::unique_ptr<Request> do_all_gather(
      std::span<const std::byte> piece, std::span<std::byte> whole,
      std::span<const std::int64_t> sizes) = 0;
  [[nodiscard]] virtual std::unique_ptr<Request> do_reduce_scatter(
      std::span<const std::byte> whole, std::span<std::byte> piece,
      std::span<const std::int64_t> sizes, DType dtype, Reduction op) = 0;
  [[nodiscard]] virtual std::unique_ptr<Request> do_all_to_all(
      std::span<const std::byte> out, std::span<const std::int64_t> out_sizes,
      std::span<std::byte> in, std::span<const std::int64_t> in_sizes) = 0;
  [[nodiscard]] virtual std::unique_ptr<Request> do_exchange(std::span<const Outgoing> out,
                                                             std::span<const Incoming> in) = 0;
  [[nodiscard]] virtual std::unique_ptr<Communicator> do_subgroup(std::span<const int> members,
                                                                  int tag) = 0;
  /// `data` has its final size on every rank; blocks.
  virtual void do_broadcast(std::span<std::byte> data, int root);

  int rank_;
  int size_;
};

/// Blocks until the request is complete, backing off from polling to sleeps of 100 us.
void wait(Request& request);

/// The same for waits that may be long: backs off to sleeps of 2 ms and leaves the core to others.
void wait_asleep(Request& request);

/// Runs `body` once per rank, each on its own thread of this process, with a communicator over all
/// of them. A call that the other ranks do not match (another call or other sizes in its place, a
/// member that has returned, or no rank getting anywhere for `patience_ms`) throws SystemError that
/// says who waits where. After an error on any rank, all calls of the others throw; the first error
/// is rethrown here once all threads have ended. The communicators end with `body`.
void run_ranks(int size, int patience_ms, const std::function<void(Communicator&)>& body);

/// Runs `body` as the only rank, on the calling thread. Catches nothing: an exception reaches the
/// terminate handler with the stack still standing, as it does under MPI.
void run_alone(const std::function<void(Communicator&)>& body);

}  // namespace alpa
