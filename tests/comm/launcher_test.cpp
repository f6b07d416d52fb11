#include "alpa/comm/launcher.hpp"

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/comm/communicator.hpp"
#include "alpa/comm/hosts.hpp"

namespace alpa {
namespace {

using Kind = Launcher::Kind;

Launcher detect(const std::map<std::string, std::string>& variables) {
  return detect_launcher([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

TEST(Launcher, IsRecognisedByItsVariables) {
  EXPECT_EQ(detect({}), (Launcher{Kind::none, {}, {}}));
  EXPECT_EQ(detect({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}}),
            (Launcher{Kind::mpirun, 3, 8}));
  EXPECT_EQ(detect({{"PMIX_RANK", "1"},
                    {"SLURM_STEP_ID", "0"},
                    {"SLURM_PROCID", "1"},
                    {"SLURM_NTASKS", "4"}}),
            (Launcher{Kind::pmix, 1, 4}));
  EXPECT_EQ(detect({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "4"}}),
            (Launcher{Kind::srun, 2, 4}));
  EXPECT_EQ(detect({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}), (Launcher{Kind::foreign, 0, 2}));
}

TEST(Launcher, ABatchScriptIsNone) {
  EXPECT_EQ(detect({{"SLURM_JOB_ID", "77"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).kind,
            Kind::none);
}

TEST(Launcher, MpirunInsideAJobStepCountsItsOwnRanks) {
  EXPECT_EQ(detect({{"SLURM_STEP_ID", "0"},
                    {"SLURM_PROCID", "0"},
                    {"SLURM_NTASKS", "2"},
                    {"PMIX_RANK", "5"},
                    {"OMPI_COMM_WORLD_RANK", "5"},
                    {"OMPI_COMM_WORLD_SIZE", "8"}}),
            (Launcher{Kind::mpirun, 5, 8}));
}

TEST(Launcher, GarbageIsNoRank) {
  EXPECT_EQ(detect({{"OMPI_COMM_WORLD_RANK", "x"}}).kind, Kind::none);
  EXPECT_EQ(detect({{"OMPI_COMM_WORLD_RANK", "-1"}}).kind, Kind::none);
  EXPECT_EQ(detect({{"OMPI_COMM_WORLD_RANK", ""}}).kind, Kind::none);
}

TEST(Launcher, AdviceForThoseThatCannotStartMpi) {
  for (const Kind kind : {Kind::none, Kind::mpirun, Kind::pmix, Kind::srun, Kind::foreign}) {
    const Launcher launcher{kind, {}, {}};
    const bool usable = kind == Kind::none || launcher.starts_mpi();
    EXPECT_EQ(advice(launcher).empty(), usable);
  }
}

TEST(Hosts, LocalRankCountsWithinTheHost) {
  const std::vector<std::string> hosts = {"a", "b", "a", "c", "b", "a"};
  EXPECT_EQ(local_rank(hosts, 0), (LocalRank{0, 3, 0}));
  EXPECT_EQ(local_rank(hosts, 2), (LocalRank{1, 3, 0}));
  EXPECT_EQ(local_rank(hosts, 4), (LocalRank{1, 2, 1}));
  EXPECT_EQ(local_rank(hosts, 3), (LocalRank{0, 1, 2}));
  EXPECT_EQ(local_rank(hosts, 5), (LocalRank{2, 3, 0}));
}

TEST(Hosts, EveryRankLearnsAllNames) {
  run_ranks(3, 60'000, [](Communicator& comm) {
    EXPECT_FALSE(host_name().empty());
    EXPECT_EQ(host_of_ranks(comm), std::vector<std::string>(3, host_name()));
  });
}

}  // namespace
}  // namespace alpa
