#include "comm/laws.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <time.h>

#include <gtest/gtest.h>

#include "alpa/base/low_precision.hpp"

namespace alpa::test {
namespace {

using Sizes = std::vector<std::int64_t>;

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::i32;
}

template <class T>
std::span<std::byte> bytes(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

std::size_t index(int i) { return static_cast<std::size_t>(i); }

/// Element i of rank r: not symmetric in the ranks, of both signs, exact in every dtype when
/// summed.
template <class T>
T value(int rank, std::size_t i) {
  const auto mixed = static_cast<int>((i * 7 + index(rank) * 13) % 101);
  return static_cast<T>(mixed - 50);
}

template <class T>
std::vector<T> values(int rank, std::size_t n) {
  std::vector<T> result(n);
  for (std::size_t i = 0; i < n; ++i) result[i] = value<T>(rank, i);
  return result;
}

template <class T>
std::vector<T> reduced(int ranks, std::size_t n, Reduction op) {
  std::vector<T> result = values<T>(0, n);
  for (int r = 1; r < ranks; ++r) {
    for (std::size_t i = 0; i < n; ++i) {
      const T next = value<T>(r, i);
      result[i] = op == Reduction::sum ? result[i] + next : std::max(result[i], next);
    }
  }
  return result;
}

/// n elements of `width` bytes over p ranks as DESIGN cuts them: [n i / p, n (i+1) / p).
Sizes pieces(std::size_t n, int p, std::size_t width) {
  Sizes sizes;
  for (int i = 0; i < p; ++i) {
    const std::size_t count = n * index(i + 1) / index(p) - n * index(i) / index(p);
    sizes.push_back(static_cast<std::int64_t>(count * width));
  }
  return sizes;
}

std::size_t begin_of(const Sizes& sizes, int rank) {
  return static_cast<std::size_t>(
      std::accumulate(sizes.begin(), sizes.begin() + rank, std::int64_t{0}));
}

constexpr std::size_t kLengths[] = {0, 1, 3, 64, 1023, 100'003};

template <class T>
void all_reduce_of(Communicator& comm) {
  for (const std::size_t n : kLengths) {
    for (const Reduction op : {Reduction::sum, Reduction::max}) {
      std::vector<T> data = values<T>(comm.rank(), n);
      wait(*comm.all_reduce(bytes(data), dtype_of<T>(), op));
      EXPECT_EQ(data, reduced<T>(comm.size(), n, op)) << n << " elements";
    }
  }
}

void all_reduce(Communicator& comm) {
  all_reduce_of<double>(comm);
  all_reduce_of<float>(comm);
  all_reduce_of<std::int32_t>(comm);
}

/// Numbers of 16 bits: value(rank, i) / 64, whose sums over ranks bf16 and f16 hold or round.
std::vector<std::uint16_t> low_values(int rank, std::size_t n, DType dtype) {
  std::vector<std::uint16_t> result(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float exact = value<float>(rank, i) / 64.0F;
    result[i] = dtype == DType::bf16 ? to_bf16(exact) : to_f16(exact);
  }
  return result;
}

float low_number(std::uint16_t bits, DType dtype) {
  return dtype == DType::bf16 ? from_bf16(bits) : from_f16(bits);
}

/// Each addition may round once: by half of a unit in the last place of what is added up.
void expect_low_sums(const std::vector<std::uint16_t>& found, std::size_t begin, int ranks,
                     DType dtype, Reduction op) {
  const float unit = dtype == DType::bf16 ? 0x1p-8F : 0x1p-11F;
  for (std::size_t i = 0; i < found.size(); ++i) {
    float expected = 0.0F, size = 0.0F;
    for (int r = 0; r < ranks; ++r) {
      const float next = value<float>(r, begin + i) / 64.0F;
      expected = op == Reduction::sum ? expected + next : r == 0 ? next : std::max(expected, next);
      size += std::abs(next);
    }
    const float allowed = op == Reduction::sum ? unit * static_cast<float>(ranks) * size : 0.0F;
    ASSERT_LE(std::abs(low_number(found[i], dtype) - expected), allowed) << i;
  }
}

void low_reductions(Communicator& comm) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const Reduction op : {Reduction::sum, Reduction::max}) {
      for (const std::size_t n : kLengths) {
        std::vector<std::uint16_t> data = low_values(comm.rank(), n, dtype);
        const std::vector<std::uint16_t> mine = data;
        wait(*comm.all_reduce(bytes(data), dtype, op));
        expect_low_sums(data, 0, comm.size(), dtype, op);
        const Sizes sizes = pieces(n, comm.size(), 2);
        const std::size_t begin = begin_of(sizes, comm.rank()) / 2;
        std::vector<std::uint16_t> piece(static_cast<std::size_t>(sizes[index(comm.rank())]) / 2);
        wait(*comm.reduce_scatter(std::as_bytes(std::span(mine)), bytes(piece), sizes, dtype, op));
        expect_low_sums(piece, begin, comm.size(), dtype, op);
      }
    }
  }
  std::vector<std::uint16_t> large = {to_f16(60000.0F)};
  wait(*comm.all_reduce(bytes(large), DType::f16, Reduction::sum));
  EXPECT_EQ(std::isinf(from_f16(large[0])), comm.size() > 1);
}

