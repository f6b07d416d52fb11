#include "train.hpp"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <unistd.h>

#include "alpa/base/random.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/comm/mpi.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/probe/probe.hpp"
#include "alpa/report/exit_report.hpp"
#include "alpa/runtime/last_exit.hpp"
#include "alpa/runtime/terminate.hpp"
#include "alpa/storage/run_lock.hpp"
#include "alpa/storage/sha256.hpp"

#include "devices.hpp"
#include "interchange.hpp"
#include "kept_plan.hpp"
#include "methods_priced.hpp"
#include "plan_report.hpp"
#include "planner.hpp"
#include "planning_progress.hpp"
#include "run_data.hpp"
#include "setup.hpp"
#include "trainer.hpp"
#include "version.hpp"
#include "why_not.hpp"
#include "world.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

std::string job_id() {
  const char* job = std::getenv("SLURM_JOB_ID");
  return job == nullptr ? "" : job;
}

void check_same_program(const Options& options, Communicator& world) {
  check_equal_everywhere(world, "program", sha256_of_file("/proc/self/exe"));
  std::string arguments = options.config;
  for (const auto& word : options.overrides) arguments += '\n' + word;
  check_equal_everywhere(world, "command line", arguments);
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

/// Issue order and sizes of the collectives of each group this rank is in, as text lines
/// "members:hash".
std::string group_fingerprints(const Program& program) {
  std::map<std::size_t, std::string> sequences;
  for (const Call& call : program.calls) {
    for (const Instruction& i :
         program.segments[static_cast<std::size_t>(call.segment)].instructions) {
      const auto* c = std::get_if<Collective>(&i.action);
      if (c == nullptr) continue;
      Bytes total{0};
      for (const Bytes size : c->piece_sizes) total += size;
      const Bytes whole = c->kind == Collective::Kind::all_reduce ? c->in.size : total;
      const bool uneven = c->kind == Collective::Kind::all_to_all;
      sequences[c->group.index()] +=
          to_string(c->kind) + (uneven ? "" : std::to_string(whole.value));
    }
  }
  std::string text;
  for (const auto& [group, sequence] : sequences) {
    for (const int member : program.groups[group]) text += std::to_string(member) + ",";
    text += ":" + std::to_string(hash_of(sequence)) + "\n";
  }
  return text;
}

/// @throws Error (bug) if two members of a group would issue different collectives
void check_groups(const Program& program, Communicator& world) {
  std::map<std::string, std::pair<std::size_t, std::string>> first;
  const auto texts = gather_texts(world, group_fingerprints(program));
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    std::istringstream lines(texts[rank]);
    for (std::string line; std::getline(lines, line);) {
      const auto colon = line.find(':');
      const auto [it, is_new] = first.try_emplace(line.substr(0, colon), rank, line.substr(colon));
      if (is_new || it->second.second == line.substr(colon)) continue;
      throw SystemError("ranks " + std::to_string(it->second.first) + " and " +
                            std::to_string(rank) + " disagree on the collectives of group " +
                            it->first,
                        ExitCode::bug);
    }
  }
}

/// One rank's way from configuration to exit.yaml.
class Run {
 public:
  Run(const Options& options, Communicator& world, Process& process)
      : options_(options), world_(world), process_(process), root_(world.rank() == 0) {}

  ExitCode train() {
    check_same_program(options_, world_);
    config_ = share_config(options_, world_);
    directory_ = config_.output;
    process_.watchdog.set_patience(config_.training.watchdog);
    const Color color = config_.logging.color;
    process_.log.configure(
        config_.logging.level,
        color == Color::always || (color == Color::automatic && process_.stderr_watched));
    process_.watchdog.enter(RunPhase::plan);
    process_.faults.reach("plan");
    const std::string resume_from = broadcast_text(world_, root_ ? take_directory() : "");
    watch_directory({});
    devices_ = find_devices(config_, world_);
    find_target(resume_from);
    const std::string plan_text = broadcast_text(world_, root_ ? prepare(resume_from) : "");
    check_equal_everywhere(world_, "plan", std::to_string(hash_of(plan_text)));
    Planned planned = planned_ ? std::move(*planned_) : Planned{};
    planned.plan = parse_plan(plan_text, (directory_ / "plan.yaml").string());
    planned.graph = graph_of(config_, planned.plan);
    check_equal_everywhere(world_, "model", std::to_string(fingerprint(planned.graph)));
    validate(planned.plan, planned.graph);
    return run_plan(planned, resume_from);
  }

