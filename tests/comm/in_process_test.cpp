#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/comm/communicator.hpp"

#include "comm/laws.hpp"

namespace alpa {
namespace {

using test::CommunicatorLaw;

constexpr int kPatient = 60'000;

class InProcessLaw : public ::testing::TestWithParam<std::tuple<CommunicatorLaw, int>> {};

TEST_P(InProcessLaw, Holds) {
  const auto& [law, ranks] = GetParam();
  run_ranks(ranks, kPatient, law.check);
  EXPECT_FALSE(HasFailure()) << "the law does not hold on every rank";
}

INSTANTIATE_TEST_SUITE_P(All, InProcessLaw,
                         ::testing::Combine(::testing::ValuesIn(test::communicator_laws()),
                                            ::testing::Values(1, 2, 3, 4, 8)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param).name) + "_" +
                                  std::to_string(std::get<1>(instance.param));
                         });

std::span<std::byte> bytes(std::vector<float>& values) {
  return std::as_writable_bytes(std::span(values));
}

/// The message of the SystemError that `body` ends with, and that it came within `limit`.
std::string error_of(int ranks, int patience_ms, const std::function<void(Communicator&)>& body,
                     std::chrono::seconds limit = std::chrono::seconds(20)) {
  const auto start = std::chrono::steady_clock::now();
  std::string message = "no error";
  try {
    run_ranks(ranks, patience_ms, body);
  } catch (const SystemError& error) {
    EXPECT_EQ(error.code(), ExitCode::rank_lost);
    message = error.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, limit);
  return message;
}

