#include "why_not.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/report/plan_table.hpp"
#include "alpa/report/text.hpp"

#include "plan_report.hpp"
#include "setup.hpp"

namespace alpa {
namespace {

const std::vector<std::string> kKeys = {
    "parallel.method",    "parallel.data",         "parallel.tensor",
    "parallel.pipeline",  "parallel.stages",       "parallel.microbatches",
    "parallel.schedule",  "parallel.logical_mesh", "parallel.layouts",
    "parallel.recompute", "parallel.memory_limit", "parallel.chunks_per_stage",
    "parallel.warm_up"};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

[[noreturn]] void refuse(const std::string& found, const std::string& expected) {
  throw UserError("--why-not: found '" + found + "', expected " + expected, ExitCode::usage);
}

void check_setting(const std::string& setting) {
  const auto equals = setting.find('=');
  if (equals == std::string::npos) refuse(setting, "parallel.key=value");
  const std::string key = setting.substr(0, equals);
  if (key == "parallel.method" && trimmed(setting.substr(equals + 1)) == "plan") {
    refuse(setting, "a method that makes a plan");
  }
  if (std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end()) return;
  const std::string near = nearest_word(key, kKeys);
  std::string expected = "a setting of parallel that a plan can have";
  if (!near.empty()) expected += " (did you mean " + near + "?)";
  refuse(key, expected);
}

/// The configuration with the settings.
RunConfig with_settings(const WhyNot& question, const Options& options, const RunConfig& config) {
  std::vector<std::string> arguments = options.overrides;
  arguments.insert(arguments.end(), question.settings.begin(), question.settings.end());
  RunConfig changed = config;
  changed.parallel = load_run_config(options.config, arguments).parallel;
  const auto& given = config.parallel.layouts;
  if (changed.parallel.layouts == given) return changed;
  std::erase_if(changed.parallel.layouts, [&](const auto& layout) {
    return std::find(given.begin(), given.end(), layout) != given.end();
  });
  changed.parallel.layouts.insert(changed.parallel.layouts.begin(), given.begin(), given.end());
  return changed;
}

/// Sums in another order may differ by so much.
constexpr double kRounding = 1e-9;

/// Parts of a step on an average device that works; they add up to the step time.
struct Parts {
  double kernels = 0.0, collectives = 0.0, pipeline = 0.0, norm = 0.0;
};

Parts parts_of(const Planned& planned) {
  const auto [kernels, collectives] = device_time(planned.plan, *planned.price);
  const PlanPrice& price = *planned.price;
  const double rest = (price.step_time - price.norm - kernels - collectives).value;
  const bool waits = std::abs(rest) > kRounding * price.step_time.value;
  return {kernels.value, collectives.value, waits ? rest : 0.0, price.norm.value};
}

/// Stage whose device needs most.
std::size_t fullest(const PlanPrice& price) {
  return static_cast<std::size_t>(std::max_element(price.arenas.begin(), price.arenas.end()) -
                                  price.arenas.begin());
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g %%", 100.0 * share);
  return text;
}

std::string signed_time(double seconds) {
  return (seconds < 0 ? "-" : "+") + to_text(Seconds{std::abs(seconds)});
}

std::string signed_bytes(Bytes bytes) {
  if (bytes.value == 0) return "0";
  return (bytes.value < 0 ? "-" : "+") + to_text(Bytes{std::abs(bytes.value)});
}

/// The table of two plans.
class Comparison {
 public:
  Comparison(const RunConfig& config, const Planned& chosen, const Planned& other)
      : config_(config), chosen_(chosen), other_(other) {}

  std::string text() {
    shape();
    times();
    memory();
    return text_table(rows_);
  }

 private:
  void row(const std::string& name, const std::string& a, const std::string& b,
           const std::string& difference = "") {
    rows_.push_back({name, a, b, difference});
  }

  void time(const std::string& name, double a, double b) {
    const bool same = std::abs(b - a) <= kRounding * std::max(std::abs(a), std::abs(b));
    row(name, to_text(Seconds{a}), to_text(Seconds{b}), same ? "0" : signed_time(b - a));
  }

