#include "train.hpp"

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "alpa/base/random.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/comm/mpi.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/report/exit_report.hpp"
#include "alpa/report/plan_table.hpp"
#include "alpa/runtime/last_exit.hpp"
#include "alpa/runtime/terminate.hpp"
#include "alpa/storage/run_lock.hpp"
#include "alpa/storage/sha256.hpp"
#include "plan_report.hpp"
#include "setup.hpp"
#include "trainer.hpp"
#include "version.hpp"
#include "world.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

std::string job_id() {
  const char* job = std::getenv("SLURM_JOB_ID");
  return job == nullptr ? "" : job;
}

/// Rank 0's configuration on every rank.
RunConfig share_config(const Options& options, Communicator& world) {
  std::string text;
  if (world.rank() == 0) {
    const RunConfig config = load_run_config(options.config, options.overrides);
    refuse_absent(config);
    text = print_config(config);
  }
  text = broadcast_text(world, text);
  return parse_run_config(text, options.config);
}

void check_same_program(const Options& options, Communicator& world) {
  check_equal_everywhere(world, "program", sha256_of_file("/proc/self/exe"));
  std::string arguments = options.config;
  for (const auto& word : options.overrides) arguments += '\n' + word;
  check_equal_everywhere(world, "command line", arguments);
}

/// The run before, as its directory tells.
struct Before {
  std::optional<Checkpoint> checkpoint;
  bool same_plan = false;
  std::string plan_text;
};

fs::path checkpoints_of(const std::string& resume, const fs::path& run_directory) {
  if (resume == "auto" || resume == "none") return run_directory / "checkpoints";
  const fs::path given(resume);
  return fs::is_directory(given / "checkpoints") ? given / "checkpoints" : given;
}

/// Finds where to go on. On rank 0 alone.
std::optional<Checkpoint> find_checkpoint(const Options& options, const RunConfig& config,
                                          const fs::path& run_directory, Log& log) {
  if (options.resume == "none") return std::nullopt;
  const fs::path where = checkpoints_of(options.resume, run_directory);
  if (fs::exists(where / "manifest") || where.filename().string().starts_with("step_")) {
    return verify_checkpoint(where);
  }
  if (!fs::is_directory(where)) {
    if (options.resume == "auto") return std::nullopt;
    throw UserError("--resume " + options.resume + ": found no checkpoint there",
                    ExitCode::input_missing);
  }
  FoundCheckpoint found = find_newest_valid(where);
  for (const std::string& warning : found.warnings) log.warning(warning);
  (void)config;
  return found.newest;
}

/// A continued run must be the same run.
void check_same_run(const RunConfig& config, const fs::path& run_directory) {
  const fs::path stored = run_directory / "config.yaml";
  if (!fs::exists(stored)) return;
  const RunConfig before = parse_run_config(read_file(stored), stored.string());
  const std::string difference = differing_lines(resume_key(config), resume_key(before));
  if (!difference.empty()) {
    throw UserError(run_directory.string() +
                    ": the run there has another model, data, seed, batch or optimizer; give this "
                    "one another output, or start anew with --resume none:" +
                    difference);
  }
}

std::string model_of(const RunConfig& config) { return sha256_of(resume_key(config)); }

/// Rank 0's plan as text: that of the run before, where it still fits the ranks and the model.
std::string decide_plan(const Options& options, const RunConfig& config, int world_size,
                        const fs::path& run_directory, bool resumes, Log& log) {
  const fs::path stored = run_directory / "plan.yaml";
  if (resumes && !options.plan && fs::exists(stored)) {
    const std::string text = read_file(stored);
    const Plan plan = parse_plan(text, stored.string());
    RunConfig before = parse_run_config(read_file(run_directory / "config.yaml"), "config.yaml");
    const bool same_request = before.parallel == config.parallel;
    if (plan.world_size == world_size && same_request) {
      const Graph graph =
          build_graph(config, config.training.global_batch / plan.num_microbatches);
      if (plan.graph_fingerprint == fingerprint(graph)) return text;
    }
    log.info("the plan of the run before is for " + std::to_string(plan.world_size) +
             " ranks or other settings: planning again");
  }
  const Plan plan = choose_plan(config, world_size, options.plan);
  const Graph graph = build_graph(config, config.training.global_batch / plan.num_microbatches);
  return to_yaml(plan, graph, {});
}

ProgramTotals parse_totals(const std::string& text) {
  ProgramTotals totals;
  std::istringstream in(text);
  std::string kind;
  std::size_t sent = 0;
  in >> totals.flops >> sent;
  for (std::size_t i = 0; i < sent; ++i) {
    double bytes = 0;
    std::int64_t count = 0;
    in >> kind >> bytes >> count;
    totals.bytes_sent.emplace_back(kind, bytes);
    totals.counts.emplace_back(kind, count);
  }
  for (int c = 0; c < kNumMemoryClasses; ++c) {
    std::int64_t bytes = 0;
    in >> bytes;
    totals.memory.push_back({bytes});
  }
  return totals;
}

std::string to_text(const ProgramTotals& totals) {
  std::ostringstream out;
  out.precision(17);
  out << totals.flops << ' ' << totals.bytes_sent.size() << ' ';
  for (std::size_t i = 0; i < totals.bytes_sent.size(); ++i) {
    out << totals.bytes_sent[i].first << ' ' << totals.bytes_sent[i].second << ' '
        << totals.counts[i].second << ' ';
  }
  for (const Bytes b : totals.memory) out << b.value << ' ';
  return out.str();
}

}  // namespace