/// Values whose sum depends on the order: all ranks get the bits of rank 0, twice.
void all_reduce_gives_equal_bits(Communicator& comm) {
  const std::size_t n = 20'000;
  std::vector<float> mine(n);
  for (std::size_t i = 0; i < n; ++i) {
    mine[i] = std::sin(static_cast<float>(i) + 1.7F * static_cast<float>(comm.rank()));
  }
  std::vector<float> first = mine;
  std::vector<float> second = mine;
  wait(*comm.all_reduce(bytes(first), DType::f32, Reduction::sum));
  wait(*comm.all_reduce(bytes(second), DType::f32, Reduction::sum));
  EXPECT_EQ(first, second);
  std::vector<std::byte> of_root(bytes(first).begin(), bytes(first).end());
  comm.broadcast(of_root, 0);
  EXPECT_EQ(std::memcmp(of_root.data(), first.data(), of_root.size()), 0);
}

void max_keeps_nan(Communicator& comm) {
  std::vector<double> data = {1.0, 2.0};
  if (comm.rank() == comm.size() - 1) data[0] = std::nan("");
  wait(*comm.all_reduce(bytes(data), DType::f64, Reduction::max));
  EXPECT_TRUE(std::isnan(data[0]));
  EXPECT_EQ(data[1], 2.0);
}

template <class T>
void scatter_then_gather(Communicator& comm, const Sizes& sizes, std::size_t n, Reduction op) {
  const std::vector<T> mine = values<T>(comm.rank(), n);
  std::vector<T> piece(static_cast<std::size_t>(sizes[index(comm.rank())]) / sizeof(T));
  std::vector<T> whole(n, T{-1});
  wait(
      *comm.reduce_scatter(std::as_bytes(std::span(mine)), bytes(piece), sizes, dtype_of<T>(), op));
  wait(*comm.all_gather(bytes(piece), bytes(whole), sizes));
  EXPECT_EQ(whole, reduced<T>(comm.size(), n, op));
  EXPECT_EQ(mine, values<T>(comm.rank(), n)) << "reduce_scatter changed its input";
}

/// reduce_scatter, then all_gather = all_reduce, for pieces of unequal size.
void scatter_and_gather_is_all_reduce(Communicator& comm) {
  for (const std::size_t n : kLengths) {
    for (const Reduction op : {Reduction::sum, Reduction::max}) {
      scatter_then_gather<double>(comm, pieces(n, comm.size(), 8), n, op);
      scatter_then_gather<float>(comm, pieces(n, comm.size(), 4), n, op);
      scatter_then_gather<std::int32_t>(comm, pieces(n, comm.size(), 4), n, op);
    }
  }
  // All of it on the last rank.
  Sizes lopsided(index(comm.size()), 0);
  lopsided.back() = 4 * 40;
  scatter_then_gather<float>(comm, lopsided, 40, Reduction::sum);
}

