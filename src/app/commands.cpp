#include "commands.hpp"

#include <cstdio>
#include <filesystem>
#include <optional>
#include <unistd.h>

#include "alpa/base/error.hpp"
#include "alpa/checkpoint/load.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/storage/file.hpp"

#include "devices.hpp"
#include "explain.hpp"
#include "ilp_export.hpp"
#include "interchange.hpp"
#include "methods_priced.hpp"
#include "plan_report.hpp"
#include "planner.hpp"
#include "planning_progress.hpp"
#include "run_data.hpp"
#include "setup.hpp"
#include "simulation.hpp"
#include "version.hpp"
#include "why_not.hpp"
#include "world.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  if (text.empty() || text.back() != '\n') std::fputc('\n', stdout);
}

void verify_command(const std::string& directory) {
  const Checkpoint checkpoint = verify_checkpoint(directory);
  std::int64_t elements = 0;
  for (const StateTensor& t : checkpoint.info.tensors) elements += num_elements(t.shape);
  print(directory + ": step " + std::to_string(checkpoint.info.step) + ", " +
        std::to_string(checkpoint.info.tensors.size()) + " tensors, " + std::to_string(elements) +
        " elements, " + std::to_string(checkpoint.files.size()) + " files: valid");
}

/// What is planned for, and how it is called.
struct Place {
  Target target;
  std::vector<std::string> hosts;  ///< name of every rank's
  std::string device;
  int threads = 0;                ///< of each rank; 0: elsewhere
  std::unique_ptr<Device> owner;  ///< of target.workspace
};

Place place_of(const RunConfig& config, const ClusterConfig& cluster) {
  Place place{target_of(config, cluster), {}, "", 0, nullptr};
  place.hosts = host_names(*place.target.cluster);
  place.device = kinds_text(*place.target.cluster);
  return place;
}

/// Collective.
Place place_here(const RunConfig& config, Communicator& world, int ranks, bool measure,
                 Process& process) {
  Devices devices = find_devices(config, world);
  Profile profile;
  if (ranks == world.size()) {
    ProfileRequest request;
    request.measure = measure;
    request.info = [&](const std::string& text) { process.log.info(text); };
    request.warning = [&](const std::string& text) { process.log.warning(text); };
    request.progress = [&](const std::string&, double) { process.watchdog.alive(); };
    profile = find_profile(config, devices, world, request);
  } else if (measure) {
    throw UserError(
        "planning needs the speed of the devices, and ranks started like this cannot "
        "measure it: use mpirun or srun --mpi=pmix, or name a cluster with --cluster "
        "FILE",
        ExitCode::usage);
  }
  if (ranks != world.size()) devices.hosts.assign(static_cast<std::size_t>(ranks), host_name());
  const int ranks_of_host = ranks == world.size() ? devices.local.size : ranks;
  const int threads = threads_of_rank(ranks_of_host);
  Target target =
      target_here(config, ranks, std::move(profile.cluster),
                  capacity_of_rank(config, ranks_of_host), workspace_of(*devices.device));
  std::string name = devices.device->name();
  return {std::move(target), std::move(devices.hosts), std::move(name), threads,
          std::move(devices.device)};
}

StageNeeds needs_of(const Planned& planned, const Target& target) {
  if (planned.price) return {planned.price->totals, planned.price->arenas};
  StageNeeds needs;
  for (const StagePlan& stage : planned.plan.stages) {
    const Program program =
        lower(planned.graph, planned.plan, stage.ranks.back(), target.workspace).step;
    needs.totals.push_back(totals(program));
  }
  const auto memory = stage_memory(planned.graph, planned.plan, target.workspace);
  for (std::size_t s = 0; s < memory.size(); ++s) {
    needs.arenas.push_back(memory[s].arena);
    needs.totals[s].memory = memory[s].memory;
  }
  return needs;
}

void write_plan(const RunConfig& config, const Planned& planned, const PlanFigures& figures) {
  const fs::path folder(config.output);
  make_directories(folder);
  replace_file(folder / "plan.yaml", to_yaml(planned.plan, planned.graph, figures));
  replace_file(folder / "config.yaml", print_config(config));
  print("wrote " + (folder / "plan.yaml").string());
}

void simulate_command(const RunConfig& config, const Planned& planned, const Target& target) {
  const SimulatedPlan simulated =
      simulate_plan(planned.graph, planned.plan, target.workspace, *target.cluster);
  print(simulated_text(simulated));
  const fs::path file = fs::path(config.output) / "trace.json";
  make_directories(config.output);
  replace_file(file, chrome_trace(simulated));
  print("wrote " + file.string());
}

/// @throws UserError (usage) where --export-ilp would find nothing
void check_searches(const Options& options, const RunConfig& config) {
  const bool searches = !options.plan && config.parallel.method == Method::automatic;
  if (searches || options.compare) return;
  throw UserError(
      "--export-ilp: a plan by hand or from a file takes no integer program; expected "
      "parallel.method=auto, or --compare",
      ExitCode::usage);
}

