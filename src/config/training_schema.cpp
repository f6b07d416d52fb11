#include "sections.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 31;
constexpr NumberRange kShare{.min = 0, .max = 1, .open_max = true};
constexpr NumberRange kNotNegative{.min = 0};
constexpr NumberRange kPositive{.min = 0, .open_min = true};

ValueType<std::array<double, 2>> betas_type() {
  return mapped<std::array<double, 2>>(
      list_of(number(kShare), "[beta1, beta2]", 2, 2),
      [](const std::vector<double>& v) { return std::array<double, 2>{v[0], v[1]}; },
      [](const std::array<double, 2>& a) { return std::vector<double>{a[0], a[1]}; });
}

struct SkipLimit {
  std::int64_t skip = 10;
};

ValueType<std::optional<std::int64_t>> on_nonfinite_type() {
  auto limit = section(Section<SkipLimit>(
      {key("skip", &SkipLimit::skip, integer(1, kLargest), "steps skipped before stopping")
           .must_be_given()}));
  auto steps = mapped<std::int64_t>(
      limit, [](SkipLimit s) { return s.skip; }, [](std::int64_t n) { return SkipLimit{n}; });
  steps.expected = "{skip: steps}";
  return word_or("stop", steps);
}

ValueType<std::pair<std::int64_t, std::int64_t>> step_range() {
  using Pair = std::pair<std::int64_t, std::int64_t>;
  return mapped<Pair>(
      list_of(integer(1), "[first step, last step]", 2, 2),
      [](const std::vector<std::int64_t>& v) { return Pair{v[0], v[1]}; },
      [](const Pair& p) { return std::vector<std::int64_t>{p.first, p.second}; });
}

Section<ScheduleConfig> schedule_section() {
  using S = ScheduleConfig;
  return Section<S>({
      key("name", &S::name, choice<RateSchedule>(), "how the rate falls after the warm-up"),
      key("warmup", &S::warmup, integer(0, kLargest), "steps of linear rise from 0"),
      key("final", &S::final_share, number({.min = 0, .max = 1}),
          "share of learning_rate at the last step"),
      key("decay", &S::decay, word_or("auto", integer(1, kLargest)),
          "wsd: steps of the final fall; auto: a fifth of training.steps"),
  });
}

ValueType<ParameterGroup> group_type() {
  using G = ParameterGroup;
  return section(Section<G>({
      key("parameters", &G::parameters, list_of(text(), "a list of one glob or more", 1),
          "names of parameters, as in no_decay")
          .must_be_given(),
      key("learning_rate_factor", &G::learning_rate_factor, number(kNotNegative),
          "times the rate of the schedule"),
      key("weight_decay", &G::weight_decay, if_given(number(kNotNegative)),
          "in the place of optimizer.weight_decay and no_decay"),
  }));
}

}  // namespace

Section<TrainingConfig> training_section() {
  using T = TrainingConfig;
  Section<EvaluateConfig> evaluate({
      key("every", &EvaluateConfig::every, word_or("never", integer(1, kLargest)),
          "steps between evaluations; there is always one at the end"),
      key("samples", &EvaluateConfig::samples, word_or("all", integer(1)),
          "held-out samples used, in order"),
  });
  using L = LossScaleConfig;
  Section<L> loss_scale({
      key("initial", &L::initial, number(kPositive), "of the first step"),
      key("growth_interval", &L::growth_interval, integer(1, kLargest),
          "steps without overflow after which it is doubled"),
      key("minimum", &L::minimum, number(kPositive), "below it training stops"),
  });
  return Section<T>({
      key("steps", &T::steps, integer(1, kLargest), "optimizer steps"),
      key("global_batch", &T::global_batch, integer(1, kLargest),
          "samples per optimizer step over all ranks, whatever the plan"),
      key("precision", &T::precision, choice<Precision>(),
          "type of products and activations; parameters and sums stay fp32 in bf16 and fp16"),
      key("loss_scale", &T::loss_scale, section(loss_scale), "of fp16: halved on overflow"),
      key("seed", &T::seed, integer(0), "of initial values, data order and dropout"),
      key("clip_norm", &T::clip_norm, word_or("none", number(kPositive)),
          "largest norm of the whole gradient"),
      key("label_smoothing", &T::label_smoothing, number(kShare),
          "share of the target of cross-entropy that is spread over all classes"),
      key("loss_reduction", &T::loss_reduction, choice<LossReduction>(),
          "of the losses of a step's tokens or samples, over their weights"),
      key("on_nonfinite", &T::skip_nonfinite, on_nonfinite_type(),
          "what to do on a NaN or infinity in loss or gradients"),
      key("evaluate", &T::evaluate, section(evaluate), ""),
      key("watchdog", &T::watchdog, duration(), "a rank silent for so long is hung; 0: off"),
      key("time_limit", &T::time_limit, two_words_or<Automatic, Never>("auto", "none", duration()),
          "save and stop before it ends; auto: the limit of the Slurm job"),
      key("profile", &T::profile, word_or("none", step_range()),
          "first and last step of which a trace is written"),
  });
}

