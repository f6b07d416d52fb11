#include "trainer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <unistd.h>
#include <utility>

#include "alpa/base/low_precision.hpp"
#include "alpa/base/overloaded.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/graph/training.hpp"

#include "learning_rate.hpp"
#include "world.hpp"

namespace alpa {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

TimeLimit time_limit_of(const TrainingConfig& training) {
  return std::visit(overloaded{[](Automatic) { return TimeLimit::of_job(process_environment); },
                               [](Never) { return TimeLimit(); },
                               [](Seconds duration) { return TimeLimit::after_start(duration); }},
                    training.time_limit);
}

/// The last look before a kernel takes them as indices.
void check_ids(const InputEntry& entry, std::span<const std::int32_t> ids, std::int64_t limit) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    throw UserError("the batch's " + entry.tensor + ", element " + std::to_string(i) +
                        " of this rank's part " + to_string(entry.box) + ", is " +
                        std::to_string(ids[i]) + ", expected an id in [0, " +
                        std::to_string(limit) + ")",
                    ExitCode::bad_data);
  }
}

template <class T>
std::span<T> as(std::span<std::byte> bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

std::string to_text(std::int64_t value) { return std::to_string(value); }

/// Whether there is one loss with labels, so that its hits are a share of the weights.
bool has_one_classifier(const Graph& graph) {
  const auto correct = graph.find_tensor(scalar_name::kCorrect);
  if (!correct) return false;
  return std::count_if(graph.operators.begin(), graph.operators.end(), [&](const Operator& op) {
           return std::find(op.results.begin(), op.results.end(), *correct) != op.results.end();
         }) == 1;
}

/// Whether each token has a label, so that the loss is the cross-entropy of tokens.
bool predicts_tokens(const Graph& graph) {
  const auto tokens = graph.find_tensor("tokens");
  const auto labels = graph.find_tensor("labels");
  return tokens && labels && has_one_classifier(graph) &&
         graph.tensor(*tokens).shape == graph.tensor(*labels).shape;
}

}  // namespace

Trainer::Trainer(TrainerInput input, Engine& engine, Checkpointer& checkpointer,
                 Communicator& world, Process& process)
    : in_(std::move(input)),
      engine_(engine),
      checkpointer_(checkpointer),
      world_(world),
      process_(process),
      limit_(time_limit_of(in_.config.training)),
      progress_(STDOUT_FILENO, process.stdout_watched,
                [this](std::string_view text) { process_.log.warning(text); }),
      loss_scale_(in_.config.training) {
  engine_.options.before = [this](const Instruction& instruction, const Call&) {
    if (before_sums_ && instruction.phase == StepPhase::reduce) {
      std::exchange(before_sums_, nullptr)();
    }
    if (process_.faults.empty() || instruction.phase == StepPhase::transfer) return;
    process_.faults.reach_step(step_ + 1, to_string(instruction.phase));
  };
}

void Trainer::resume(std::int64_t step, const std::map<std::string, std::string>& run_state) {
  step_ = step;
  const auto data = run_state.find("data");
  if (data != run_state.end() && data->second != in_.data_fingerprint) {
    throw UserError("the data is not what the run was trained on up to step " + to_text(step) +
                        ": its SHA-256 is " + in_.data_fingerprint + ", expected " + data->second +
                        ": bring the data back, or start anew with --resume none",
                    ExitCode::checkpoint);
  }
  const auto number = [&](const char* name, std::int64_t otherwise) {
    const auto it = run_state.find(name);
    return it == run_state.end() ? otherwise : std::stoll(it->second);
  };
  updates_ = number("updates", step);
  skipped_ = number("skipped", 0);
  loss_scale_.restore(run_state);
}

std::map<std::string, std::string> Trainer::run_state() const {
  std::map<std::string, std::string> state = {{"updates", to_text(updates_)},
                                              {"skipped", to_text(skipped_)},
                                              {"data", in_.data_fingerprint}};
  loss_scale_.save(state);
  return state;
}

