#include "simulation.hpp"

#include <array>
#include <cmath>

#include "alpa/config/yaml.hpp"

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

}  // namespace

SimulatedPlan simulate_plan(const Graph& graph, const Plan& plan, const WorkspaceSize& workspace,
                            const ClusterSpec& cluster) {
  SimulatedPlan simulated;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    simulated.programs.push_back(lower(graph, plan, rank, workspace).step);
  }
  simulated.timeline = simulate(simulated.programs, costs_on(cluster, graph, plan), true);
  return simulated;
}

std::string simulated_text(const SimulatedPlan& simulated) {
  double busy = 0.0;
  for (const RankTime& rank : simulated.timeline.ranks) busy += rank.busy[0];
  const double all =
      simulated.timeline.makespan.value * static_cast<double>(simulated.programs.size());
  return "simulated: " + to_text(simulated.timeline.makespan) + " a step, no kernel in " +
         std::to_string(std::lround(100.0 * (1.0 - busy / all))) + " % of the time\n";
}

std::string chrome_trace(const SimulatedPlan& simulated) {
  static const std::array<const char*, kQueues> kQueueNames = {"kernels", "collectives", "messages",
                                                               "messages back"};
  std::string text = "{\"traceEvents\":[";
  bool first = true;
  const auto add = [&](const std::string& event) {
    text += (first ? "\n" : ",\n") + event;
    first = false;
  };
  for (std::size_t r = 0; r < simulated.programs.size(); ++r) {
    for (std::size_t q = 0; q < kQueueNames.size(); ++q) {
      add("{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":" + std::to_string(r) + ",\"tid\":" +
          std::to_string(q) + ",\"args\":{\"name\":" + as_json(kQueueNames[q]) + "}}");
    }
  }
  for (const Span& span : simulated.timeline.spans) {
    const Program& program = simulated.programs[static_cast<std::size_t>(span.rank)];
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