  static std::string meshes(const Plan& plan) {
    std::string text;
    std::string last;
    int times = 0;
    const auto flush = [&] {
      if (times == 0) return;
      text += (text.empty() ? "" : ", ") + (times > 1 ? std::to_string(times) + " x " : "") + last;
    };
    for (const StagePlan& stage : plan.stages) {
      std::string mesh = "[";
      for (std::size_t a = 0; a < stage.mesh.extents.size(); ++a) {
        mesh += (a > 0 ? ", " : "") + std::to_string(stage.mesh.extents[a]);
      }
      mesh += "]";
      if (mesh != last) {
        flush();
        times = 0;
        last = mesh;
      }
      ++times;
    }
    flush();
    return text;
  }

  static std::string depths(const Plan& plan) {
    std::string text;
    for (const int depth : plan.warm_up) text += (text.empty() ? "" : " ") + std::to_string(depth);
    return text.empty() ? "-" : text;
  }

  static std::string again(const Plan& plan) {
    std::string text;
    for (const StagePlan& stage : plan.stages) {
      text += (text.empty() ? "" : ", ") + recompute_text(plan, stage);
    }
    return text;
  }

  void shape() {
    const Plan& a = chosen_.plan;
    const Plan& b = other_.plan;
    row("method", a.method, b.method);
    row("stages", std::to_string(a.stages.size()), std::to_string(b.stages.size()));
    row("logical meshes", meshes(a), meshes(b));
    row("microbatches", std::to_string(a.num_microbatches), std::to_string(b.num_microbatches));
    row("schedule", to_string(a.schedule), to_string(b.schedule));
    if (a.warm_up != b.warm_up) row("warm-up", depths(a), depths(b));
    if (!a.recompute.empty() || !b.recompute.empty()) row("recomputed", again(a), again(b));
  }

  void times() {
    const PlanPrice& a = *chosen_.price;
    const PlanPrice& b = *other_.price;
    time("step time", a.step_time.value, b.step_time.value);
    const Parts x = parts_of(chosen_);
    const Parts y = parts_of(other_);
    time("  kernels", x.kernels, y.kernels);
    time("  collectives", x.collectives, y.collectives);
    time("  pipeline: waiting", x.pipeline, y.pipeline);
    time("  norm of all ranks", x.norm, y.norm);
    time("once a step: prepare", a.prepare.value, b.prepare.value);
    time("once a step: reduce", a.reduce.value, b.reduce.value);
    time("once a step: update", a.update.value, b.update.value);
    const auto bound = [](const Planned& p) {
      return p.search ? to_text(Seconds{p.search->lower_bound}) : std::string("-");
    };
    const auto gap = [](const Planned& p) {
      return p.search ? percent(p.search->gap) : std::string("-");
    };
    row("no plan takes less than", bound(chosen_), bound(other_));
    row("gap", gap(chosen_), gap(other_));
  }

  void memory() {
    const std::size_t s = fullest(*chosen_.price);
    const std::size_t t = fullest(*other_.price);
    const auto bytes = [this](const std::string& name, Bytes a, Bytes b) {
      row(name, to_text(a), to_text(b), signed_bytes(b - a));
    };
    bytes("memory of the fullest device", chosen_.price->arenas[s], other_.price->arenas[t]);
    for (int c = 0; c < kNumMemoryClasses; ++c) {
      const auto i = static_cast<std::size_t>(c);
      bytes("  " + to_string(static_cast<MemoryClass>(c)), chosen_.price->totals[s].memory[i],
            other_.price->totals[t].memory[i]);
    }
    const auto sent = [this](const Planned& p) {
      return Bytes{static_cast<std::int64_t>(predicted_figures(config_, p)->communication_bytes)};
    };
    bytes("sent by all devices", sent(chosen_), sent(other_));
  }

