#include <string>

#include <gtest/gtest.h>

#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/inter_op/search.hpp"

#include "app/constraints.hpp"
#include "app/target.hpp"

namespace alpa {
namespace {

struct Suite {
  std::string model;
  int devices = 1;
  double gap = 0.01;  ///< that the bound leaves at most
  bool recomputes = false;
};

void PrintTo(const Suite& suite, std::ostream* out) {
  *out << suite.model << " on " << suite.devices;
}

class SuitePlans : public testing::TestWithParam<Suite> {};

/// The plan and the bound prove each other.
TEST_P(SuitePlans, AreProvedToBeNearTheBest) {
  const Suite& suite = GetParam();
  const RunConfig config = load_run_config(ALPA_SOURCE_DIR "/configs/" + suite.model + ".yaml");
  const std::string cluster =
      ALPA_SOURCE_DIR "/configs/clusters/p3.16xlarge-" + std::to_string(suite.devices) + ".yaml";
  const Target target = target_of(config, load_cluster(cluster));
  const SearchResult found = search(search_request(config, target));
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_LE(found.gap(), suite.gap)
      << found.price.step_time.value << " s, bound " << found.lower_bound << " s";
  EXPECT_EQ(!found.plan->recompute.empty(), suite.recomputes);
}

// GPT-350M has room for everything; of MoE-380M dense layers are computed again, those of experts,
// which would take longer and need more at once, are not.
INSTANTIATE_TEST_SUITE_P(OnFewV100, SuitePlans,
                         testing::Values(Suite{"gpt/gpt-350m", 1, 0.01, false},
                                         Suite{"moe/moe-380m", 1, 0.01, true},
                                         Suite{"wide_resnet/wide_resnet-250m", 1, 0.05, true},
                                         Suite{"gpt/gpt-1.3b", 4, 0.01, false}));

}  // namespace
}  // namespace alpa