 private:
  /// Rank 0 owns the run directory: lock, leftovers. Returns the checkpoint to go on from, or
  /// nothing.
  std::string take_directory() {
    check_cluster();
    check_data_paths(config_);
    make_directories(directory_ / "checkpoints");
    lock_ = std::make_unique<RunLock>(directory_, this_process(job_id()));
    if (lock_->taken_over()) process_.log.warning("took over the lock of a dead run");
    process_.log.open(directory_ / "log.txt");
    remove_leftovers(directory_ / "checkpoints");
    const auto checkpoint =
        find_checkpoint(options_.resume, directory_,
                        [this](const std::string& text) { process_.log.warning(text); });
    if (checkpoint && options_.resume == "auto") check_same_run(config_, directory_);
    const LastExit before = note_start(directory_, checkpoint ? checkpoint->info.step : 0);
    if (!before.cause.empty()) process_.log.info("the run before: " + before.cause);
    if (config_.checkpoint.init_from) find_initial_parameters(checkpoint.has_value());
    return checkpoint ? checkpoint->directory.string() : "";
  }

  /// Before anything is planned, so that what is missing is told at once.
  void find_initial_parameters(bool goes_on) {
    const std::string& from = *config_.checkpoint.init_from;
    if (goes_on) {
      process_.log.info("checkpoint.init_from=" + from +
                        " is left alone: the run goes on from its own checkpoint");
      return;
    }
    initial_ = find_initial(from, [this](const std::string& text) { process_.log.warning(text); });
  }

  /// Whether the plan is to be that of the run in the directory.
  [[nodiscard]] bool continues(const std::string& resume_from) const {
    return !resume_from.empty() && options_.resume == "auto" && !options_.plan;
  }

  /// The devices with their speed, as far as it is known or needed. Collective.
  void find_target(const std::string& resume_from) {
    const Bytes available = capacity_of_rank(config_, devices_.local.size);
    const WorkspaceSize workspace = workspace_of(*devices_.device);
    if (!std::holds_alternative<DetectCluster>(config_.cluster)) {
      if (root_) target_ = target_of(config_, *cluster_of(config_));
      target_.ranks = world_.size();
      target_.workspace = workspace;
      return;
    }
    ProfileRequest request;
    if (continues(resume_from)) request.run_directory = directory_;
    request.measure = needs_prices(config_, options_.plan) || !options_.why_not.empty();
    request.info = [this](const std::string& text) { say(text); };
    request.warning = [this](const std::string& text) { process_.log.warning(text); };
    request.progress = [this](const std::string&, double) { process_.watchdog.alive(); };
    profile_ = find_profile(config_, devices_, world_, request);
    target_ = target_here(config_, world_.size(), profile_.cluster, available, workspace);
    if (!root_) return;
    if (!profile_.cluster) {
      process_.log.info(
          "no profile of these devices yet: nothing is predicted (method auto measures once)");
      return;
    }
    process_.log.info("profile: " + profile_.origin);
  }

  /// The plan as text, and the text of the data as tokens.
  std::string prepare(const std::string& resume_from) {
    const std::vector<WhyNot> questions = why_not_questions(options_);
    std::optional<std::string> text;
    if (continues(resume_from)) text = kept_plan();
    keeps_plan_ = text.has_value();
    if (!text) text = new_plan();
    for (const WhyNot& question : questions) answer(question);
    process_.watchdog.enter(RunPhase::load);
    prepare_data(config_, directory_);
    return *text;
  }

  /// The plan of the run before, where it is still for these ranks, devices, settings and model.
  std::optional<std::string> kept_plan() {
    const KeptPlan kept = plan_of_run_before(config_, target_, profile_, directory_);
    if (kept.text.empty()) {
      if (!kept.reason.empty()) say(kept.reason + ": planning again");
      return std::nullopt;
    }
    process_.log.info("the plan is that of the run before");
    planned_ = planned(config_, target_, parse_plan(kept.text, "plan.yaml"));
    return kept.text;
  }

