#pragma once

#include <string>
#include <vector>

namespace alpa {

/// A model of a suite on so many V100 of p3.16xlarge.
struct SuiteCase {
  std::string suite;  ///< gpt, moe, wide_resnet
  std::string size;   ///< 350m, ...
  int devices = 1;
};
[[nodiscard]] std::string config_of(const SuiteCase& c);
[[nodiscard]] std::string cluster_of(const SuiteCase& c);

/// The models of Alpa, OSDI'22, each on the number of devices for which it was published; on 2
/// devices, which it has not, the model of one.
[[nodiscard]] std::vector<SuiteCase> growing_suites();

/// Every size of these on 8 and on 64 devices.
[[nodiscard]] std::vector<SuiteCase> every_size();

/// What the columns after model and devices are.
[[nodiscard]] std::vector<std::string> method_columns();
[[nodiscard]] std::vector<std::string> planning_columns();

/// TFLOP/s per device of every method, executed ones and those of the model: "46.4 / 34.9"; or by
/// how much its smallest plan does not fit: "lacks 3.1 GiB"; after the search's the gap of its
/// plan. Methods by hand take the better of no recomputation and full, unless parallel.recompute is
/// given.
/// @throws Error for files and overrides that are wrong
[[nodiscard]] std::vector<std::string> compare_methods(const SuiteCase& c,
                                                       const std::vector<std::string>& overrides);

/// Seconds of planning, price, lower bound, gap and structure of the plan that `auto` finds.
[[nodiscard]] std::vector<std::string> measure_planning(const SuiteCase& c,
                                                        const std::vector<std::string>& overrides);

}  // namespace alpa