void expect_contains(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(InProcessErrors, OtherSizesAreNamed) {
  const std::string message = error_of(3, kPatient, [](Communicator& comm) {
    std::vector<float> data(comm.rank() == 1 ? 5 : 4);
    wait(*comm.all_reduce(bytes(data), DType::f32, Reduction::sum));
  });
  expect_contains(message, {"disagree", "rank 1", "all_reduce of 20 bytes f32 sum",
                            "all_reduce of 16 bytes f32 sum", "call 0 of ranks 0 1 2"});
}

TEST(InProcessErrors, AnotherCallInTheSamePlaceIsNamed) {
  const std::string message = error_of(2, kPatient, [](Communicator& comm) {
    std::vector<float> data(4);
    std::vector<float> piece(2);
    const std::vector<std::int64_t> sizes = {8, 8};
    comm.barrier();
    if (comm.rank() == 0) {
      wait(*comm.all_gather(bytes(piece), bytes(data), sizes));
    } else {
      wait(*comm.reduce_scatter(bytes(data), bytes(piece), sizes, DType::f32, Reduction::sum));
    }
  });
  expect_contains(message, {"all_gather of 16 bytes", "reduce_scatter of 16 bytes f32 sum",
                            "call 1 of ranks 0 1"});
}

TEST(InProcessErrors, OtherDtypeOperationOrPiecesDiffer) {
  expect_contains(error_of(2, kPatient,
                           [](Communicator& comm) {
                             std::vector<float> data(4);
                             const DType dtype = comm.rank() == 0 ? DType::f32 : DType::i32;
                             wait(*comm.all_reduce(bytes(data), dtype, Reduction::sum));
                           }),
                  {"f32 sum", "i32 sum"});
  expect_contains(error_of(2, kPatient,
                           [](Communicator& comm) {
                             std::vector<float> data(4);
                             const auto op = comm.rank() == 0 ? Reduction::max : Reduction::sum;
                             wait(*comm.all_reduce(bytes(data), DType::f32, op));
                           }),
                  {"f32 sum", "f32 max"});
  expect_contains(error_of(2, kPatient,
                           [](Communicator& comm) {
                             std::vector<float> whole(4);
                             std::vector<float> piece(comm.rank() == 0 ? 3 : 2);
                             const std::vector<std::int64_t> sizes =
                                 comm.rank() == 0 ? std::vector<std::int64_t>{12, 4}
                                                  : std::vector<std::int64_t>{8, 8};
                             wait(*comm.all_gather(bytes(piece), bytes(whole), sizes));
                           }),
                  {"with sizes", "[12, 4]", "[8, 8]"});
}

TEST(InProcessErrors, AllToAllMustAgreePairwise) {
  const std::string message = error_of(3, kPatient, [](Communicator& comm) {
    // Rank 2 expects 8 bytes of rank 1, which sends 4.
    std::vector<float> out(3);
    std::vector<float> in(comm.rank() == 2 ? 4 : 3);
    const std::vector<std::int64_t> out_sizes = {4, 4, 4};
    std::vector<std::int64_t> in_sizes = {4, 4, 4};
    if (comm.rank() == 2) in_sizes[1] = 8;
    wait(*comm.all_to_all(bytes(out), out_sizes, bytes(in), in_sizes));
  });
  expect_contains(message, {"all_to_all", "rank 1", "rank 2", "expects 8"});
}

TEST(InProcessErrors, MessageOfAnotherSize) {
  const std::string message = error_of(2, kPatient, [](Communicator& comm) {
    std::vector<float> data(comm.rank() == 0 ? 3 : 4);
    const Outgoing send{1, 6, bytes(data)};
    const Incoming receive{0, 6, bytes(data)};
    if (comm.rank() == 0) wait(*comm.exchange({&send, 1}, {}));
    if (comm.rank() == 1) wait(*comm.exchange({}, {&receive, 1}));
  });
  expect_contains(message, {"message has 12 bytes", "receive 16", "tag 6"});
}

TEST(InProcessErrors, DeadlockSaysWhoWaitsWhere) {
  const std::string message = error_of(3, 200, [](Communicator& comm) {
    std::vector<float> data(2);
    const Incoming from_two{2, 1, bytes(data)};
    const Outgoing to_two{2, 0, bytes(data)};  // another tag than rank 0 expects
    if (comm.rank() == 0) wait(*comm.exchange({}, {&from_two, 1}));
    if (comm.rank() == 1) wait(*comm.exchange({&to_two, 1}, {}));
    if (comm.rank() == 2) comm.barrier();
  });
  expect_contains(message,
                  {"200 ms", "deadlock", "rank 0 waits in receive of 8 bytes from rank 2 (tag 1)",
                   "rank 1 waits in send of 8 bytes to rank 2 (tag 0)",
                   "rank 2 waits in all_reduce of 4 bytes i32 sum (call 0 of ranks 0 1 2)"});
}

TEST(InProcessErrors, AMemberThatHasReturnedIsNoticedAtOnce) {
  const std::string message = error_of(3, kPatient, [](Communicator& comm) {
    if (comm.rank() != 1) comm.barrier();
  });
  expect_contains(message, {"rank 1 has returned without joining", "all_reduce of 4 bytes"});
}

TEST(InProcessErrors, TheFirstErrorEndsAllAndIsRethrown) {
  std::atomic<int> stopped = 0;
  const auto body = [&](Communicator& comm) {
    if (comm.rank() == 2) throw std::out_of_range("no such layer");
    std::vector<float> data(100'000);
    try {
      wait(*comm.all_reduce(bytes(data), DType::f32, Reduction::sum));
    } catch (const SystemError& error) {
      expect_contains(error.what(), {"because rank 2 failed", "no such layer"});
      ++stopped;
      throw;
    }
  };
  EXPECT_THROW(run_ranks(4, kPatient, body), std::out_of_range);
  EXPECT_EQ(stopped, 3);
}

TEST(InProcessErrors, ADroppedRequestIsReported) {
  const std::string message = error_of(2, kPatient, [](Communicator& comm) {
    std::vector<float> data(8);
    if (comm.rank() == 0) {
      static_cast<void>(comm.all_reduce(bytes(data), DType::f32, Reduction::sum));
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      wait(*comm.all_reduce(bytes(data), DType::f32, Reduction::sum));
    }
  });
  expect_contains(message, {"rank 0 dropped", "all_reduce of 32 bytes"});
}

/// A rank that dies in the middle of its steps: nobody may touch its buffers afterwards (a matter
/// for the sanitizers), and all end.
TEST(InProcessErrors, RanksThatDieAtAnyMomentLeaveCleanly) {
  for (int round = 0; round < 50; ++round) {
    const auto body = [&](Communicator& comm) {
      for (int step = 0;; ++step) {
        auto data = std::make_unique<std::vector<float>>(30'000, 1.0F);
        auto small = std::make_unique<std::vector<float>>(10, 1.0F);
        const auto first = comm.all_reduce(bytes(*data), DType::f32, Reduction::sum);
        const auto second = comm.all_reduce(bytes(*small), DType::f32, Reduction::sum);
        if (comm.rank() == round % 4 && step == round % 3) throw std::runtime_error("struck");
        wait(*second);
        wait(*first);
      }
    };
    EXPECT_THROW(run_ranks(4, kPatient, body), std::runtime_error);
  }
}

TEST(CommunicatorContract, BrokenSizesAreBugsThatSayWhatWasFound) {
  run_ranks(1, kPatient, [](Communicator& comm) {
    std::vector<float> data(4);
    const auto expect_bug = [](const std::function<void()>& call, const std::string& text) {
      try {
        call();
        ADD_FAILURE() << "accepted: " << text;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::bug);
        expect_contains(error.what(), {text});
      }
    };
    const std::vector<std::int64_t> wrong = {12};
    const std::vector<std::int64_t> two = {8, 8};
    const std::vector<std::int64_t> odd = {16};
    const std::vector<int> nobody;
    const std::vector<int> stranger = {0, 1};
    const Outgoing far{3, 0, bytes(data)};
    const Outgoing negative{0, -1, bytes(data)};
    std::vector<std::byte> raw;
    expect_bug(
        [&] {
          static_cast<void>(comm.all_reduce(bytes(data).first(7), DType::bf16, Reduction::sum));
        },
        "7 bytes are not whole elements of bf16");
    expect_bug(
        [&] {
          static_cast<void>(comm.all_reduce(bytes(data).first(7), DType::f32, Reduction::sum));
        },
        "7 bytes are not whole elements of f32");
    expect_bug([&] { static_cast<void>(comm.all_gather(bytes(data), bytes(data), wrong)); },
               "whole has 16 bytes, its sizes say 12");
    expect_bug([&] { static_cast<void>(comm.all_gather(bytes(data), bytes(data), two)); },
               "2 sizes for 1 ranks");
    expect_bug(
        [&] { static_cast<void>(comm.all_to_all(bytes(data), odd, bytes(data).first(12), odd)); },
        "in has 12 bytes, its sizes say 16");
    expect_bug([&] { static_cast<void>(comm.exchange({&far, 1}, {})); }, "peer 3");
    expect_bug([&] { static_cast<void>(comm.exchange({&negative, 1}, {})); }, "tag -1");
    expect_bug([&] { static_cast<void>(comm.subgroup(nobody, 0)); }, "rank 0 is not one");
    expect_bug([&] { static_cast<void>(comm.subgroup(stranger, 0)); }, "member 1");
    expect_bug([&] { comm.broadcast(raw, 1); }, "root 1");
  });
}

}  // namespace
}  // namespace alpa