  std::string new_plan() {
    PlanningProgress progress(process_, STDOUT_FILENO, process_.stdout_watched);
    planned_ = make_plan(config_, target_, options_.plan, false, talk_of(progress));
    progress.finish();
    process_.log.info(phases_text(*planned_));
    return to_yaml(planned_->plan, planned_->graph);
  }

  void answer(const WhyNot& question) {
    PlanningProgress progress(process_, STDOUT_FILENO, process_.stdout_watched);
    const std::string text =
        why_not(question, options_, config_, target_, *planned_, talk_of(progress));
    progress.finish();
    say(text);
  }

  PlanningTalk talk_of(PlanningProgress& progress) {
    PlanningTalk talk;
    talk.progress = [&](const std::string& phase, double share, std::optional<Seconds> best) {
      progress.say(phase, share, best);
    };
    talk.warning = [&](const std::string& text) { process_.log.warning(text); };
    return talk;
  }

  /// On the screen and in the log.
  void say(const std::string& text) {
    if (process_.log.shows(LogLevel::info)) {
      std::fputs((text + "\n").c_str(), stdout);
      std::fflush(stdout);
    }
    process_.log.info(text);
  }

  void check_cluster() const {
    const auto cluster = cluster_of(config_);
    if (!cluster) return;
    const int devices = target_of(config_, *cluster).ranks;
    if (devices != world_.size()) {
      throw UserError("cluster: it has " + std::to_string(devices) + " devices, found " +
                      std::to_string(world_.size()) +
                      " ranks: start one rank per device, or plan alone with --plan-only");
    }
  }

  /// From now on heartbeats and the terminate handler use the run directory.
  void watch_directory(std::function<std::int64_t()> step) {
    process_.watchdog.write_heartbeats(directory_);
    TerminateContext context;
    context.rank = world_.rank();
    context.host = host_name();
    context.run_directory = directory_;
    context.where = [&watchdog = process_.watchdog] { return watchdog.where(); };
    context.step = std::move(step);
    if (world_.size() > 1) context.end = abort_all;
    install_terminate_handler(std::move(context));
  }

  ExitCode run_plan(const Planned& planned, const std::string& resume_from) {
    const Plan& plan = planned.plan;
    const Graph& graph = planned.graph;
    Device& device = *devices_.device;
    RankPrograms programs = lower(graph, plan, world_.rank(), target_.workspace);
    check_groups(programs.step, world_);
    if (root_ && process_.log.shows(LogLevel::trace)) trace_program(programs.step);
    const ProgramTotals mine = totals(programs.step);
    const Bytes largest = show_plan(planned, programs.step, mine);
    process_.watchdog.enter(RunPhase::load);
    process_.faults.reach("load");
    const Dataset dataset = open_dataset(config_, graph, directory_);
    Engine engine(std::move(programs), device, world_);
    const std::string data = dataset.fingerprint();
    check_equal_everywhere(world_, "data", data);
    TrainerInput input{config_,          graph,   plan,       dataset, data,
                       id_limits(graph), largest, directory_, {},      {}};
    if (planned.price) input.predicted = planned.price->step_time;
    if (root_ && target_.cluster) input.peak = peak_of(config_, *target_.cluster);
    return run_engine(std::move(input), engine, resume_from, mine);
  }

  void trace_program(const Program& program) {
    std::istringstream lines(alpa::to_text(program));
    for (std::string line; std::getline(lines, line);) process_.log.trace(line);
  }

  /// Every rank's figures on rank 0: the table, and the refusal before anything is allocated.
  Bytes show_plan(const Planned& planned, const Program& program, const ProgramTotals& mine) {
    std::vector<ProgramTotals> all;
    for (const auto& text : gather_texts(world_, to_text(mine))) all.push_back(parse_totals(text));
    std::vector<Bytes> arenas;
    Bytes largest{0};
    for (const auto& text : gather_texts(world_, std::to_string(program.arena.value))) {
      arenas.push_back({std::stoll(text)});
      largest = std::max(largest, arenas.back());
    }
    if (root_) write_start(planned, all, arenas);
    world_.barrier();
    return largest;
  }

