#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <mpi.h>

#include "alpa/base/error.hpp"
#include "alpa/comm/mpi.hpp"

#include "mpi/check.hpp"
#include "mpi/operations.hpp"

namespace alpa {
namespace {

/// Of all_to_all: just above the tags of exchanges.
constexpr int kAllToAllTag = Communicator::kTags;

/// MPI requests that are complete together, and the arrays MPI reads until then.
class MpiRequest final : public Request {
 public:
  MpiRequest() : exceptions_(std::uncaught_exceptions()) {}

  /// An error on its way may leave it incomplete, since the process ends; nothing else may.
  ~MpiRequest() override {
    ALPA_CHECK(requests_.empty() || std::uncaught_exceptions() > exceptions_);
  }

  /// Where the next MPI call puts its request.
  [[nodiscard]] MPI_Request* next() {
    receives_.push_back({});
    return &requests_.emplace_back(MPI_REQUEST_NULL);
  }

  /// The same for a receive, which must bring exactly `bytes`.
  [[nodiscard]] MPI_Request* next_receive(int peer, int tag, int bytes) {
    receives_.push_back({peer, tag, bytes});
    return &requests_.emplace_back(MPI_REQUEST_NULL);
  }

  /// Kept as long as the request.
  [[nodiscard]] const int* keep(std::vector<int> numbers) {
    return kept_.emplace_back(std::move(numbers)).data();
  }

  [[nodiscard]] bool test() override {
    if (requests_.empty()) return true;
    int done = 0;
    statuses_.resize(requests_.size());
    const int result =
        MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses_.data());
    if (result == MPI_SUCCESS && done == 0) return false;
    for (std::size_t i = 0; i < statuses_.size(); ++i) check(receives_[i], statuses_[i], result);
    check_mpi(result, "MPI_Testall");
    requests_.clear();
    return true;
  }

 private:
  struct Receive {
    int peer = -1;  ///< -1: not a receive
    int tag = 0;
    int bytes = 0;
  };

  /// @param result of MPI_Testall, which says whether the error of `status` is set
  static void check(const Receive& receive, const MPI_Status& status, int result) {
    const bool failed = result == MPI_ERR_IN_STATUS && status.MPI_ERROR != MPI_ERR_PENDING;
    const int error = failed ? status.MPI_ERROR : MPI_SUCCESS;
    if (receive.peer < 0) return check_mpi(error, "an MPI operation");
    const std::string what = "receive of " + std::to_string(receive.bytes) + " bytes from rank " +
                             std::to_string(receive.peer) + " of the group (tag " +
                             std::to_string(receive.tag) + ")";
    check_mpi(error, what.c_str());
    int found = 0;
    if (result == MPI_SUCCESS) check_mpi(MPI_Get_count(&status, MPI_BYTE, &found), "MPI_Get_count");
    if (result == MPI_SUCCESS && found != receive.bytes) {
      throw SystemError(what + ": the message has " + std::to_string(found) + " bytes",
                        ExitCode::rank_lost);
    }
  }

  int exceptions_;
  std::vector<MPI_Request> requests_;
  std::vector<Receive> receives_;  ///< one per request
  std::vector<MPI_Status> statuses_;
  std::vector<std::vector<int>> kept_;
};

std::int64_t sum(std::span<const std::int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
}

/// Sizes in units of `unit` bytes. @pre they fit
std::vector<int> counts_of(std::span<const std::int64_t> sizes, std::int64_t unit) {
  std::vector<int> counts;
  for (const std::int64_t size : sizes) counts.push_back(static_cast<int>(size / unit));
  return counts;
}

std::vector<int> offsets_of(std::span<const std::int64_t> sizes) {
  std::vector<int> offsets;
  int offset = 0;
  for (const std::int64_t size : sizes) {
    offsets.push_back(offset);
    offset += static_cast<int>(size);
  }
  return offsets;
}

class MpiCommunicator final : public Communicator {
 public:
  /// Takes over `handle`.
  MpiCommunicator(MPI_Comm handle, int rank, int size, std::int64_t largest_count)
      : Communicator(rank, size),
        handle_(handle),
        largest_count_(largest_count),
        exceptions_(std::uncaught_exceptions()) {}

  ~MpiCommunicator() override {
    if (std::uncaught_exceptions() > exceptions_) return;
    MPI_Comm_free(&handle_);
  }

