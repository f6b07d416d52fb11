#include "alpa/report/exit_report.hpp"

#include "alpa/base/error.hpp"
#include "alpa/program/program.hpp"
#include "alpa/report/text.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

/// "{a: 1, b: 2}"
template <class Map, class Text>
std::string flow_map(const Map& values, const Text& text) {
  std::string out = "{";
  for (const auto& [key, value] : values) {
    if (out.size() > 1) out += ", ";
    out += key + ": " + text(value);
  }
  return out + "}";
}

}  // namespace

std::string rank_yaml(int rank, std::int64_t steps, const Executed& executed,
                      std::span<const Bytes> memory) {
  ALPA_CHECK(memory.size() == kNumMemoryClasses);
  std::vector<std::pair<std::string, std::int64_t>> classes;
  std::int64_t total = 0;
  for (std::size_t c = 0; c < memory.size(); ++c) {
    classes.emplace_back(to_string(static_cast<MemoryClass>(c)), memory[c].value);
    total += memory[c].value;
  }
  classes.emplace_back("total", total);
  const auto number = [](double value) { return shortest(value); };
  const auto count = [](std::int64_t value) { return std::to_string(value); };
  return "  - rank: " + std::to_string(rank) + "\n    steps: " + std::to_string(steps) +
         "\n    flops: " + shortest(executed.flops) +
         "\n    bytes_sent: " + flow_map(executed.bytes_sent, number) +
         "\n    counts: " + flow_map(executed.counts, count) +
         "\n    memory: " + flow_map(classes, count) + "\n";
}

std::string exit_yaml(const ExitRecord& record, std::span<const std::string> ranks) {
  std::string text = to_yaml(record) + (ranks.empty() ? "ranks: []\n" : "ranks:\n");
  for (const std::string& rank : ranks) text += rank;
  return text;
}

void write_exit_yaml(const std::filesystem::path& run_directory, const ExitRecord& record,
                     std::span<const std::string> ranks) {
  replace_file(run_directory / "exit.yaml", exit_yaml(record, ranks));
}

}  // namespace alpa