std::map<std::string, double> Trainer::scalars(double weight, bool training) const {
  const bool sum = training && in_.config.training.loss_reduction == LossReduction::sum;
  const double inverse_weight = weight <= 0 ? 0.0 : sum ? 1.0 : 1.0 / weight;
  return {{scalar_name::kLearningRate,
           learning_rate(in_.config.optimizer, step_ + 1, in_.config.training.steps)},
          {scalar_name::kOptimizerStep, static_cast<double>(updates_ + 1)},
          {scalar_name::kDropoutStep, static_cast<double>(step_ + 1)},
          {scalar_name::kTraining, training ? 1.0 : 0.0},
          {scalar_name::kInverseWeight, inverse_weight},
          {scalar_name::kLossScale, loss_scale_.value()},
          {scalar_name::kInverseLossScale, 1.0 / loss_scale_.value()},
          {scalar_name::kGradientWeight, inverse_weight * loss_scale_.value()}};
}

FillInput Trainer::fill(Split split, std::int64_t batch) {
  return [this, split, batch](const InputEntry& entry, int microbatch, std::span<std::byte> host) {
    fill_one(split, batch, entry, microbatch, host);
  };
}

void Trainer::fill_one(Split split, std::int64_t batch, const InputEntry& entry, int microbatch,
                       std::span<std::byte> host) {
  Box box = entry.box;
  box.offset[0] += microbatch * in_.graph.microbatch_size;
  if (entry.dtype == DType::i32)
    in_.dataset.fill(split, batch, entry.tensor, box, as<std::int32_t>(host));
  else if (entry.dtype == DType::f32)
    in_.dataset.fill(split, batch, entry.tensor, box, as<float>(host));
  else if (size_of(entry.dtype) == 2)
    fill_low(split, batch, entry, box, as<std::uint16_t>(host));
  else
    in_.dataset.fill(split, batch, entry.tensor, box, as<double>(host));
  inject(entry, host);
  if (entry.dtype != DType::i32) return;
  const auto limit = in_.id_limits.find(entry.tensor);
  if (limit != in_.id_limits.end()) check_ids(entry, as<std::int32_t>(host), limit->second);
}

void Trainer::fill_low(Split split, std::int64_t batch, const InputEntry& entry, const Box& box,
                       std::span<std::uint16_t> host) {
  single_.resize(host.size());
  in_.dataset.fill(split, batch, entry.tensor, box, std::span<float>(single_));
  const auto rounded = entry.dtype == DType::bf16 ? to_bf16 : to_f16;
  std::transform(single_.begin(), single_.end(), host.begin(), rounded);
}

void Trainer::inject(const InputEntry& entry, std::span<std::byte> host) {
  if (data_fault_ == FaultAction::none) return;
  if (data_fault_ == FaultAction::bad_token && entry.dtype == DType::i32) {
    as<std::int32_t>(host)[0] = std::numeric_limits<std::int32_t>::max();
    data_fault_ = FaultAction::none;
  } else if (entry.tensor == "weights") {
    const double value = data_fault_ == FaultAction::nan ? std::numeric_limits<double>::quiet_NaN()
                                                         : std::numeric_limits<double>::infinity();
    if (entry.dtype == DType::f32)
      as<float>(host)[0] = static_cast<float>(value);
    else
      as<double>(host)[0] = value;
    data_fault_ = FaultAction::none;
  }
}

ExitCode Trainer::run() {
  if (is_root()) {
    metrics_ = std::make_unique<MetricsWriter>(
        in_.run_directory / "metrics.jsonl", step_,
        [this](std::string_view text) { process_.log.warning(text); });
  }
  const TrainingConfig& training = in_.config.training;
  while (step_ < training.steps) {
    process_.watchdog.enter(RunPhase::train, step_ + 1);
    train_step();
    const bool last = step_ == training.steps;
    const auto every = training.evaluate.every;
    if (last || (every && step_ % *every == 0)) last_.evaluation = evaluate();
    if (is_root()) report(last_);
    const Agreed agreed = agree();
    if (agreed.checkpoint_ready) checkpointer_.advance();
    if (agreed.save) clear_save_request();
    const bool never = std::holds_alternative<Never>(in_.config.checkpoint.every);
    if (agreed.stop || agreed.save || agreed.checkpoint_due || (last && !never)) save();
    if (agreed.stop && !last) {
      process_.watchdog.enter(RunPhase::checkpoint, step_);
      checkpointer_.finish();
      progress_.finish();
      return ExitCode::stopped;
    }
  }
  process_.watchdog.enter(RunPhase::checkpoint, step_);
  checkpointer_.finish();
  progress_.finish();
  report_evaluation();
  report_measured();
  return ExitCode::done;
}

