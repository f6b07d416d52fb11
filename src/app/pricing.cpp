#include "pricing.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/report/text.hpp"

#include "setup.hpp"

namespace alpa {
namespace {

std::string as_json(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

const Instruction& instruction_of(const Program& program, const Span& span) {
  const Call& call = program.calls[static_cast<std::size_t>(span.call)];
  return program.segments[static_cast<std::size_t>(call.segment)]
      .instructions[static_cast<std::size_t>(span.instruction)];
}

ComparedMethod compare_one(const RunConfig& config, Method method, const ClusterSpec& cluster,
                           Bytes capacity) {
  ComparedMethod compared;
  compared.method = std::string(name_of(method));
  RunConfig changed = config;
  if (config.parallel.method != method) {
    changed.parallel = ParallelConfig{};
    changed.parallel.method = method;
  }
  try {
    const PricedPlan priced =
        price_plan(changed, choose_plan(changed, num_devices(cluster), std::nullopt), no_workspace,
                   cluster, false);
    const Bytes need = priced.largest_arena();
    if (need > capacity)
      compared.does_not_fit_by = need - capacity;
    else
      compared.step_time = priced.timeline->makespan;
  } catch (const PlanError& error) {  // an answer: this method has no plan here
    compared.reason = error.what();
  }
  return compared;
}

}  // namespace

Bytes PricedPlan::largest_arena() const { return *std::max_element(arenas.begin(), arenas.end()); }

PricedPlan price_plan(const RunConfig& config, Plan plan, const WorkspaceSize& workspace,
                      const std::optional<ClusterSpec>& cluster, bool keep_spans) {
  PricedPlan priced;
  priced.graph = build_graph(config, config.training.global_batch / plan.num_microbatches);
  for (int rank = 0; rank < plan.world_size; ++rank) {
    priced.programs.push_back(lower(priced.graph, plan, rank, workspace).step);
    priced.totals.push_back(totals(priced.programs.back()));
    priced.arenas.push_back(priced.programs.back().arena);
  }
  priced.plan = std::move(plan);
  if (cluster) {
    const InstructionCosts costs = costs_on(*cluster, priced.graph, priced.plan);
    priced.timeline = simulate(priced.programs, costs, keep_spans);
  }
  return priced;
}

std::optional<PredictedFigures> predicted_figures(const RunConfig& config,
                                                  const PricedPlan& priced) {
  if (!priced.timeline) return std::nullopt;
  PredictedFigures figures;
  figures.step_time = priced.timeline->makespan;
  const double seconds = figures.step_time.value;
  figures.samples_per_second = static_cast<double>(config.training.global_batch) / seconds;
  const double model_flops =
      flops_per_microbatch(priced.graph).value * priced.plan.num_microbatches;
  figures.model_flops_per_second_per_device = model_flops / seconds / priced.plan.world_size;
  double busy = 0.0;
  double executed = 0.0;
  for (const RankTime& rank : priced.timeline->ranks) busy += rank.busy[0];
  for (const ProgramTotals& rank : priced.totals) {
    executed += rank.flops;
    for (const auto& [kind, bytes] : rank.bytes_sent) figures.communication_bytes += bytes;
  }
  figures.hardware_flops_per_second_per_device = executed / seconds / priced.plan.world_size;
  figures.bubble = 1.0 - busy / (seconds * priced.plan.world_size);
  return figures;
}

std::vector<ComparedMethod> compare_methods(const RunConfig& config, const ClusterSpec& cluster,
                                            Bytes capacity) {
  std::vector<ComparedMethod> compared;
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::megatron,
        Method::intra_only, Method::inter_only, Method::pipedream, Method::heuristic}) {
    compared.push_back(compare_one(config, method, cluster, capacity));
  }
  return compared;
}

std::string compare_table(const std::vector<ComparedMethod>& compared) {
  std::vector<std::vector<std::string>> rows{{"method", "step time", "too large by"}};
  std::string reasons;
  for (const ComparedMethod& c : compared) {
    rows.push_back({c.method, c.step_time ? to_text(*c.step_time) : "-",
                    c.does_not_fit_by ? to_text(*c.does_not_fit_by) : "-"});
    if (!c.reason.empty()) reasons += c.method + ": " + c.reason + "\n";
  }
  return text_table(rows) + reasons;
}

std::string chrome_trace(const PricedPlan& priced) {
  static const std::array<const char*, 3> kQueueNames = {"kernels", "collectives", "messages"};
  std::string text = "{\"traceEvents\":[";
  bool first = true;
  const auto add = [&](const std::string& event) {
    text += (first ? "\n" : ",\n") + event;
    first = false;
  };
  for (std::size_t r = 0; r < priced.programs.size(); ++r) {
    for (std::size_t q = 0; q < kQueueNames.size(); ++q) {
      add("{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":" + std::to_string(r) + ",\"tid\":" +
          std::to_string(q) + ",\"args\":{\"name\":" + as_json(kQueueNames[q]) + "}}");
    }
  }
  for (const Span& span : priced.timeline->spans) {
    const Program& program = priced.programs[static_cast<std::size_t>(span.rank)];
    const Instruction& instruction = instruction_of(program, span);
    const Call& call = program.calls[static_cast<std::size_t>(span.call)];
    add("{\"ph\":\"X\",\"name\":" + as_json(instruction.name) + ",\"cat\":" +
        as_json(to_string(instruction.phase)) + ",\"pid\":" + std::to_string(span.rank) +
        ",\"tid\":" + std::to_string(span.queue) + ",\"ts\":" + float_text(span.begin * 1e6) +
        ",\"dur\":" + float_text((span.end - span.begin) * 1e6) +
        ",\"args\":{\"microbatch\":" + std::to_string(call.microbatch) + "}}");
  }
  return text + "\n]}\n";
}

}  // namespace alpa