ExitCode train(const Options& options, Communicator& world, Process& process) {
  const bool root = world.rank() == 0;
  check_same_program(options, world);
  const RunConfig config = share_config(options, world);
  process.watchdog.set_patience(config.training.watchdog);
  const fs::path run_directory(config.output);

  // Rank 0 owns the run directory: lock, leftovers, where to go on.
  process.faults.reach("plan");
  std::unique_ptr<RunLock> lock;
  std::string resume_from;
  std::string plan_text;
  if (root) {
    check_data_paths(config);
    make_directories(run_directory / "checkpoints");
    lock = std::make_unique<RunLock>(run_directory, this_process(job_id()));
    if (lock->taken_over()) process.log.warning("took over the lock of a dead run");
    process.log.open(run_directory / "log.txt");
    remove_leftovers(run_directory / "checkpoints");
    const auto checkpoint = find_checkpoint(options, config, run_directory, process.log);
    const bool resumes = checkpoint && options.resume == "auto";
    if (resumes) check_same_run(config, run_directory);
    const LastExit before = note_start(run_directory, checkpoint ? checkpoint->info.step : 0);
    if (!before.cause.empty()) process.log.info("the run before: " + before.cause);
    if (checkpoint) resume_from = checkpoint->directory.string();
    process.watchdog.enter(RunPhase::plan);
    plan_text = decide_plan(options, config, world.size(), run_directory, resumes, process.log);
    process.watchdog.enter(RunPhase::load);
    prepare_data(config, run_directory);
  }
  resume_from = broadcast_text(world, resume_from);
  plan_text = broadcast_text(world, plan_text);
  check_equal_everywhere(world, "plan", std::to_string(hash_of(plan_text)));
  process.watchdog.write_heartbeats(run_directory);
  install_terminate_handler({world.rank(), host_name(), run_directory,
                             [&process] { return process.watchdog.where(); },
                             {}, world.size() > 1 ? abort_all : std::function<void(int)>()});

  const Plan plan = parse_plan(plan_text, (run_directory / "plan.yaml").string());
  const Graph graph = build_graph(config, config.training.global_batch / plan.num_microbatches);
  validate(plan, graph);
  const auto hosts = host_of_ranks(world);
  const LocalRank local = local_rank(hosts, world.rank());
  const int threads = threads_of_rank(local.size);
  const std::unique_ptr<Device> device = make_device(config, threads);
  RankPrograms programs = lower(graph, plan, world.rank(), workspace_of(*device));

  // Every rank's figures on every rank: the table, the refusal before anything is allocated.
  const ProgramTotals mine = totals(programs.step);
  std::vector<ProgramTotals> all;
  for (const auto& text : gather_texts(world, to_text(mine))) all.push_back(parse_totals(text));
  std::vector<Bytes> arenas;
  for (const auto& text : gather_texts(world, std::to_string(programs.step.arena.value))) {
    arenas.push_back({std::stoll(text)});
  }
  const Bytes capacity = capacity_of_rank(config, local.size);
  if (root) {
    const std::string objection = memory_objection(config, plan, all, arenas, capacity);
    if (!objection.empty()) throw UserError(objection, ExitCode::no_plan);
    const std::string table = start_text(config, graph, plan, all, *device, threads, hosts);
    std::fputs(table.c_str(), stdout);
    std::fflush(stdout);
    process.log.block(table);
    replace_file(run_directory / "config.yaml", print_config(config));
    replace_file(run_directory / "plan.yaml",
                 to_yaml(plan, graph, stage_figures(plan, all, arenas, capacity)));
  }
  world.barrier();

  process.watchdog.enter(RunPhase::load);
  process.faults.reach("load");
  const Dataset dataset = open_dataset(config, run_directory);
  Bytes largest{0};
  for (const Bytes arena : arenas) largest = std::max(largest, arena);
  Engine engine(std::move(programs), *device, world);
  const std::string model = model_of(config);
  Checkpointer checkpointer(run_directory / "checkpoints", config.checkpoint, model, engine, graph,
                            world, process.faults, process.log);
  Trainer trainer({config, graph, plan, dataset, largest, run_directory}, engine, checkpointer,
                  world, process);
  if (resume_from.empty()) {
    engine.initialize(graph, static_cast<std::uint64_t>(config.training.seed));
  } else {
    const Checkpoint checkpoint = read_checkpoint(resume_from);
    load_checkpoint(checkpoint, model, checkpointer.tensors(), engine);
    trainer.resume(checkpoint.info.step, checkpoint.info.run_state);
    checkpointer.set_saved_step(checkpoint.info.step);
    if (root) process.log.info("going on after step " + std::to_string(checkpoint.info.step));
    if (root && checkpoint.info.step >= config.training.steps) {
      std::fputs("nothing to do: the run has all its steps\n", stdout);
    }
  }
  const Program& step_program = engine.programs().step;
  process.watchdog.watch(engine.position(), [&step_program](const Position& position) {
    return describe(step_program, position);
  });
  install_terminate_handler({world.rank(), host_name(), run_directory,
                             [&process] { return process.watchdog.where(); },
                             [&trainer] { return trainer.steps_done(); },
                             world.size() > 1 ? abort_all : std::function<void(int)>()});
  const ExitCode code = trainer.run();

  process.watchdog.unwatch();
  process.watchdog.enter(RunPhase::finalize, trainer.steps_done());
  process.faults.reach("finalize");
  const auto ranks = gather_texts(world, rank_yaml(world.rank(), engine.executed(), mine.memory));
  if (root) {
    const std::string reason = code == ExitCode::done ? "done" : "stopped on request after saving";
    write_exit_yaml(run_directory, {static_cast<int>(code), reason, trainer.steps_done(), 0},
                    ranks);
  }
  return code;
}

}  // namespace alpa