void Trainer::save() {
  process_.watchdog.enter(RunPhase::checkpoint, step_);
  if (metrics_) metrics_->sync();
  checkpointer_.begin(step_, run_state());
  if (!in_.config.checkpoint.asynchronous) checkpointer_.finish();
}

void Trainer::train_step() {
  const auto start = Clock::now();
  const std::int64_t step = step_ + 1;
  step_fault_ = process_.faults.reach_step(step, "data");
  data_fault_ = step_fault_;
  const double weight = in_.dataset.total_weight(Split::training, step);
  const auto values = scalars(weight, true);
  const auto results = engine_.step(values, fill(Split::training, step));
  const double loss = results.at(scalar_name::kLoss);
  const double norm_squared = results.at(scalar_name::kNormSquared);
  if (loss_scale_.is_used() && std::isfinite(loss))
    adapt_loss_scale(norm_squared);
  else
    check_finite(loss, norm_squared, values);
  last_ = {};
  last_.skipped = !std::isfinite(norm_squared);
  if (loss_scale_.is_used()) last_.loss_scale = values.at(scalar_name::kLossScale);
  last_.step = step;
  last_.loss = loss;
  last_.lr = values.at(scalar_name::kLearningRate);
  last_.grad_norm = std::sqrt(norm_squared);
  last_.step_time.value = seconds_since(start);
  last_.tokens = in_.graph.find_tensor("tokens").has_value();
  const double count =
      last_.tokens ? weight : static_cast<double>(in_.config.training.global_batch);
  last_.rate = count / last_.step_time.value;
  last_.flops_per_second =
      flops_per_microbatch(in_.graph).value * in_.plan.num_microbatches / last_.step_time.value;
  last_.memory = in_.arena;
  if (weight > 0 && has_one_classifier(in_.graph)) {
    last_.accuracy = results.at(scalar_name::kCorrect) / weight;
  }
  last_.predicted_step_time = in_.predicted;
  if (is_root()) step_times_.push_back(last_.step_time.value);
  const bool first = recent_step_time_ == 0.0;
  recent_step_time_ =
      first ? last_.step_time.value : 0.9 * recent_step_time_ + 0.1 * last_.step_time.value;
  step_ = step;
  if (last_.skipped)
    ++skipped_;
  else
    ++updates_;
}

/// Computes the failed step again to see which ranks go wrong before sums over ranks spread it.
/// Parameters are as before the step; what becomes of them now does not matter any more.
std::vector<std::string> Trainer::nonfinite_before_sums(
    const std::map<std::string, double>& values) {
  std::string mine;
  before_sums_ = [&] {
    for (const std::string& name : engine_.nonfinite_gradients()) {
      if (mine.size() < 200) mine += (mine.empty() ? "" : ", ") + name;
    }
  };
  data_fault_ = step_fault_;
  (void)engine_.step(values, fill(Split::training, step_ + 1));
  before_sums_ = nullptr;
  return gather_texts(world_, mine);
}

void Trainer::check_finite(double loss, double norm_squared,
                           const std::map<std::string, double>& values) {
  if (std::isfinite(loss) && std::isfinite(norm_squared)) return;
  const auto limit = in_.config.training.skip_nonfinite;
  if (limit && skipped_ < *limit && !std::isfinite(norm_squared)) return;
  const auto texts = nonfinite_before_sums(values);
  std::string text = "step " + std::to_string(step_ + 1) + ": the loss is " + std::to_string(loss) +
                     " and the squared gradient norm " + std::to_string(norm_squared);
  std::string where;
  for (std::size_t r = 0; r < texts.size() && where.size() < 1000; ++r) {
    if (!texts[r].empty()) where += "; not finite on rank " + std::to_string(r) + ": " + texts[r];
  }
  if (where.empty()) {
    where =
        "; no gradient is bad when the step is computed again: a sum over ranks overflows, or a "
        "machine is faulty";
  }
  text += where;
  if (limit) text += "; steps skipped before: " + std::to_string(skipped_);
  throw UserError(text +
                      ". Nothing was updated; lower optimizer.learning_rate, or set "
                      "training.on_nonfinite={skip: N} to pass over such steps",
                  ExitCode::numerics);
}