void all_gather_in_place(Communicator& comm) {
  for (const std::size_t n : kLengths) {
    const Sizes sizes = pieces(n, comm.size(), 1);
    const std::size_t begin = begin_of(sizes, comm.rank());
    const auto length = static_cast<std::size_t>(sizes[index(comm.rank())]);
    std::vector<std::byte> whole(n, std::byte{0xff});
    for (std::size_t i = begin; i < begin + length; ++i) whole[i] = std::byte(i % 251);
    const std::span<std::byte> piece = std::span(whole).subspan(begin, length);
    wait(*comm.all_gather(piece, whole, sizes));
    for (std::size_t i = 0; i < n; ++i) {
      if (whole[i] != std::byte(i % 251)) {
        ADD_FAILURE() << "byte " << i << " of " << n;
        break;
      }
    }
  }
}

/// Rank s sends (3 s + 2 r) mod 5 * scale elements to rank r, each saying whence and whither.
void all_to_all_transposes(Communicator& comm) {
  const auto count = [](int from, int to, std::size_t scale) {
    return (index(from) * 3 + index(to) * 2) % 5 * scale;  // 0 for some pairs
  };
  for (const std::size_t scale : {std::size_t{1}, std::size_t{10'000}}) {
    std::vector<std::int32_t> out;
    std::vector<std::int32_t> expected;
    Sizes out_sizes;
    Sizes in_sizes;
    for (int peer = 0; peer < comm.size(); ++peer) {
      const std::size_t sent = count(comm.rank(), peer, scale);
      const std::size_t received = count(peer, comm.rank(), scale);
      out_sizes.push_back(static_cast<std::int64_t>(sent * 4));
      in_sizes.push_back(static_cast<std::int64_t>(received * 4));
      out.insert(out.end(), sent, comm.rank() * 100 + peer);
      expected.insert(expected.end(), received, peer * 100 + comm.rank());
    }
    std::vector<std::int32_t> in(expected.size(), -1);
    wait(*comm.all_to_all(bytes(out), out_sizes, bytes(in), in_sizes));
    EXPECT_EQ(in, expected);
    // There and back is the identity.
    std::vector<std::int32_t> back(out.size(), -1);
    wait(*comm.all_to_all(bytes(in), in_sizes, bytes(back), out_sizes));
    EXPECT_EQ(back, out);
  }
}

/// Everybody sends to the right and receives from the left at once: a rendezvous must not hang.
void ring_exchange(Communicator& comm) {
  const int right = (comm.rank() + 1) % comm.size();
  const int left = (comm.rank() + comm.size() - 1) % comm.size();
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{300'000}}) {
    const std::vector<float> out = values<float>(comm.rank(), n);
    std::vector<float> in(n, -1.0F);
    const Outgoing send{right, 5, std::as_bytes(std::span(out))};
    const Incoming receive{left, 5, bytes(in)};
    wait(*comm.exchange({&send, 1}, {&receive, 1}));
    EXPECT_EQ(in, values<float>(left, n));
  }
}

/// Tags tell messages apart whatever the order; one tag keeps the order. Rank 0 sends to all.
void tags_and_order(Communicator& comm) {
  std::vector<std::int32_t> numbers = {10, 20, 30};
  const auto part = [&](std::size_t i) { return bytes(numbers).subspan(4 * i, 4); };
  std::vector<std::unique_ptr<Request>> open;
  if (comm.rank() == 0) {
    for (int peer = 1; peer < comm.size(); ++peer) {
      const std::vector<Outgoing> sends = {
          {peer, 1, part(0)}, {peer, 2, part(1)}, {peer, 1, part(2)}};
      open.push_back(comm.exchange(sends, {}));
    }
  } else {
    numbers = {0, 0, 0};
    const Incoming tag_two{0, 2, part(1)};
    open.push_back(comm.exchange({}, {&tag_two, 1}));
    const std::vector<Incoming> tag_one = {{0, 1, part(0)}, {0, 1, part(2)}};
    open.push_back(comm.exchange({}, tag_one));
  }
  for (const auto& request : open) wait(*request);
  EXPECT_EQ(numbers, (std::vector<std::int32_t>{10, 20, 30}));
}

void exchange_with_itself(Communicator& comm) {
  const std::vector<std::int32_t> out = values<std::int32_t>(comm.rank(), 33);
  std::vector<std::int32_t> in(33, -1);
  const Outgoing send{comm.rank(), 0, std::as_bytes(std::span(out))};
  const Incoming receive{comm.rank(), 0, bytes(in)};
  wait(*comm.exchange({&send, 1}, {&receive, 1}));
  EXPECT_EQ(in, out);
}

/// A receive posted long before its send, with collectives in between.
void early_receives(Communicator& comm) {
  if (comm.size() < 2) return;
  const int last = comm.size() - 1;
  std::vector<double> data = values<double>(0, 50'000);
  std::unique_ptr<Request> request;
  if (comm.rank() == last) {
    data.assign(50'000, -1.0);
    const Incoming receive{0, 9, bytes(data)};
    request = comm.exchange({}, {&receive, 1});
    EXPECT_FALSE(request->test());
  }
  comm.barrier();
  if (comm.rank() == 0) {
    const Outgoing send{last, 9, bytes(data)};
    request = comm.exchange({&send, 1}, {});
  }
  comm.barrier();
  if (request) wait(*request);
  EXPECT_EQ(data, values<double>(0, 50'000));
}

/// Many collectives open at once, completed in another order on every rank.
void many_open_at_once(Communicator& comm) {
  const int count = 40;
  std::vector<std::vector<float>> data;
  std::vector<std::unique_ptr<Request>> open;
  data.reserve(index(count));
  for (int k = 0; k < count; ++k) {
    data.push_back(values<float>(comm.rank(), index(k * 100)));
    open.push_back(comm.all_reduce(bytes(data.back()), DType::f32, Reduction::sum));
  }
  std::vector<int> order(index(count));
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin(), order.begin() + comm.rank() * 7 % count, order.end());
  if (comm.rank() % 2 == 1) std::reverse(order.begin(), order.end());
  for (const int k : order) wait(*open[index(k)]);
  for (int k = 0; k < count; ++k) {
    EXPECT_EQ(data[index(k)], reduced<float>(comm.size(), index(k * 100), Reduction::sum));
  }
}

/// A complete request stays complete.
void test_is_idempotent(Communicator& comm) {
  std::vector<std::int32_t> data = {1};
  const auto request = comm.all_reduce(bytes(data), DType::i32, Reduction::sum);
  wait(*request);
  EXPECT_TRUE(request->test());
  EXPECT_TRUE(request->test());
  EXPECT_EQ(data[0], comm.size());
}

/// Even and odd ranks reduce at once, with the whole group's call open around them.
void subgroups(Communicator& comm) {
  std::vector<int> mine;
  for (int r = comm.rank() % 2; r < comm.size(); r += 2) mine.push_back(r);
  const auto half = comm.subgroup(mine, comm.rank() % 2);
  EXPECT_EQ(half->size(), static_cast<int>(mine.size()));
  EXPECT_EQ(mine[index(half->rank())], comm.rank());

  std::vector<std::int32_t> all = {comm.rank()};
  std::vector<std::int32_t> some = {comm.rank()};
  const auto outer = comm.all_reduce(bytes(all), DType::i32, Reduction::sum);
  const auto inner = half->all_reduce(bytes(some), DType::i32, Reduction::sum);
  wait(*inner);
  wait(*outer);
  EXPECT_EQ(some[0], std::accumulate(mine.begin(), mine.end(), 0));
  EXPECT_EQ(all[0], comm.size() * (comm.size() - 1) / 2);
}

/// Messages and calls of a group do not mix with those of another of the same ranks, and a group
/// can be made of a group.
void groups_are_apart(Communicator& comm) {
  std::vector<int> everyone(index(comm.size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  const auto first = comm.subgroup(everyone, 3);
  const auto second = comm.subgroup(everyone, 3);
  const auto nested = second->subgroup(everyone, 0);
  std::vector<std::int32_t> in(3, -1);
  const std::vector<std::int32_t> out = {1, 2, 3};
  const int right = (comm.rank() + 1) % comm.size();
  const int left = (comm.rank() + comm.size() - 1) % comm.size();
  std::vector<std::unique_ptr<Request>> open;
  const auto receive = [&](Communicator& group, std::size_t i) {
    const Incoming message{left, 0, bytes(in).subspan(4 * i, 4)};
    open.push_back(group.exchange({}, {&message, 1}));
  };
  const auto send = [&](Communicator& group, std::size_t i) {
    const Outgoing message{right, 0, std::as_bytes(std::span(out)).subspan(4 * i, 4)};
    open.push_back(group.exchange({&message, 1}, {}));
  };
  receive(*first, 0);
  receive(*second, 1);
  receive(*nested, 2);
  send(*nested, 2);
  send(*second, 1);
  send(*first, 0);
  for (const auto& request : open) wait(*request);
  EXPECT_EQ(in, out);
}

void group_of_one(Communicator& comm) {
  const int self = comm.rank();
  const auto alone = comm.subgroup({&self, 1}, 0);
  EXPECT_EQ(alone->size(), 1);
  std::vector<double> data = {4.0};
  wait(*alone->all_reduce(bytes(data), DType::f64, Reduction::sum));
  alone->barrier();
  EXPECT_EQ(data[0], 4.0);
}

void broadcast(Communicator& comm) {
  for (int root = 0; root < comm.size(); ++root) {
    for (const std::size_t n : {std::size_t{0}, std::size_t{5}, std::size_t{200'000}}) {
      std::vector<std::byte> data(comm.rank() == root ? n : 17, std::byte{1});
      if (comm.rank() == root) std::fill(data.begin(), data.end(), std::byte(root + 2));
      comm.broadcast(data, root);
      EXPECT_EQ(data, std::vector<std::byte>(n, std::byte(root + 2)));
    }
  }
}

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// While rank 0 plans, the others leave it the cores.
void broadcast_waits_asleep(Communicator& comm) {
  comm.barrier();
  const double before = cpu_seconds();
  if (comm.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  std::vector<std::byte> plan(comm.rank() == 0 ? 1000 : 0);
  comm.broadcast(plan, 0);
  EXPECT_LT(cpu_seconds() - before, 0.1);
}

}  // namespace

const std::vector<CommunicatorLaw>& communicator_laws() {
  static const std::vector<CommunicatorLaw> laws = {
      {"all_reduce", all_reduce},
      {"low_reductions", low_reductions},
      {"all_reduce_gives_equal_bits", all_reduce_gives_equal_bits},
      {"max_keeps_nan", max_keeps_nan},
      {"scatter_and_gather_is_all_reduce", scatter_and_gather_is_all_reduce},
      {"all_gather_in_place", all_gather_in_place},
      {"all_to_all_transposes", all_to_all_transposes},
      {"ring_exchange", ring_exchange},
      {"tags_and_order", tags_and_order},
      {"exchange_with_itself", exchange_with_itself},
      {"early_receives", early_receives},
      {"many_open_at_once", many_open_at_once},
      {"test_is_idempotent", test_is_idempotent},
      {"subgroups", subgroups},
      {"groups_are_apart", groups_are_apart},
      {"group_of_one", group_of_one},
      {"broadcast", broadcast},
      {"broadcast_waits_asleep", broadcast_waits_asleep},
  };
  return laws;
}

}  // namespace alpa::test
