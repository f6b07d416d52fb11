#include "alpa/report/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/report/log.hpp"
#include "alpa/report/progress.hpp"
#include "alpa/storage/file.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

StepMetrics at(std::int64_t step) {
  StepMetrics m;
  m.step = step;
  m.loss = 0.1 * static_cast<double>(step);
  m.lr = 1e-5;
  m.grad_norm = 2.0;
  m.step_time = {0.25};
  m.rate = 1000.0;
  m.tokens = true;
  m.flops_per_second = 1.5e12;
  m.memory = {4096};
  return m;
}

/// Collects warnings.
struct Warnings {
  std::vector<std::string> texts;
  [[nodiscard]] Warn sink() {
    return [this](std::string_view text) { texts.emplace_back(text); };
  }
};

std::string lines(std::int64_t first, std::int64_t last) {
  std::string text;
  for (std::int64_t step = first; step <= last; ++step) text += to_json(at(step)) + "\n";
  return text;
}

void write_steps(const std::filesystem::path& path, std::int64_t resumed, std::int64_t last) {
  Warnings warnings;
  MetricsWriter writer(path, resumed, warnings.sink());
  for (std::int64_t step = resumed + 1; step <= last; ++step) writer.write(at(step));
  writer.sync();
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(Shortest, ReadsBackEqualForYamlAndJson) {
  EXPECT_EQ(shortest(1.0), "1.0");
  EXPECT_EQ(shortest(0.1), "0.1");
  EXPECT_EQ(shortest(1e-5), "1.0e-05");
  EXPECT_EQ(shortest(1e30), "1.0e+30");
  EXPECT_EQ(shortest(-2.5e-7), "-2.5e-07");
  for (const double value : {1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789.125, 0.0}) {
    EXPECT_EQ(std::strtod(shortest(value).c_str(), nullptr), value);
  }
}

TEST(Metrics, KeysAndValuesAreThoseOfTheManual) {
  EXPECT_EQ(to_json(at(3)),
            "{\"step\":3,\"loss\":0.30000000000000004,\"lr\":1.0e-05,\"grad_norm\":2.0,"
            "\"step_time\":0.25,\"tokens_per_second\":1000.0,\"flops_per_second\":1.5e+12,"
            "\"memory\":4096,\"predicted_step_time\":null,\"skipped\":false}");
  StepMetrics m = at(4);
  m.tokens = false;
  m.loss = std::nan("");
  m.grad_norm = std::numeric_limits<double>::infinity();
  m.skipped = true;
  m.accuracy = 0.25;
  m.evaluation = EvaluationMetrics{1.5, 0.5, 4.25, std::nullopt};
  m.predicted_step_time = Seconds{0.5};
  EXPECT_EQ(to_json(m),
            "{\"step\":4,\"loss\":null,\"lr\":1.0e-05,\"grad_norm\":null,\"step_time\":0.25,"
            "\"samples_per_second\":1000.0,\"flops_per_second\":1.5e+12,\"memory\":4096,"
            "\"predicted_step_time\":0.5,\"skipped\":true,\"accuracy\":0.25,\"eval_loss\":1.5,"
            "\"eval_accuracy\":0.5,\"eval_perplexity\":4.25}");
}

TEST(Metrics, EveryStepStandsOnceAfterAResume) {
  const TemporaryDirectory run;
  const auto path = run / "metrics.jsonl";
  write_steps(path, 0, 10);
  EXPECT_EQ(read_file(path), lines(1, 10));
  write_steps(path, 6, 8);
  EXPECT_EQ(read_file(path), lines(1, 8));
  write_steps(path, 8, 12);
  EXPECT_EQ(read_file(path), lines(1, 12));
  write_steps(path, 0, 2);
  EXPECT_EQ(read_file(path), lines(1, 2));
}

TEST(Metrics, TornAndForeignLinesAreCutOff) {
  const TemporaryDirectory run;
  const auto path = run / "metrics.jsonl";
  const std::string torn = to_json(at(4)).substr(0, 30);
  for (const std::string& tail :
       {torn, torn + "\n", std::string("nonsense\n"), lines(2, 2), std::string(200'000, 'x')}) {
    replace_file(path, lines(1, 3) + tail);
    write_steps(path, 5, 6);
    EXPECT_EQ(read_file(path), lines(1, 3) + lines(6, 6));
  }
}

TEST(Metrics, LongFilesAreCutInTheRightPlace) {
  const TemporaryDirectory run;
  const auto path = run / "metrics.jsonl";
  replace_file(path, lines(1, 3000));
  write_steps(path, 2000, 2001);
  EXPECT_EQ(read_file(path), lines(1, 2001));
}

TEST(Metrics, AFullDiskGivesOneWarningAndNoTornLine) {
  const TemporaryDirectory run;
  const auto path = run / "metrics.jsonl";
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const auto room = static_cast<rlim_t>(lines(1, 3).size() + 50);
    const rlimit limit{room, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Warnings warnings;
    MetricsWriter writer(path, 0, warnings.sink());
    for (std::int64_t step = 1; step <= 6; ++step) writer.write(at(step));
    const rlimit more{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &more);
    writer.write(at(7));
    const bool one =
        warnings.texts.size() == 1 && warnings.texts[0].find("metrics.jsonl") != std::string::npos;
    ::_exit(one ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(path), lines(1, 3) + lines(7, 7));
}

TEST(Metrics, WithoutAFileTrainingGoesOn) {
  const TemporaryDirectory run;
  const TemporaryDirectory elsewhere;
  Warnings warnings;
  MetricsWriter missing(run / "no" / "metrics.jsonl", 0, warnings.sink());
  missing.write(at(1));
  missing.sync();
  ASSERT_EQ(warnings.texts.size(), 1U);
  EXPECT_NE(warnings.texts[0].find("No such file"), std::string::npos) << warnings.texts[0];
  std::filesystem::create_symlink(elsewhere / "victim", run / "metrics.jsonl");
  MetricsWriter link(run / "metrics.jsonl", 0, warnings.sink());
  link.write(at(1));
  EXPECT_EQ(warnings.texts.size(), 2U);
  EXPECT_FALSE(std::filesystem::exists(elsewhere / "victim"));
}

TEST(ProgressText, NamesWhatAUserAsksFor) {
  EXPECT_EQ(progress_text(at(3), 200, std::nullopt, {3723.0}),
            "step 3/200  loss 0.3000  lr 1e-05  norm 2  250 ms  1 k tokens/s  n/a of peak  4 KiB  "
            "left 1:02:03");
  StepMetrics predicted = at(3);
  predicted.predicted_step_time = Seconds{0.2};
  EXPECT_NE(progress_text(predicted, 200, std::nullopt, {1.0})
                .find("norm 2  predicted 200 ms vs measured 250 ms  1 k tokens/s"),
            std::string::npos);
  EXPECT_NE(progress_text(at(3), 200, 3e12, {1.0}).find("50.0 % of peak"), std::string::npos);
  StepMetrics evaluated = at(3);
  evaluated.accuracy = 0.5;
  evaluated.evaluation = EvaluationMetrics{2.0, 0.25, 7.389, 2.885};
  EXPECT_NE(progress_text(evaluated, 200, std::nullopt, {1.0})
                .find("norm 2  accuracy 50.0 %  eval 2.0000  accuracy 25.0 %  perplexity 7.389  "
                      "2.885 bits/byte  250 ms"),
            std::string::npos);
  EXPECT_EQ(duration_text({90061.0}), "1d 1:01:01");
  EXPECT_EQ(duration_text({std::nan("")}), "-");
}

TEST(ProgressLine, PlainLinesInAFileAndOneLineOnATerminal) {
  const TemporaryDirectory run;
  const int file = ::open((run / "out").c_str(), O_RDWR | O_CREAT, 0600);
  Warnings warnings;
  Progress plain(file, false, warnings.sink());
  plain.update("a");
  plain.update("b");
  plain.print("c");
  plain.finish();
  EXPECT_EQ(read_file(run / "out"), "a\nb\nc\n");
  ::close(file);

  const int main_end = ::posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(main_end, 0);
  ASSERT_EQ(::grantpt(main_end), 0);
  ASSERT_EQ(::unlockpt(main_end), 0);
  const int terminal = ::open(::ptsname(main_end), O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  Progress in_place(terminal, true, warnings.sink());
  in_place.update("a");
  in_place.update(std::string(200, 'b'));
  in_place.print("c");
  in_place.update("d");
  in_place.finish();
  std::string shown;
  while (!shown.ends_with("d\r\n")) {
    char block[512];
    const ssize_t got = ::read(main_end, block, sizeof block);
    ASSERT_GT(got, 0) << shown;
    shown.append(block, static_cast<std::size_t>(got));
  }
  EXPECT_EQ(shown, "\r\x1b[Ka\r\x1b[K" + std::string(79, 'b') + "\r\x1b[Kc\r\n\r\x1b[Kd\r\n");
  ::close(terminal);
  ::close(main_end);
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(ProgressLine, AStdoutThatFailsGivesOneWarning) {
  ::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  const int full = ::open("/dev/full", O_WRONLY);
  for (const int fd : {ends[1], full, -1}) {
    Warnings warnings;
    Progress progress(fd, false, warnings.sink());
    for (int i = 0; i < 5; ++i) progress.update("line");
    progress.finish();
    ASSERT_EQ(warnings.texts.size(), 1U) << fd;
    EXPECT_NE(warnings.texts[0].find("training goes on"), std::string::npos);
  }
  ::close(ends[1]);
  ::close(full);
}

TEST(Log, AppendsEscapedLinesWithTime) {
  const TemporaryDirectory run;
  const auto path = run / "log.txt";
  {
    Log log;
    log.info("before the file was known");
    log.open(path);
    log.info("name with\nnewline and \x1b[31m");
    log.block("a table\nof two lines\n");
  }
  {
    Log log;
    log.open(path);
    testing::internal::CaptureStderr();
    log.warning("again");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "alpa: warning: again\n");
  }
  std::vector<std::string> found;
  std::string text = read_file(path);
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    ASSERT_GT(end, 25U);
    EXPECT_EQ(text[10], 'T');
    EXPECT_EQ(text[23], 'Z');
    found.push_back(text.substr(25, end - 25));
    text.erase(0, end + 1);
  }
  EXPECT_EQ(found, (std::vector<std::string>{
                       "info before the file was known", "info name with\\x0Anewline and \\x1B[31m",
                       "info a table", "info of two lines", "warning again"}));
}

TEST(Log, ADiskThatFailsGivesOneWarning) {
  testing::internal::CaptureStderr();
  Log log;
  log.open("/dev/full");
  for (int i = 0; i < 3; ++i) log.info("lost");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_NE(said.find("cannot write the log"), std::string::npos);
}

}  // namespace
}  // namespace alpa