 private:
  std::unique_ptr<Request> do_all_reduce(std::span<std::byte> data, DType dtype,
                                         Reduction op) override {
    auto request = std::make_unique<MpiRequest>();
    const std::int64_t width = size_of(dtype);
    for_each_chunk(std::ssize(data) / width, largest_count_, [&](std::int64_t first, int count) {
      check_mpi(MPI_Iallreduce(MPI_IN_PLACE, data.data() + first * width, count, mpi_type(dtype),
                               mpi_op(dtype, op), handle_, request->next()),
                "MPI_Iallreduce");
    });
    return request;
  }

  std::unique_ptr<Request> do_all_gather(std::span<const std::byte> piece,
                                         std::span<std::byte> whole,
                                         std::span<const std::int64_t> sizes) override {
    auto request = std::make_unique<MpiRequest>();
    const auto before = sizes.first(static_cast<std::size_t>(rank()));
    std::byte* const place = whole.data() + sum(before);
    if (!piece.empty() && piece.data() != place) std::memcpy(place, piece.data(), piece.size());
    if (std::ssize(whole) <= largest_count_) {
      check_mpi(MPI_Iallgatherv(
                    MPI_IN_PLACE, 0, MPI_BYTE, whole.data(), request->keep(counts_of(sizes, 1)),
                    request->keep(offsets_of(sizes)), MPI_BYTE, handle_, request->next()),
                "MPI_Iallgatherv");
      return request;
    }
    // Displacements of Iallgatherv are int.
    std::byte* part = whole.data();
    for (int root = 0; root < size(); ++root) {
      const std::int64_t bytes = sizes[static_cast<std::size_t>(root)];
      start_broadcast(std::span(part, static_cast<std::size_t>(bytes)), root, *request);
      part += bytes;
    }
    return request;
  }

  std::unique_ptr<Request> do_reduce_scatter(std::span<const std::byte> whole,
                                             std::span<std::byte> piece,
                                             std::span<const std::int64_t> sizes, DType dtype,
                                             Reduction op) override {
    auto request = std::make_unique<MpiRequest>();
    const std::int64_t width = size_of(dtype);
    if (std::ssize(whole) / width <= largest_count_) {
      check_mpi(
          MPI_Ireduce_scatter(whole.data(), piece.data(), request->keep(counts_of(sizes, width)),
                              mpi_type(dtype), mpi_op(dtype, op), handle_, request->next()),
          "MPI_Ireduce_scatter");
      return request;
    }
    // The library adds the counts up in int.
    const std::byte* part = whole.data();
    for (int root = 0; root < size(); ++root) {
      const std::int64_t bytes = sizes[static_cast<std::size_t>(root)];
      for_each_chunk(bytes / width, largest_count_, [&](std::int64_t first, int count) {
        std::byte* const result = root == rank() ? piece.data() + first * width : nullptr;
        check_mpi(MPI_Ireduce(part + first * width, result, count, mpi_type(dtype),
                              mpi_op(dtype, op), root, handle_, request->next()),
                  "MPI_Ireduce");
      });
      part += bytes;
    }
    return request;
  }

  /// As messages: whether the counts fit in int cannot be agreed on without asking the others.
  std::unique_ptr<Request> do_all_to_all(std::span<const std::byte> out,
                                         std::span<const std::int64_t> out_sizes,
                                         std::span<std::byte> in,
                                         std::span<const std::int64_t> in_sizes) override {
    auto request = std::make_unique<MpiRequest>();
    const auto part = [](std::span<const std::int64_t> sizes, int peer) {
      const auto p = static_cast<std::size_t>(peer);
      return std::pair(static_cast<std::size_t>(sum(sizes.first(p))),
                       static_cast<std::size_t>(sizes[p]));
    };
    const auto [own_out, own_size] = part(out_sizes, rank());
    const auto [own_in, unused] = part(in_sizes, rank());
    if (own_size > 0) std::memcpy(in.data() + own_in, out.data() + own_out, own_size);
    for (int step = 1; step < size(); ++step) {
      const int peer = (rank() - step + size()) % size();
      const auto [begin, bytes] = part(in_sizes, peer);
      if (bytes == 0) continue;  // the sender knows
      start_receive(in.subspan(begin, bytes), peer, kAllToAllTag, *request);
    }
    for (int step = 1; step < size(); ++step) {
      const int peer = (rank() + step) % size();
      const auto [begin, bytes] = part(out_sizes, peer);
      if (bytes == 0) continue;
      start_send(out.subspan(begin, bytes), peer, kAllToAllTag, *request);
    }
    return request;
  }