  void write_start(const Planned& planned, const std::vector<ProgramTotals>& all,
                   const std::vector<Bytes>& arenas) {
    StageNeeds needs;  // of the last rank of each stage, with the memory of the one that needs most
    for (const StagePlan& stage : planned.plan.stages) {
      auto most = static_cast<std::size_t>(stage.ranks.back());
      needs.totals.push_back(all[most]);
      for (const int rank : stage.ranks) {
        const auto r = static_cast<std::size_t>(rank);
        if (arenas[r] > arenas[most]) most = r;
      }
      needs.totals.back().memory = all[most].memory;
      needs.arenas.push_back(arenas[most]);
    }
    const std::string objection = memory_objection(config_, target_, planned.plan, needs);
    if (!objection.empty()) throw UserError(objection, ExitCode::no_plan);
    std::string table = start_text(config_, planned, all, devices_.device->name(), devices_.threads,
                                   devices_.hosts);
    const std::string prediction = prediction_text(config_, planned);
    if (!prediction.empty()) table += "\n" + prediction;
    std::fputs(table.c_str(), stdout);
    std::fflush(stdout);
    process_.log.block(table);
    replace_file(directory_ / "config.yaml", print_config(config_));
    if (profile_.cluster) save_profile(*profile_.cluster, directory_ / "profile.yaml");
    if (keeps_plan_) return;
    const PlanFigures figures = plan_figures(config_, target_, planned, needs, devices_.hosts);
    replace_file(directory_ / "plan.yaml", to_yaml(planned.plan, planned.graph, figures));
  }

  ExitCode run_engine(TrainerInput input, Engine& engine, const std::string& resume_from,
                      const ProgramTotals& mine) {
    const Graph& graph = input.graph;
    const std::string model = model_of(config_);
    Checkpointer checkpointer(directory_ / "checkpoints", config_.checkpoint, model, engine, graph,
                              world_, process_.faults, process_.log);
    Trainer trainer(std::move(input), engine, checkpointer, world_, process_);
    if (resume_from.empty()) {
      engine.initialize(graph, static_cast<std::uint64_t>(config_.training.seed));
      const std::string from = broadcast_text(world_, initial_);
      if (!from.empty()) load_initial(from, config_.model.preset, graph, engine);
      if (root_ && !from.empty()) process_.log.info("parameters of " + from);
    } else {
      go_on(resume_from, model, engine, checkpointer, trainer);
    }
    const Program& program = engine.programs().step;
    process_.watchdog.watch(engine.position(), [&program](const Position& position) {
      return describe(program, position);
    });
    watch_directory([&trainer] { return trainer.steps_done(); });
    const ExitCode code = trainer.run();
    process_.watchdog.unwatch();
    process_.watchdog.enter(RunPhase::finalize, trainer.steps_done());
    process_.faults.reach("finalize");
    watch_directory({});
    const auto ranks = gather_texts(
        world_, rank_yaml(world_.rank(), engine.executed_steps(), engine.executed(), mine.memory));
    if (root_) {
      const std::string reason =
          code == ExitCode::done ? "done" : "stopped on request after saving";
      write_exit_yaml(directory_, {static_cast<int>(code), reason, trainer.steps_done(), 0}, ranks);
    }
    return code;
  }

  void go_on(const std::string& resume_from, const std::string& model, Engine& engine,
             Checkpointer& checkpointer, Trainer& trainer) {
    const Checkpoint checkpoint = read_checkpoint(resume_from);
    load_checkpoint(checkpoint, model, checkpointer.tensors(), engine);
    trainer.resume(checkpoint.info.step, checkpoint.info.run_state);
    checkpointer.set_saved_step(checkpoint.info.step);
    if (!root_) return;
    process_.log.info("going on after step " + std::to_string(checkpoint.info.step));
    if (checkpoint.info.step >= config_.training.steps) {
      std::fputs("nothing to do: the run has all its steps\n", stdout);
    }
  }

  const Options& options_;
  Communicator& world_;
  Process& process_;
  bool root_;
  RunConfig config_;
  fs::path directory_;
  std::unique_ptr<RunLock> lock_;
  Devices devices_;
  Profile profile_;
  Target target_;
  std::optional<Planned> planned_;  ///< on rank 0
  bool keeps_plan_ = false;         ///< of the run before: plan.yaml stays as it is
  std::string initial_;             ///< on rank 0: where the first parameters come from; or empty
};

}  // namespace

ExitCode train(const Options& options, Communicator& world, Process& process) {
  return Run(options, world, process).train();
}

}  // namespace alpa
