#include "plan_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "alpa/report/plan_table.hpp"
#include "alpa/report/text.hpp"

#include "methods_priced.hpp"
#include "version.hpp"

namespace alpa {
namespace {

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g %%", 100.0 * share);
  return text;
}

std::string where_it_goes(const Plan& plan, const PlanPrice& price) {
  const double step = price.step_time.value;
  if (!std::isfinite(step) || step <= 0) return "";
  const DeviceTime work = device_time(plan, price);
  const double waiting = std::max(0.0, 1.0 - (work.kernels + work.collectives).value / step);
  return "; a device's time: kernels " + percent(std::min(1.0, work.kernels.value / step)) +
         ", collectives " + percent(std::min(1.0, work.collectives.value / step)) + ", waiting " +
         percent(waiting);
}

std::string search_text(const SearchFigures& search) {
  return "search: no plan of the space takes less than " + to_text(Seconds{search.lower_bound}) +
         " (gap " + percent(search.gap) + "); " + std::to_string(search.ilp_problems) +
         " problems solved, " +
         (search.stopped == "done" ? "done" : "stopped by the limit of " + search.stopped) + "\n";
}

StageSummary summary_of_stage(const Target& target, const Planned& planned, const StageNeeds& needs,
                              const std::vector<std::string>& hosts, std::size_t s) {
  const StagePlan& stage = planned.plan.stages[s];
  StageSummary summary;
  std::set<std::string> here;
  for (const int r : stage.ranks) here.insert(hosts[static_cast<std::size_t>(r)]);
  summary.hosts = static_cast<int>(here.size());
  for (int c = 0; c < kNumMemoryClasses; ++c) {
    summary.memory.emplace_back(to_string(static_cast<MemoryClass>(c)),
                                needs.totals[s].memory[static_cast<std::size_t>(c)]);
  }
  summary.memory.emplace_back("total", needs.arenas[s]);
  summary.memory.emplace_back("capacity", capacity_of(target, stage));
  summary.flops = needs.totals[s].flops;
  summary.bytes_sent = needs.totals[s].bytes_sent;
  if (planned.price) {
    const StageTimes& t = planned.price->stages[s];
    summary.time = StageSeconds{t.forward, t.backward, t.prepare,
                                t.reduce,  t.update,   planned.price->collectives[s]};
  }
  return summary;
}

}  // namespace

std::string start_text(const RunConfig& config, const Planned& planned,
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
  const double flops = flops_per_microbatch(planned.graph).value * planned.plan.num_microbatches;
  const double again =
      recomputed_flops_per_microbatch(planned.graph).value * planned.plan.num_microbatches;
  text += "model: " + std::to_string(num_parameters(planned.graph)) + " parameters, " +
          with_prefix(flops) + "FLOP a step, " +
          (again > 0 ? with_prefix(again) + "FLOP computed again, " : "") + "global batch " +
          std::to_string(config.training.global_batch) + "\n";
  text += plan_table(planned.plan, planned.graph, totals);
  if (text.back() != '\n') text += '\n';
  return text;
}

std::string prediction_text(const RunConfig& config, const Planned& planned) {
  const auto predicted = predicted_figures(config, planned);
  if (!predicted) return "";
  std::string text = "predicted: " + to_text(predicted->step_time) + " a step, " +
                     with_prefix(predicted->samples_per_second) + " samples/s, " +
                     with_prefix(predicted->model_flops_per_second_per_device) +
                     "FLOP/s per device" + where_it_goes(planned.plan, *planned.price) + "\n";
  if (planned.search) text += search_text(*planned.search);
  if (!planned.compared.empty()) text += "\n" + compare_table(planned.compared);
  return text;
}

DeviceTime device_time(const Plan& plan, const PlanPrice& price) {
  DeviceTime sum;
  double devices = 0.0;
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const auto ranks = static_cast<double>(plan.stages[s].ranks.size());
    const StageTimes& t = price.stages[s];
    const Seconds all = t.prepare + t.reduce + t.update +
                        (t.forward + t.backward) * static_cast<double>(plan.num_microbatches);
    sum.collectives += price.collectives[s] * ranks;
    sum.kernels += (all - price.collectives[s]) * ranks;
    devices += ranks;
  }
  return {sum.kernels * (1.0 / devices), sum.collectives * (1.0 / devices)};
}

std::string phases_text(const Planned& planned) {
  std::string text = "planning:";
  for (const auto& [name, seconds] : planned.phases) {
    text += (text.back() == ':' ? " " : ", ") + name + " " + to_text(seconds);
  }
  return text;
}

PlanFigures plan_figures(const RunConfig& config, const Target& target, const Planned& planned,
                         const StageNeeds& needs, const std::vector<std::string>& hosts) {
  PlanFigures figures;
  figures.preset = std::string(name_of(config.model.preset));
  figures.hosts = static_cast<int>(std::set<std::string>(hosts.begin(), hosts.end()).size());
  if (target.cluster) figures.cluster_fingerprint = fingerprint(*target.cluster);
  for (std::size_t s = 0; s < planned.plan.stages.size(); ++s) {
    figures.stages.push_back(summary_of_stage(target, planned, needs, hosts, s));
  }
  figures.predicted = predicted_figures(config, planned);
  figures.search = planned.search;
  figures.compared = planned.compared;
  return figures;
}

std::vector<ProgramTotals> by_rank(const Plan& plan, const StageNeeds& needs) {
  ProgramTotals idle;
  idle.memory.assign(kNumMemoryClasses, Bytes{0});
  std::vector<ProgramTotals> totals(static_cast<std::size_t>(plan.world_size), idle);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    for (const int rank : plan.stages[s].ranks) {
      totals[static_cast<std::size_t>(rank)] = needs.totals[s];
    }
  }
  return totals;
}

}  // namespace alpa