  std::unique_ptr<Request> do_exchange(std::span<const Outgoing> out,
                                       std::span<const Incoming> in) override {
    auto request = std::make_unique<MpiRequest>();
    for (const Incoming& message : in) {
      start_receive(message.data, message.peer, message.tag, *request);
    }
    for (const Outgoing& message : out) {
      start_send(message.data, message.peer, message.tag, *request);
    }
    return request;
  }

  std::unique_ptr<Communicator> do_subgroup(std::span<const int> members, int tag) override {
    MPI_Group all = MPI_GROUP_NULL;
    MPI_Group some = MPI_GROUP_NULL;
    MPI_Comm handle = MPI_COMM_NULL;
    check_mpi(MPI_Comm_group(handle_, &all), "MPI_Comm_group");
    check_mpi(MPI_Group_incl(all, static_cast<int>(members.size()), members.data(), &some),
              "MPI_Group_incl");
    check_mpi(MPI_Comm_create_group(handle_, some, tag, &handle), "MPI_Comm_create_group");
    check_mpi(MPI_Group_free(&some), "MPI_Group_free");
    check_mpi(MPI_Group_free(&all), "MPI_Group_free");
    check_mpi(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    const auto self = std::find(members.begin(), members.end(), rank()) - members.begin();
    return std::make_unique<MpiCommunicator>(handle, static_cast<int>(self),
                                             static_cast<int>(members.size()), largest_count_);
  }

  void do_broadcast(std::span<std::byte> data, int root) override {
    MpiRequest request;
    start_broadcast(data, root, request);
    wait_asleep(request);
  }

  void start_broadcast(std::span<std::byte> data, int root, MpiRequest& request) {
    for_each_chunk(std::ssize(data), largest_count_, [&](std::int64_t first, int count) {
      check_mpi(MPI_Ibcast(data.data() + first, count, MPI_BYTE, root, handle_, request.next()),
                "MPI_Ibcast");
    });
  }

  void start_send(std::span<const std::byte> data, int peer, int tag, MpiRequest& request) {
    for_each_message(std::ssize(data), [&](std::int64_t first, int count) {
      check_mpi(MPI_Isend(data.data() + first, count, MPI_BYTE, peer, tag, handle_, request.next()),
                "MPI_Isend");
    });
  }

  void start_receive(std::span<std::byte> data, int peer, int tag, MpiRequest& request) {
    for_each_message(std::ssize(data), [&](std::int64_t first, int count) {
      check_mpi(MPI_Irecv(data.data() + first, count, MPI_BYTE, peer, tag, handle_,
                          request.next_receive(peer, tag, count)),
                "MPI_Irecv");
    });
  }

  /// Chunks of one message in order; an empty message is one empty chunk.
  template <class Body>
  void for_each_message(std::int64_t bytes, const Body& body) const {
    if (bytes == 0) return body(0, 0);
    for_each_chunk(bytes, largest_count_, body);
  }

  MPI_Comm handle_;
  std::int64_t largest_count_;  ///< of one MPI call
  int exceptions_;              ///< in flight when built
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(std::int64_t largest_count) {
  ALPA_CHECK(largest_count >= 1 && largest_count <= std::int64_t{1} << 30);
  int started = 0;
  int ended = 0;
  check_mpi(MPI_Initialized(&started), "MPI_Initialized");
  check_mpi(MPI_Finalized(&ended), "MPI_Finalized");
  ALPA_CHECK(started != 0 && ended == 0);

  MPI_Comm handle = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &handle), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  int* largest_tag = nullptr;
  int found = 0;
  check_mpi(MPI_Comm_get_attr(handle, MPI_TAG_UB, &largest_tag, &found), "MPI_Comm_get_attr");
  if (found == 0 || *largest_tag < kAllToAllTag) {
    throw SystemError("this MPI allows tags up to " +
                          std::to_string(found == 0 ? 0 : *largest_tag) + ", needed " +
                          std::to_string(kAllToAllTag) +
                          "; with Open MPI choose another transport (OMPI_MCA_pml=ob1)",
                      ExitCode::configuration);
  }
  int rank = 0;
  int size = 0;
  check_mpi(MPI_Comm_rank(handle, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(handle, &size), "MPI_Comm_size");
  return std::make_unique<MpiCommunicator>(handle, rank, size, largest_count);
}

}  // namespace alpa
