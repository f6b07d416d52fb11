#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/config/run_config.hpp"

#include "config/test_files.hpp"

namespace alpa {
namespace {

constexpr std::size_t kLimit = std::size_t{1} << 20;

/// What is said about a run file, named without its folder, and `arguments`.
std::string mistakes(const std::string& text, const std::string& name,
                     const std::vector<std::string>& arguments = {}) {
  try {
    (void)parse_run_config(text, name, arguments);
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error.what() + std::string("\n");
  }
  return "";
}

class BadFile : public testing::TestWithParam<std::string> {};

// Beside each bad/NAME.yaml stands bad/NAME.expected: every message, word for word.
TEST_P(BadFile, EveryMistakeIsReportedAtItsPlace) {
  const std::filesystem::path path = GetParam();
  std::filesystem::path expected = path;
  expected.replace_extension(".expected");
  EXPECT_EQ(mistakes(read_text_file(path.string(), kLimit), path.filename().string()),
            read_text_file(expected.string(), kLimit));
}

INSTANTIATE_TEST_SUITE_P(All, BadFile, testing::ValuesIn(yaml_files("bad")), file_test_name);

std::string mistakes_of_cluster(const std::filesystem::path& path) {
  try {
    (void)parse_cluster(read_text_file(path.string(), kLimit), path.filename().string());
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error.what() + std::string("\n");
  }
  return "";
}

class BadClusterFile : public testing::TestWithParam<std::string> {};

// As above, for bad_clusters/NAME.yaml. Where devices are looked up depends on the folder.
TEST_P(BadClusterFile, EveryMistakeIsReportedAtItsPlace) {
  const std::filesystem::path path = GetParam();
  std::filesystem::path expected = path;
  expected.replace_extension(".expected");
  EXPECT_EQ(mistakes_of_cluster(path), read_text_file(expected.string(), kLimit));
}

INSTANTIATE_TEST_SUITE_P(All, BadClusterFile, testing::ValuesIn(yaml_files("bad_clusters")),
                         file_test_name);

TEST(BadArguments, NameTheArgumentAndItsColumn) {
  EXPECT_EQ(mistakes("model: {}", "run.yaml",
                     {"training.steps=abc", "training.stps=5", "data.text=[a, [b]]", "x", "=3",
                      "data..text=a", "data.text.7=a", "data.text.a=b", "training.seed=[1"}),
            "argument x:1:1: found no key and value, expected section.key=value\n"
            "argument =3:1:1: found no key and value, expected section.key=value\n"
            "argument data..text=a:1:1: data: found an empty part of the key, expected "
            "section.key=value\n"
            "argument data.text.7=a:1:1: data.text.7: found the key 7 in a list, expected an index "
            "from 0 to 2\n"
            "argument data.text.a=b:1:1: data.text.a: found the key a in a list, expected an index "
            "from 0 to 2\n"
            "argument training.seed=[1:1:15: found a bracket that is never closed, expected YAML: "
            "end of sequence flow not found\n"
            "argument data.text=[a, [b]]:1:15: data.text[1]: found a list, expected text\n"
            "argument training.stps=5:1:1: training.stps: found an unknown key, expected steps, "
            "global_batch, precision, loss_scale, seed, clip_norm, label_smoothing, "
            "loss_reduction, on_nonfinite, "
            "evaluate, watchdog, time_limit or profile (did you mean steps?)\n"
            "argument training.steps=abc:1:16: training.steps: found abc, expected an integer from "
            "1 to 2147483648\n");
}

// An argument that is wrong together with a file that is right stands at the argument.
TEST(BadArguments, ContradictionsPointAtTheArgument) {
  EXPECT_EQ(mistakes("training: {global_batch: 32}", "run.yaml", {"parallel.microbatches=5"}),
            "argument parallel.microbatches=5:1:23: parallel.microbatches: found 5, expected a "
            "divisor of global_batch = 32\n");
}

TEST(BadCluster, DeviceFilesAreReportedUnderTheirOwnName) {
  const std::string folder = config_test_folder() + "/good_clusters/";
  try {
    (void)parse_cluster(
        "name: c\nhosts:\n  - {count: 2, devices: 2, device: v100-16bg}\n  - {count: 1, devices: "
        "1, device: ../devices/v100-16gb}\n  - {count: 1, devices: 1, device: [v100-16gb]}\n",
        folder + "c.yaml");
    FAIL();
  } catch (const UserError& error) {
    const std::string where = "expected a mapping, or the name of a file NAME.yaml in " +
                              config_test_folder() + "/devices or configs/devices";
    EXPECT_EQ(error.what(), folder +
                                "c.yaml:1:1: inter_host: found nothing, expected {latency, "
                                "bandwidth} between the 4 hosts\n" +
                                folder +
                                "c.yaml:3:5: hosts[0].intra_host: found nothing, expected "
                                "{latency, bandwidth} between the 2 devices of a host\n" +
                                folder + "c.yaml:3:36: hosts[0].device: found v100-16bg, " + where +
                                " (did you mean v100-16gb?)\n" + folder +
                                "c.yaml:4:36: hosts[1].device: found ../devices/v100-16gb, " +
                                where + "\n" + folder +
                                "c.yaml:5:36: hosts[2].device: found a list, expected a mapping, "
                                "or the name of a shipped device");
  }
}

TEST(BadCluster, EfficiencyRises) {
  try {
    (void)parse_cluster(
        "name: c\nhosts: [{count: 1, devices: 1, device: {name: d, peak_flops: {}, memory: 1, "
        "reserve: 0,\n memory_bandwidth: 1, launch: 0,\n efficiency: {matmul: [[1.0e+8, 0.5], "
        "[1.0e+8, 1.5]], memory: 2}}}]\n",
        "c.yaml");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "c.yaml:2:62: hosts[0].device.peak_flops: found a mapping, expected unlimited or "
                 "a mapping of precision to FLOP/s\n"
                 "c.yaml:4:40: hosts[0].device.efficiency.matmul[1][0]: found 1.0e+08, expected "
                 "more FLOPs than in the point before\n"
                 "c.yaml:4:48: hosts[0].device.efficiency.matmul[1][1]: found 1.5, expected a "
                 "number > 0 and <= 1\n"
                 "c.yaml:4:63: hosts[0].device.efficiency.memory: found 2, expected a number > 0 "
                 "and <= 1");
  }
}

}  // namespace
}  // namespace alpa
