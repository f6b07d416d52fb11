#include "plan_report.hpp"

#include <set>

#include "alpa/report/plan_table.hpp"
#include "alpa/report/text.hpp"

#include "version.hpp"

namespace alpa {

std::string start_text(const RunConfig& config, const Graph& graph, const Plan& plan,
                       const std::vector<ProgramTotals>& totals, const std::string& device,
                       int threads, const std::vector<std::string>& hosts) {
  const std::set<std::string> distinct(hosts.begin(), hosts.end());
  std::string text = version_text() + "\n";
  text += "devices: " + std::to_string(hosts.size()) + " x " + device + " on " +
          std::to_string(distinct.size()) + (distinct.size() == 1 ? " host" : " hosts");
  if (threads > 0) {
    text += ", " + std::to_string(threads) + (threads == 1 ? " thread each" : " threads each");
    if (config.device == DeviceChoice::automatic) {
      text += " (device: auto; this version has no GPU back end)";
    }
  }
  text += "\n";
  text += "model: " + std::to_string(num_parameters(graph)) + " parameters, " +
          with_prefix(flops_per_microbatch(graph).value * plan.num_microbatches) +
          "FLOP a step, global batch " + std::to_string(config.training.global_batch) + "\n";
  text += plan_table(plan, graph, totals);
  if (text.back() != '\n') text += '\n';
  return text;
}

PlanFigures plan_figures(const RunConfig& config, const Plan& plan,
                         const std::vector<ProgramTotals>& totals, const std::vector<Bytes>& arenas,
                         Bytes capacity, const std::vector<std::string>& hosts) {
  PlanFigures figures;
  figures.preset = std::string(name_of(config.model.preset));
  figures.hosts = static_cast<int>(std::set<std::string>(hosts.begin(), hosts.end()).size());
  for (const StagePlan& stage : plan.stages) {
    const auto rank = static_cast<std::size_t>(stage.ranks.back());
    StageSummary f;
    std::set<std::string> here;
    for (const int r : stage.ranks) here.insert(hosts[static_cast<std::size_t>(r)]);
    f.hosts = static_cast<int>(here.size());
    for (int c = 0; c < kNumMemoryClasses; ++c) {
      f.memory.emplace_back(to_string(static_cast<MemoryClass>(c)),
                            totals[rank].memory[static_cast<std::size_t>(c)]);
    }
    f.memory.emplace_back("total", arenas[rank]);
    f.memory.emplace_back("capacity", capacity);
    f.flops = totals[rank].flops;
    f.bytes_sent = totals[rank].bytes_sent;
    figures.stages.push_back(std::move(f));
  }
  return figures;
}

}  // namespace alpa
