#include "alpa/comm/communicator.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

using std::chrono::microseconds;

void require(bool holds, const char* call, const std::string& what,
             SourceLine where = SourceLine::here()) {
  if (!holds) throw Error(ExitCode::bug, std::string(call) + ": " + what, where);
}

void require_rank(int rank, int size, const char* call, const char* name) {
  require(rank >= 0 && rank < size, call,
          std::string(name) + " " + std::to_string(rank) + " is not a rank of a group of " +
              std::to_string(size));
}

void require_bytes(std::size_t found, std::int64_t expected, const char* call, const char* name) {
  require(static_cast<std::int64_t>(found) == expected, call,
          std::string(name) + " has " + std::to_string(found) + " bytes, its sizes say " +
              std::to_string(expected));
}

/// Sum of one size per rank.
std::int64_t total(std::span<const std::int64_t> sizes, int ranks, const char* call) {
  require(std::ssize(sizes) == ranks, call,
          std::to_string(sizes.size()) + " sizes for " + std::to_string(ranks) + " ranks");
  for (const std::int64_t size : sizes) {
    require(size >= 0, call, "negative size " + std::to_string(size));
  }
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
}

void require_elements(std::int64_t bytes, DType dtype, const char* call) {
  require(
      bytes % size_of(dtype) == 0, call,
      std::to_string(bytes) + " bytes are not whole elements of " + std::string(to_string(dtype)));
}

/// Polls `polls` times, leaving the core in between, then sleeps: 10 us, doubling up to `longest`.
void wait_with(Request& request, int polls, microseconds longest) {
  for (int i = 0; i < polls; ++i) {
    if (request.test()) return;
    std::this_thread::yield();
  }
  for (microseconds nap{10}; !request.test(); nap = std::min(nap * 2, longest)) {
    std::this_thread::sleep_for(nap);
  }
}

}  // namespace

std::unique_ptr<Request> Communicator::all_reduce(std::span<std::byte> data, DType dtype,
                                                  Reduction op) {
  require_elements(std::ssize(data), dtype, "all_reduce");
  return do_all_reduce(data, dtype, op);
}

std::unique_ptr<Request> Communicator::all_gather(std::span<const std::byte> piece,
                                                  std::span<std::byte> whole,
                                                  std::span<const std::int64_t> sizes) {
  require_bytes(whole.size(), total(sizes, size_, "all_gather"), "all_gather", "whole");
  require_bytes(piece.size(), sizes[static_cast<std::size_t>(rank_)], "all_gather", "piece");
  return do_all_gather(piece, whole, sizes);
}

std::unique_ptr<Request> Communicator::reduce_scatter(std::span<const std::byte> whole,
                                                      std::span<std::byte> piece,
                                                      std::span<const std::int64_t> sizes,
                                                      DType dtype, Reduction op) {
  require_bytes(whole.size(), total(sizes, size_, "reduce_scatter"), "reduce_scatter", "whole");
  require_bytes(piece.size(), sizes[static_cast<std::size_t>(rank_)], "reduce_scatter", "piece");
  for (const std::int64_t size : sizes) require_elements(size, dtype, "reduce_scatter");
  return do_reduce_scatter(whole, piece, sizes, dtype, op);
}

std::unique_ptr<Request> Communicator::all_to_all(std::span<const std::byte> out,
                                                  std::span<const std::int64_t> out_sizes,
                                                  std::span<std::byte> in,
                                                  std::span<const std::int64_t> in_sizes) {
  require_bytes(out.size(), total(out_sizes, size_, "all_to_all"), "all_to_all", "out");
  require_bytes(in.size(), total(in_sizes, size_, "all_to_all"), "all_to_all", "in");
  const auto self = static_cast<std::size_t>(rank_);
  require(out_sizes[self] == in_sizes[self], "all_to_all",
          "rank " + std::to_string(rank_) + " sends itself " + std::to_string(out_sizes[self]) +
              " bytes but expects " + std::to_string(in_sizes[self]));
  return do_all_to_all(out, out_sizes, in, in_sizes);
}

std::unique_ptr<Request> Communicator::exchange(std::span<const Outgoing> out,
                                                std::span<const Incoming> in) {
  const auto check = [&](int peer, int tag) {
    require_rank(peer, size_, "exchange", "peer");
    require(tag >= 0 && tag < kTags, "exchange",
            "tag " + std::to_string(tag) + " is outside [0, 2^22)");
  };
  for (const Outgoing& message : out) check(message.peer, message.tag);
  for (const Incoming& message : in) check(message.peer, message.tag);
  return do_exchange(out, in);
}

std::unique_ptr<Communicator> Communicator::subgroup(std::span<const int> members, int tag) {
  require(tag >= 0 && tag < kTags, "subgroup",
          "tag " + std::to_string(tag) + " is outside [0, 2^22)");
  for (const int member : members) require_rank(member, size_, "subgroup", "member");
  const bool ascending = std::is_sorted(members.begin(), members.end()) &&
                         std::adjacent_find(members.begin(), members.end()) == members.end();
  require(ascending, "subgroup", "members must ascend and be distinct");
  require(std::binary_search(members.begin(), members.end(), rank_), "subgroup",
          "rank " + std::to_string(rank_) + " is not one of the members");
  return do_subgroup(members, tag);
}

void Communicator::barrier() {
  std::int32_t nothing = 0;
  wait(*all_reduce(std::as_writable_bytes(std::span(&nothing, 1)), DType::i32, Reduction::sum));
}

void Communicator::broadcast(std::vector<std::byte>& data, int root) {
  require_rank(root, size_, "broadcast", "root");
  // The length goes first; 64 bits as raw bytes.
  std::array<std::byte, sizeof(std::int64_t)> raw{};
  std::int64_t length = std::ssize(data);
  std::memcpy(raw.data(), &length, raw.size());
  do_broadcast(raw, root);
  std::memcpy(&length, raw.data(), raw.size());
  data.resize(static_cast<std::size_t>(length));
  if (length > 0) do_broadcast(data, root);
}

/// As an all_gather to which only the root contributes.
void Communicator::do_broadcast(std::span<std::byte> data, int root) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(size_), 0);
  sizes[static_cast<std::size_t>(root)] = std::ssize(data);
  const std::span<const std::byte> piece = rank_ == root ? data : data.first(0);
  wait_asleep(*all_gather(piece, data, sizes));
}

void wait(Request& request) { wait_with(request, 100, microseconds(100)); }

void wait_asleep(Request& request) { wait_with(request, 10, microseconds(2000)); }

}  // namespace alpa
