#include "alpa/runtime/engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"

namespace alpa {
namespace {

/// Calls visit(global row-major index, place in the box) for each element of a box.
template <class Visit>
void for_each_element(const Shape& full, const Box& box, const Visit& visit) {
  const std::int64_t count = num_elements(box.extent);
  std::vector<std::int64_t> at(full.size(), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t global = 0;
    for (std::size_t d = 0; d < full.size(); ++d) {
      global = global * full[d] + box.offset[d] + at[d];
    }
    visit(global, static_cast<std::size_t>(i));
    for (std::size_t d = full.size(); d-- > 0;) {
      if (++at[d] < box.extent[d]) break;
      at[d] = 0;
    }
  }
}

template <class T>
void fill_initial(const Tensor& tensor, const Box& box, std::uint64_t seed,
                  std::vector<std::byte>& host) {
  std::vector<T> values(static_cast<std::size_t>(num_elements(box.extent)));
  const std::uint64_t key = stream_key(seed, tensor.name);
  for_each_element(tensor.shape, box, [&](std::int64_t global, std::size_t i) {
    const Initializer& init = tensor.initializer;
    const double value = init.kind == Initializer::Kind::constant
                             ? init.value
                             : init.deviation * normal(key, 0, static_cast<std::uint64_t>(global));
    values[i] = static_cast<T>(value);
  });
  std::memcpy(host.data(), values.data(), host.size());
}

template <class T>
bool all_finite(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return std::all_of(values.begin(), values.end(), [](T v) { return std::isfinite(v); });
}

}  // namespace

double initial_value(const Tensor& tensor, std::uint64_t seed, std::int64_t index) {
  const Initializer& init = tensor.initializer;
  if (init.kind == Initializer::Kind::constant) return init.value;
  return init.deviation *
         normal(stream_key(seed, tensor.name), 0, static_cast<std::uint64_t>(index));
}

Engine::Engine(RankPrograms programs, Device& device, Communicator& world)
    : programs_(std::move(programs)),
      device_(device),
      world_(world),
      groups_(world, {&programs_.step, &programs_.evaluate}),
      arena_(device.allocate(programs_.step.arena)) {}

Engine::~Engine() { device_.release(arena_); }

std::byte* Engine::address(const Program& program, BufferId buffer, int slot) const {
  const Buffer& b = program.buffer(buffer);
  return arena_ + b.offset.value + b.stride.value * slot;
}

void Engine::initialize(const Graph& graph, std::uint64_t seed) {
  for (const StateEntry& entry : state()) {
    const auto id = graph.find_tensor(entry.tensor);
    ALPA_CHECK(id.has_value());
    const Tensor& tensor = graph.tensor(*id);
    std::vector<std::byte> host(
        static_cast<std::size_t>(bytes_of(entry.box.extent, entry.dtype).value));
    if (tensor.role == Role::parameter) {
      if (entry.dtype == DType::f64)
        fill_initial<double>(tensor, entry.box, seed, host);
      else if (entry.dtype == DType::f32)
        fill_initial<float>(tensor, entry.box, seed, host);
      else
        throw SystemError("initialize: " + entry.tensor + " has a dtype without an initializer",
                          ExitCode::bug);
    }
    write_state(entry, host);
  }
}

std::map<std::string, double> Engine::run(const Program& program,
                                          const std::map<std::string, double>& scalars,
                                          const FillInput& fill, Executed& executed) {
  std::vector<double> values;
  for (const std::string& name : program.step_scalars) values.push_back(scalars.at(name));
  values.resize(program.step_scalars.size() + program.global_scalars.size(), 0.0);
  std::byte* step_state = address(program, program.step_state, 0);
  device_.copy_in(step_state, std::as_bytes(std::span(values)));
  for (const InputEntry& entry : program.inputs) {
    const Bytes size = bytes_of(entry.box.extent, entry.dtype);
    scratch_.resize(static_cast<std::size_t>(size.value));
    for (int m = 0; m < program.num_microbatches; ++m) {
      fill(entry, m, scratch_);
      const bool used = program.buffer(entry.buffer).family >= 0;
      if (used) device_.copy_in(address(program, entry.buffer, m), scratch_);
    }
  }
  execute(program, device_, arena_, groups_, world_, options, executed, position_);
  device_.copy_out(std::as_writable_bytes(std::span(values)), step_state);
  std::map<std::string, double> results;
  for (std::size_t g = 0; g < program.global_scalars.size(); ++g) {
    results[program.global_scalars[g]] = values[program.step_scalars.size() + g];
  }
  return results;
}

std::map<std::string, double> Engine::step(const std::map<std::string, double>& scalars,
                                           const FillInput& fill) {
  ++executed_steps_;
  return run(programs_.step, scalars, fill, executed_);
}

std::map<std::string, double> Engine::evaluate(const std::map<std::string, double>& scalars,
                                               const FillInput& fill) {
  return run(programs_.evaluate, scalars, fill, evaluated_);
}

void Engine::read_state(const StateEntry& entry, std::span<std::byte> host) const {
  device_.copy_out(host, address(programs_.step, entry.buffer, 0));
}

void Engine::write_state(const StateEntry& entry, std::span<const std::byte> host) {
  device_.copy_in(address(programs_.step, entry.buffer, 0), host);
}

std::vector<std::string> Engine::nonfinite_gradients() const {
  std::vector<std::string> names;
  const Program& program = programs_.step;
  for (const Segment& segment : program.segments) {
    for (const Instruction& instruction : segment.instructions) {
      const auto* run = std::get_if<RunKernel>(&instruction.action);
      if (run == nullptr || !std::holds_alternative<Accumulate>(run->kernel)) continue;
      const Operand& sum = run->results[0];
      std::vector<std::byte> host(static_cast<std::size_t>(sum.size().value));
      device_.copy_out(host, address(program, sum.buffer, 0));
      const bool fine =
          sum.dtype == DType::f64 ? all_finite<double>(host) : all_finite<float>(host);
      if (!fine) names.push_back(program.buffer(sum.buffer).name);
    }
  }
  return names;
}

}  // namespace alpa
