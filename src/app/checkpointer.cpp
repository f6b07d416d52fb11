#include "checkpointer.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "alpa/base/error.hpp"
#include "alpa/base/overloaded.hpp"

#include "world.hpp"

namespace alpa {

Checkpointer::Checkpointer(std::filesystem::path folder, const CheckpointConfig& config,
                           std::string model, const Engine& engine, const Graph& graph,
                           Communicator& world, FaultPlan faults, Log& log)
    : folder_(std::move(folder)),
      config_(config),
      model_(std::move(model)),
      engine_(engine),
      world_(world),
      faults_(std::move(faults)),
      log_(log),
      last_(std::chrono::steady_clock::now()) {
  gather_tensors(graph);
}

Checkpointer::~Checkpointer() {
  if (writing_.valid()) writing_.wait();
  if (publishing_.valid()) publishing_.wait();
}

void Checkpointer::gather_tensors(const Graph& graph) {
  std::map<std::string, std::int32_t> index;
  for (const Tensor& t : graph.tensors) {
    if (t.role != Role::parameter && t.role != Role::optimizer_state) continue;
    index[t.name] = static_cast<std::int32_t>(tensors_.size());
    tensors_.push_back({t.name, t.shape, t.dtype});
  }
  for (const StateEntry& entry : engine_.state()) {
    if (!entry.owner) continue;
    pieces_.push_back({index.at(entry.tensor), entry.box});
    entries_.push_back(&entry);
  }
}

bool Checkpointer::due(std::int64_t step) const {
  if (step == saved_step_) return false;
  return std::visit(overloaded{[&](Automatic) {
                                 if (busy()) return false;
                                 // Young's interval: sqrt(2 * cost * mean time between failures).
                                 const double interval =
                                     std::sqrt(2 * cost_.value * config_.expected_failures.value);
                                 const auto since = std::chrono::steady_clock::now() - last_;
                                 return std::chrono::duration<double>(since).count() >= interval;
                               },
                               [](Never) { return false; },
                               [&](std::int64_t every) { return step % every == 0; }},
                    config_.every);
}

void Checkpointer::begin(std::int64_t step, const std::map<std::string, std::string>& run_state) {
  finish();
  if (step == saved_step_) return;
  began_ = std::chrono::steady_clock::now();
  step_ = step;
  run_state_ = run_state;
  FaultPlan faults = faults_;
  faults.reach("checkpoint:" + std::to_string(step) + ".stage");
  if (!snapshot_) snapshot_ = std::make_unique<RankSnapshot>(tensors_, pieces_, world_.rank());
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    engine_.read_state(*entries_[i], snapshot_->piece(i));
  }
  state_ = State::writing;
  const auto policy = config_.asynchronous ? std::launch::async : std::launch::deferred;
  writing_ = std::async(policy, [this, step] {
    try {
      return Written{snapshot_->write(folder_, step, faults_.checkpoint_hook(step)), ""};
    } catch (const Error& error) {  // carried to all ranks, which decide together
      return Written{std::nullopt, error.what()};
    }
  });
}

bool Checkpointer::ready() const {
  const auto done = [](const auto& future) {
    return future.wait_for(std::chrono::seconds(0)) != std::future_status::timeout;
  };
  switch (state_) {
    case State::idle:
      return false;
    case State::writing:
      return done(writing_);
    case State::publishing:
      return world_.rank() != 0 || done(publishing_);
  }
  return false;
}

void Checkpointer::advance() {
  if (state_ == State::writing)
    end_writing();
  else if (state_ == State::publishing)
    end_publishing();
}

void Checkpointer::finish() {
  while (busy()) advance();
}

void Checkpointer::end_writing() {
  const Written mine = writing_.get();
  const auto texts = gather_texts(world_, mine.file ? "+" + to_text(*mine.file) : "-" + mine.error);
  std::vector<StateFile> files;
  std::string error;
  for (std::size_t r = 0; r < texts.size(); ++r) {
    if (texts[r][0] == '+')
      files.push_back(state_file_from_text(texts[r].substr(1)));
    else if (error.empty())
      error = "rank " + std::to_string(r) + ": " + texts[r].substr(1);
  }
  if (!error.empty()) {
    if (world_.rank() == 0) abandon_checkpoint(folder_, step_);
    state_ = State::idle;
    fail(error);
    return;
  }
  state_ = State::publishing;
  if (world_.rank() != 0) return;
  const auto policy = config_.asynchronous ? std::launch::async : std::launch::deferred;
  publishing_ = std::async(policy, [this, files = std::move(files)]() -> std::string {
    try {
      const CheckpointInfo info{step_, model_, run_state_, tensors_};
      const Published published = publish_checkpoint(
          folder_, info, files, static_cast<int>(config_.keep), faults_.checkpoint_hook(step_));
      for (const std::string& warning : published.warnings) log_.warning(warning);
      return "";
    } catch (const Error& failure) {
      return failure.what();
    }
  });
}

void Checkpointer::end_publishing() {
  const std::string error =
      broadcast_text(world_, world_.rank() == 0 ? publishing_.get() : std::string());
  state_ = State::idle;
  if (!error.empty()) {
    fail(error);
    return;
  }
  saved_step_ = step_;
  last_ = std::chrono::steady_clock::now();
  cost_.value = std::max(1e-3, std::chrono::duration<double>(last_ - began_).count());
  if (world_.rank() == 0) log_.info("saved checkpoint of step " + std::to_string(step_));
}

void Checkpointer::fail(const std::string& error) {
  const std::string text = "checkpoint of step " + std::to_string(step_) + ": " + error;
  last_ = std::chrono::steady_clock::now();
  if (config_.on_error == OnError::stop) throw SystemError(text, ExitCode::io);
  if (world_.rank() == 0) log_.warning(text + "; training goes on");
}

void load_checkpoint(const Checkpoint& checkpoint, const std::string& model,
                     const std::vector<StateTensor>& tensors, Engine& engine) {
  check_same_model(checkpoint, model, tensors);
  std::vector<std::vector<std::byte>> hosts;
  std::vector<LoadPiece> pieces;
  hosts.reserve(engine.state().size());
  for (const StateEntry& entry : engine.state()) {
    const Bytes size = bytes_of(entry.box.extent, entry.dtype);
    hosts.emplace_back(static_cast<std::size_t>(size.value));
    pieces.push_back({entry.tensor, entry.box, hosts.back()});
  }
  load_pieces(checkpoint, pieces);
  for (std::size_t i = 0; i < hosts.size(); ++i) engine.write_state(engine.state()[i], hosts[i]);
}

}  // namespace alpa