  const RunConfig& config_;
  const Planned& chosen_;
  const Planned& other_;
  std::vector<std::vector<std::string>> rows_{{"", "chosen", "with it", "difference"}};
};

/// The class of time that differs most.
std::string main_reason(const Planned& chosen, const Planned& other) {
  const Parts a = parts_of(chosen);
  const Parts b = parts_of(other);
  const std::vector<std::pair<double, std::string>> differences = {
      {b.kernels - a.kernels, "kernels"},
      {b.collectives - a.collectives, "collectives"},
      {b.pipeline - a.pipeline, "waiting in the pipeline"}};
  const auto most = std::max_element(differences.begin(), differences.end());
  if (most->first <= 0.0) return "";
  return ", most of it in " + most->second + " (" + signed_time(most->first) + ")";
}

std::string proof_text(const Planned& chosen, const Planned& other) {
  if (!other.search) return "";
  const double bound = other.search->lower_bound;
  if (bound >= chosen.price->step_time.value) {
    return " Proved: no plan with it takes less than " + to_text(Seconds{bound}) + ".";
  }
  return " Not proved: the bound on plans with it is " + to_text(Seconds{bound}) +
         ", less than the chosen plan takes.";
}

std::string verdict(const Planned& chosen, const Planned& other, Bytes missing) {
  if (missing.value > 0) {
    const std::size_t s = fullest(*other.price);
    return "It does not fit: rank " + std::to_string(other.plan.stages[s].ranks.back()) +
           " would need " + to_text(other.price->arenas[s]) + ", " + to_text(missing) +
           " more than it has.";
  }
  const double a = chosen.price->step_time.value;
  const double b = other.price->step_time.value;
  if (other.plan.stages == chosen.plan.stages &&
      other.plan.num_microbatches == chosen.plan.num_microbatches &&
      other.plan.recompute == chosen.plan.recompute &&
      other.plan.schedule == chosen.plan.schedule && other.plan.warm_up == chosen.plan.warm_up) {
    return "The chosen plan does so.";
  }
  const std::string times = to_text(Seconds{b}) + " a step instead of " + to_text(Seconds{a});
  if (b > a) {
    return "It takes " + times + ", " + percent(b / a - 1.0) + " longer" +
           main_reason(chosen, other) + "." + proof_text(chosen, other);
  }
  if (b == a) return "It takes as long: " + to_text(Seconds{a}) + " a step.";
  return "It takes " + times + ", " + percent(1.0 - b / a) +
         " shorter: better than the chosen plan. Set it to use it.";
}

}  // namespace

std::vector<WhyNot> why_not_questions(const Options& options) {
  std::vector<WhyNot> questions;
  for (const std::string& text : options.why_not) {
    WhyNot question{text, {}};
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(';', begin), text.size());
      const std::string setting = trimmed(text.substr(begin, end - begin));
      if (!setting.empty()) {
        check_setting(setting);
        question.settings.push_back(setting);
      }
      begin = end + 1;
    }
    if (question.settings.empty()) refuse(text, "parallel.key=value");
    questions.push_back(std::move(question));
  }
  return questions;
}

std::string why_not(const WhyNot& question, const Options& options, const RunConfig& config,
                    const Target& target, const Planned& chosen, const PlanningTalk& talk) {
  const std::string title = "why not " + question.text + "?\n";
  try {
    const RunConfig changed = with_settings(question, options, config);
    Target limited = target;
    if (changed.parallel.memory_limit) limited.limit = changed.parallel.memory_limit;
    const Planned other = make_plan(changed, limited, std::nullopt, false, talk);
    const Bytes missing = missing_bytes(other.plan, other.price->arenas, limited);
    return title + verdict(chosen, other, missing) + "\n" +
           Comparison(config, chosen, other).text();
  } catch (const Error& error) {
    if (error.code() == ExitCode::no_plan) {
      const std::string_view what = error.what();
      const std::string_view known = "no plan fits: ";
      return title + "No plan with it fits: " +
             std::string(what.substr(what.starts_with(known) ? known.size() : 0)) + "\n";
    }
    if (error.code() != ExitCode::configuration) throw;
    return title + "It cannot be: " + error.what() + "\n";
  }
}

}  // namespace alpa