Section<OptimizerConfig> optimizer_section() {
  using O = OptimizerConfig;
  return Section<O>({
      key("name", &O::name, choice<OptimizerKind>(), "update rule"),
      key("learning_rate", &O::learning_rate, number(kPositive), "highest rate of the schedule"),
      key("momentum", &O::momentum, number(kShare), "momentum: share of the last update kept"),
      key("betas", &O::betas, betas_type(), "adam, adamw, lamb: decay of the two averages"),
      key("epsilon", &O::epsilon, number(kPositive), "adam, adamw, lamb: added to the root"),
      key("relative_step", &O::relative_step, boolean(),
          "adafactor: the rate is a share of the root mean square of each parameter"),
      key("weight_decay", &O::weight_decay, number(kNotNegative),
          "adamw, lamb, adafactor: taken off the weights; others: added to the gradient")
          .with_default_text("0.1 for adamw, else 0.0"),
      key("no_decay", &O::no_decay, list_of(text(), "a list of globs"),
          "parameters without weight decay, by name"),
      key("groups", &O::groups,
          list_of(group_type(), "a list of {parameters, learning_rate_factor, weight_decay}"),
          "settings of some parameters, by name; the first group that matches counts"),
      key("schedule", &O::schedule, section(schedule_section()), ""),
  });
}

Section<CheckpointConfig> checkpoint_section() {
  using C = CheckpointConfig;
  return Section<C>({
      key("every", &C::every, two_words_or<Automatic, Never>("auto", "never", integer(1, kLargest)),
          "steps; auto: from measured cost and expected_failures"),
      key("keep", &C::keep, integer(2, 1'000'000), "newest checkpoints that are kept"),
      key("asynchronous", &C::asynchronous, boolean(), "write beside the running steps"),
      key("on_error", &C::on_error, choice<OnError>(), "when a checkpoint cannot be written"),
      key("expected_failures", &C::expected_failures, duration(),
          "mean time between failures of the job"),
      key("init_from", &C::init_from, word_or("none", text()),
          "safetensors file, checkpoint or run directory whose parameters are the initial values"),
  });
}

Section<LoggingConfig> logging_section() {
  using L = LoggingConfig;
  return Section<L>({
      key("every", &L::every, integer(1, kLargest), "steps between lines"),
      key("level", &L::level, choice<LogLevel>(), "least important messages shown"),
      key("color", &L::color, choice<Color>(), "auto: on a terminal"),
  });
}

Section<ParallelConfig> parallel_section() {
  using P = ParallelConfig;
  const auto count_or_auto = word_or("auto", integer(1, kLargest));
  Section<SearchConfig> search({
      key("seconds", &SearchConfig::seconds, duration(), "wall-clock limit of planning"),
      key("nodes", &SearchConfig::nodes, word_or("auto", integer(1)),
          "limit of planning in search nodes, the same on every machine"),
  });
  return Section<P>({
      key("method", &P::method, choice<Method>(), "search all plans, or a plan by hand"),
      key("plan", &P::plan, word_or("none", text()), "plan file, with method plan"),
      key("data", &P::data, count_or_auto, "megatron: data parallel degree"),
      key("tensor", &P::tensor, count_or_auto, "megatron: tensor parallel degree"),
      key("pipeline", &P::pipeline, count_or_auto, "megatron: stages"),
      key("microbatches", &P::microbatches, count_or_auto, "of a step; divides global_batch"),
      key("stages", &P::stages, count_or_auto, "pipeline stages"),
      key("logical_mesh", &P::logical_mesh,
          word_or("auto", list_of(integer(1, kLargest), "[n] or [n, m]", 1, 2)),
          "logical shape of each mesh"),
      key("schedule", &P::schedule, choice<PipelineSchedule>(), "of the pipeline"),
      key("chunks_per_stage", &P::chunks_per_stage, word_or("auto", integer(2, kLargest)),
          "interleaved: runs of layers that each stage holds; auto: 2"),
      key("warm_up", &P::warm_up,
          word_or("auto",
                  two_words_or<LeastDepth, MostDepth>(
                      "least", "most",
                      list_of(integer(1, kLargest), "a list of a depth for each stage", 1))),
          "1f1b: forwards of stage s of S before its first backward; least: S - s, most: "
          "2(S - s) - 1, which hides transfers for more stash; auto: least, or what a search finds "
          "best"),
      key("recompute", &P::recompute, word_or("auto", choice<Recompute>()),
          "what backward computes again of every layer instead of keeping it; auto: nothing, or "
          "what a search finds best"),
      key("layouts", &P::layouts, text_map("a mapping of operator globs to strategies"),
          "strategies that are fixed; the rest is searched"),
      key("memory_limit", &P::memory_limit, word_or("auto", size()), "of a device"),
      key("search", &P::search, section(search), ""),
  });
}

}  // namespace alpa