/// On rank 0.
void plan_for(const Options& options, const RunConfig& config, const Place& place,
              Process& process) {
  if (options.simulate && !place.target.cluster->axes.empty()) {
    throw UserError(
        "--simulate: the cluster has mesh_axes, which price a logical mesh and no links; "
        "expected hosts with links",
        ExitCode::usage);
  }
  const std::vector<WhyNot> questions = why_not_questions(options);
  PlanningProgress progress(process, STDERR_FILENO, process.stderr_watched);
  PlanningTalk talk;
  talk.progress = [&](const std::string& phase, double share, std::optional<Seconds> best) {
    progress.say(phase, share, best);
  };
  talk.warning = [&](const std::string& text) { process.log.warning(text); };
  std::optional<IlpExport> exported;
  if (options.export_ilp) {
    check_searches(options, config);
    exported.emplace(*options.export_ilp);
    talk.record = [&](const std::string& question, const Problem& problem,
                      const Solution& solution) { exported->add(question, problem, solution); };
  }
  const Planned made = make_plan(config, place.target, options.plan, options.compare, talk);
  progress.finish();
  const StageNeeds needs = needs_of(made, place.target);
  const std::string objection = memory_objection(config, place.target, made.plan, needs);
  if (!objection.empty()) throw UserError(objection, ExitCode::no_plan);
  print(start_text(config, made, by_rank(made.plan, needs), place.device, place.threads,
                   place.hosts));
  print(prediction_text(config, made));
  if (options.explain) print(explain(config, place.target, made));
  if (options.simulate) simulate_command(config, made, place.target);
  talk.record = {};
  for (const WhyNot& question : questions) {
    const std::string answer = why_not(question, options, config, place.target, made, talk);
    progress.finish();
    print("\n" + answer);
  }
  if (exported) {
    const std::size_t programs = exported->finish();
    print("wrote " + *options.export_ilp + ": " + std::to_string(programs) +
          (programs == 1 ? " integer program" : " integer programs") +
          (programs == 0 ? " (so few plans that each was looked at)" : ""));
  }
  if (options.check) return;
  write_plan(config, made, plan_figures(config, place.target, made, needs, place.hosts));
}

/// What is named is there, and what can be opened without a run directory fits the model.
void check_data(const RunConfig& config) {
  check_data_paths(config);
  if (config.data.source == DataSource::text) return;
  static_cast<void>(open_dataset(config, build_graph(config, samples_of_group(config.model)), ""));
}

void export_command(const Options& options) {
  const RunConfig config = load_run_config(options.config, options.overrides);
  refuse_absent(config);
  const auto warn = [](const std::string& text) { std::fputs((text + "\n").c_str(), stderr); };
  const auto checkpoint = find_checkpoint(options.resume, config.output, warn);
  if (!checkpoint) {
    throw UserError("--export: found no checkpoint in " + config.output +
                        ", expected a run that has saved one (output=DIR or --resume DIR)",
                    ExitCode::input_missing);
  }
  const Graph graph = build_graph(config, samples_of_group(config.model));
  export_parameters(*checkpoint, config.model.preset, graph, *options.export_to);
  print("wrote " + *options.export_to + ": the parameters of " + checkpoint->directory.string());
}

}  // namespace

bool is_command(const Options& options) {
  return options.version || options.help || options.verify || options.print_config ||
         options.export_to;
}

bool is_planning(const Options& options) { return options.check || options.plan_only; }

void run_command(const Options& options) {
  if (options.version) {
    print(version_text());
  } else if (options.help) {
    print(options.help_section.empty() ? usage() : help_text(options.help_section));
  } else if (options.verify) {
    verify_command(*options.verify);
  } else if (options.export_to) {
    export_command(options);
  } else {
    print(print_config(load_run_config(options.config, options.overrides)));
  }
}

void plan_command(const Options& options, Communicator& world, int ranks, Process& process) {
  const RunConfig config = share_config(options, world);
  const bool root = world.rank() == 0;
  process.log.configure(config.logging.level, process.stderr_watched);
  if (root && options.check) check_data(config);
  const bool elsewhere =
      options.cluster.has_value() || !std::holds_alternative<DetectCluster>(config.cluster);
  if (!elsewhere) {
    const bool measure = needs_prices(config, options.plan) || options.compare || options.explain ||
                         options.simulate || !options.why_not.empty();
    const Place place = place_here(config, world, ranks, measure, process);
    if (root) plan_for(options, config, place, process);
  } else if (root) {
    const auto cluster = options.cluster ? load_cluster(*options.cluster) : cluster_of(config);
    plan_for(options, config, place_of(config, *cluster), process);
  }
  if (root && options.check) print("the configuration is fine");
  (void)broadcast_text(world, "");  // until rank 0 is done
}

}  // namespace alpa