void Trainer::adapt_loss_scale(double norm_squared) {
  const double before = loss_scale_.value();
  loss_scale_.adapt(!std::isfinite(norm_squared));
  if (!is_root() || loss_scale_.value() >= before) return;
  process_.log.info("step " + to_text(step_ + 1) +
                    " is passed over, its gradients overflow in fp16; loss scale " +
                    shortest(loss_scale_.value()));
}

Trainer::Agreed Trainer::agree() {
  const SignalRequests requests = signal_requests();
  const bool out_of_time = is_root() && must_stop(limit_.remaining(), checkpointer_.cost(),
                                                  Seconds{recent_step_time_}, Seconds{2.0});
  const bool due = is_root() && checkpointer_.due(step_);
  const bool busy = checkpointer_.busy();
  const auto any =
      world_max(world_, {requests.stop || out_of_time ? 1.0 : 0.0, requests.save ? 1.0 : 0.0,
                         due ? 1.0 : 0.0, busy && !checkpointer_.ready() ? 1.0 : 0.0});
  return {any[0] > 0, any[1] > 0, any[2] > 0, busy && any[3] == 0};
}

EvaluationMetrics Trainer::evaluate() {
  const bool classifies = has_one_classifier(in_.graph);
  double loss = 0;
  double correct = 0;
  double weight = 0;
  for (std::int64_t batch = 0; batch < in_.dataset.num_evaluation_batches(); ++batch) {
    process_.watchdog.enter(RunPhase::evaluate, step_);
    process_.watchdog.alive();
    const double w = in_.dataset.total_weight(Split::evaluation, batch);
    if (w <= 0) continue;
    const auto results = engine_.evaluate(scalars(w, false), fill(Split::evaluation, batch));
    loss += results.at(scalar_name::kLoss) * w;
    weight += w;
    if (classifies) correct += results.at(scalar_name::kCorrect);
  }
  EvaluationMetrics found;
  found.loss = weight > 0 ? loss / weight : std::numeric_limits<double>::quiet_NaN();
  if (classifies && weight > 0) found.accuracy = correct / weight;
  // A smoothed loss is no cross-entropy of the tokens.
  if (!predicts_tokens(in_.graph) || in_.config.training.label_smoothing > 0.0) return found;
  found.perplexity = std::exp(found.loss);
  const DataConfig& data = in_.config.data;
  if (data.source == DataSource::text && !data.masking) {
    found.bits_per_byte = found.loss / std::numbers::ln2;
  }
  return found;
}

void Trainer::report_evaluation() {
  if (!is_root() || !last_.evaluation || !std::isfinite(last_.evaluation->loss)) return;
  const std::string text = "evaluation after step " + std::to_string(step_) + ": loss " +
                           evaluation_text(*last_.evaluation);
  if (process_.log.shows(LogLevel::info)) progress_.print(text);
  process_.log.info(text);
}

/// The first step, in which libraries make their kernels, is left out.
void Trainer::report_measured() {
  if (!in_.predicted || step_times_.size() < 2) return;
  const auto begin = step_times_.begin() + 1;
  const auto middle = begin + (step_times_.end() - begin) / 2;
  std::nth_element(begin, middle, step_times_.end());
  const std::string text = "predicted " + alpa::to_text(*in_.predicted) + " a step, measured " +
                           alpa::to_text(Seconds{*middle}) + " (median of " +
                           std::to_string(step_times_.size() - 1) + " steps)";
  if (process_.log.shows(LogLevel::info)) progress_.print(text);
  process_.log.info(text);
}

void Trainer::report(const StepMetrics& metrics) {
  metrics_->write(metrics);
  process_.log.debug(to_json(metrics));
  const std::int64_t steps = in_.config.training.steps;
  const bool shown = metrics.step % in_.config.logging.every == 0 || metrics.step == steps ||
                     metrics.step == 1 || metrics.evaluation;
  if (!shown) return;
  const Seconds left{recent_step_time_ * static_cast<double>(steps - metrics.step)};
  const std::string line = progress_text(metrics, steps, in_.peak, left);
  if (process_.log.shows(LogLevel::info)) {
    if (metrics.evaluation)
      progress_.print(line);
    else
      progress_.update(line);
  }
  process_.log.info(line);
}

}  // namespace alpa
