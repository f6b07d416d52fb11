// The laws of comm/laws.hpp on the ranks of an MPI job. Started by mpirun; every rank ends with 1
// if an expectation failed on any.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/comm/launcher.hpp"
#include "alpa/comm/mpi.hpp"

#include "comm/laws.hpp"

namespace alpa {
namespace {

Communicator* world = nullptr;  // of this process; set by main

class MpiLaw : public ::testing::TestWithParam<test::CommunicatorLaw> {};

TEST_P(MpiLaw, Holds) {
  GetParam().check(*world);
  std::int32_t violated = HasFailure() ? 1 : 0;
  wait(*world->all_reduce(std::as_writable_bytes(std::span(&violated, 1)), DType::i32,
                          Reduction::sum));
  EXPECT_EQ(violated, 0) << "ranks on which the law does not hold";
}

INSTANTIATE_TEST_SUITE_P(All, MpiLaw, ::testing::ValuesIn(test::communicator_laws()),
                         [](const auto& instance) { return instance.param.name; });

TEST(MpiSession, TheLauncherToldTheTruth) {
  const Launcher launcher = detect_launcher(process_environment);
  EXPECT_TRUE(launcher.starts_mpi());
  EXPECT_EQ(launcher.rank, world->rank());
  EXPECT_EQ(launcher.size, world->size());
}

TEST(MpiSession, AllRanksAreOnThisHost) {
  const auto hosts = host_of_ranks(*world);
  EXPECT_EQ(hosts, std::vector<std::string>(static_cast<std::size_t>(world->size()), host_name()));
  const LocalRank expected{.rank = world->rank(), .size = world->size(), .host = 0};
  EXPECT_EQ(local_rank(hosts, world->rank()), expected);
}

/// Ranks other than 0 only say what failed.
class Failures : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& test) override { test_ = test.name(); }
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::cerr << "rank " << world->rank() << ": " << test_ << ": "
              << (result.file_name() != nullptr ? result.file_name() : "?") << ":"
              << result.line_number() << ": " << result.message() << std::endl;
  }

  std::string test_;
};

/// One rank gives up while the others wait for it: all must end, with its code.
void abort_while_others_wait() {
  if (world->rank() == world->size() - 1) abort_all(75);
  world->barrier();
  std::puts("the barrier was passed without a rank");
}

/// Rank 1 receives another number of bytes than rank 0 sends: it says so, and the job ends.
void receive_other_size(std::size_t bytes) {
  const std::vector<std::byte> out(8);
  std::vector<std::byte> in(bytes);
  const Outgoing send{1, 7, out};
  const Incoming receive{0, 7, in};
  if (world->rank() == 0) wait(*world->exchange({&send, 1}, {}));
  if (world->rank() == 1) {
    try {
      wait(*world->exchange({}, {&receive, 1}));
      std::puts("accepted");
    } catch (const SystemError& error) {
      std::printf("%s\n", error.what());
      std::fflush(stdout);
      const std::string text = error.what();
      const bool named = text.find("from rank 0 of the group (tag 7)") != std::string::npos;
      abort_all(named ? static_cast<int>(error.code()) : EXIT_FAILURE);
    }
  }
  world->barrier();
}

int run_laws() {
  // A rank that went on after an exception would leave the others waiting; one that dies does not.
  ::testing::GTEST_FLAG(catch_exceptions) = false;
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world->rank() != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new Failures);
  }
  std::int32_t failed = RUN_ALL_TESTS() == 0 ? 0 : 1;
  wait(*world->all_reduce(std::as_writable_bytes(std::span(&failed, 1)), DType::i32,
                          Reduction::max));
  return failed;
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const alpa::MpiSession session;
  // A small limit makes every larger buffer take the path of those above 2^30 elements.
  const bool chunked = argc > 1 && std::strcmp(argv[1], "--chunked") == 0;
  const auto world = chunked ? alpa::make_mpi_world(1000) : alpa::make_mpi_world();
  alpa::world = world.get();
  if (argc > 1 && std::strcmp(argv[1], "--abort") == 0) {
    alpa::abort_while_others_wait();
    return EXIT_FAILURE;
  }
  if (argc > 2 && std::strcmp(argv[1], "--receive") == 0) {
    alpa::receive_other_size(static_cast<std::size_t>(std::atoi(argv[2])));
    return EXIT_SUCCESS;
  }
  return alpa::run_laws();
}
