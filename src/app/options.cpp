#include "options.hpp"

#include <CLI/CLI.hpp>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"

namespace alpa {
namespace {

const std::vector<std::string> kKnown = {"--plan-only", "--cluster",      "--plan",    "--resume",
                                         "--verify",    "--check",        "--compare", "--explain",
                                         "--simulate",  "--print-config", "--help",    "--version",
                                         "--export",    "--export-ilp",   "--why-not"};

/// --help may stand alone or name a section, which CLI11's own help cannot.
bool take_help(const std::vector<std::string>& arguments, Options& options) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] != "--help" && arguments[i] != "-h") continue;
    options.help = true;
    if (i + 1 < arguments.size() && !arguments[i + 1].starts_with("-")) {
      options.help_section = arguments[i + 1];
    }
    return true;
  }
  return false;
}

void refuse_unknown(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (!argument.starts_with("--")) continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end()) continue;
    const std::string nearest = nearest_word(name, kKnown);
    throw UserError("command line: unknown option " + name +
                        (nearest.empty() ? "" : " (did you mean " + nearest + "?)") +
                        "; alpa_train --help lists them",
                    ExitCode::usage);
  }
}

}  // namespace

std::string usage() {
  return R"(alpa_train CONFIG.yaml [section.key=value ...] [options]

Trains the model of CONFIG.yaml on all ranks of the launcher (mpirun -np N alpa_train ...), or on
one without a launcher. The same command again goes on where the last one stopped.

  --plan-only         make the plan, print it, write plan.yaml; run nothing. Method auto plans for
                      the ranks that are started, after measuring them if they are not known yet
  --cluster FILE      plan for that cluster instead of the ranks here (implies --plan-only)
  --plan FILE         run this plan; of the section `parallel` only memory_limit counts then
  --compare           also what every method takes, or by how much it does not fit (implies
                      --plan-only)
  --explain           also what was decided for each operator, what it costs, and what the next best
                      choice would cost (implies --plan-only)
  --export-ilp DIR    also every integer program that the search solves, unreduced, as MPS, with the
                      answer that it claims; DIR must be empty or not there (implies --plan-only)
  --why-not SETTINGS  also plan with settings such as parallel.microbatches=4 or
                      "parallel.method=zero3; parallel.stages=1" and say what they would cost beside
                      the plan that is chosen; may be repeated
  --simulate          also the time line of a step, as trace.json for chrome://tracing (implies
                      --plan-only)
  --resume WHAT       auto (default): go on from the newest checkpoint; none: start anew;
                      DIR: start from this checkpoint or run directory
  --verify DIR        check a checkpoint
  --export FILE       write the parameters of the run's newest checkpoint (or of --resume DIR) as
                      safetensors; run nothing
  --check             check configuration, data and memory; run nothing
  --print-config      the configuration with all defaults filled in
  --help [SECTION]    this text, or the keys of a section: model data training optimizer parallel
                      cluster checkpoint logging run
  --version

Exit codes: 0 done, 64 command line, 65 bad data, 66 input missing, 69 no plan fits, 70 a bug,
71 out of memory, 73 run directory, 74 I/O, 75 a rank was lost (start again), 76 checkpoint invalid
or of another model, 78 configuration, 79 numerics, 85 stopped on request after saving (start
again), 93 no progress over three restarts
)";
}

Options parse_options(const std::vector<std::string>& arguments) {
  Options options;
  if (take_help(arguments, options)) return options;
  refuse_unknown(arguments);
  CLI::App parser;
  parser.set_help_flag();
  std::vector<std::string> words;
  std::string cluster, plan, verify, export_to, export_ilp;
  parser.add_option("words", words);
  parser.add_flag("--plan-only", options.plan_only);
  parser.add_flag("--check", options.check);
  parser.add_flag("--compare", options.compare);
  parser.add_flag("--explain", options.explain);
  parser.add_flag("--simulate", options.simulate);
  parser.add_flag("--print-config", options.print_config);
  parser.add_flag("--version", options.version);
  parser.add_option("--cluster", cluster);
  parser.add_option("--plan", plan);
  parser.add_option("--verify", verify);
  parser.add_option("--export", export_to);
  parser.add_option("--export-ilp", export_ilp);
  parser.add_option("--why-not", options.why_not)->allow_extra_args(false);
  parser.add_option("--resume", options.resume);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    parser.parse(reversed);
  } catch (const CLI::ParseError& error) {
    throw UserError("command line: " + std::string(error.what()), ExitCode::usage);
  }
  if (!cluster.empty()) options.cluster = cluster;
  if (!plan.empty()) options.plan = plan;
  if (!verify.empty()) options.verify = verify;
  if (!export_to.empty()) options.export_to = export_to;
  if (!export_ilp.empty()) options.export_ilp = export_ilp;
  options.plan_only = options.plan_only || options.cluster.has_value() || options.compare ||
                      options.explain || options.simulate || options.export_ilp.has_value();
  if (!words.empty()) {
    options.config = words[0];
    options.overrides.assign(words.begin() + 1, words.end());
  }
  if (options.version || options.verify) return options;
  if (options.config.empty()) {
    throw UserError("command line: expected CONFIG.yaml; alpa_train --help shows the usage",
                    ExitCode::usage);
  }
  for (const std::string& word : options.overrides) {
    if (word.find('=') == std::string::npos) {
      throw UserError("command line: found '" + word + "', expected section.key=value",
                      ExitCode::usage);
    }
  }
  return options;
}

}  // namespace alpa
