#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "alpa/base/random.hpp"
#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/comm/launcher.hpp"
#include "alpa/comm/mpi.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/graph/kernel_work.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/probe/probe.hpp"
#include "alpa/runtime/engine.hpp"
#include "alpa/simulate/price.hpp"

/// Where the time of a step goes, and what the probe's tables say about it: `step_kernels
/// CONFIG.yaml [section.key=value ...]`, alone or under mpirun. Runs 8 steps on random inputs after
/// 2 to warm up, times each launch, and prints for each kind of kernel (products: for each
/// operator) the measured and the predicted time of a step.
namespace alpa {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// As the probe counts it: processor time of one thread, else time on the wall.
double now(bool processor) {
  timespec time{};
  clock_gettime(processor ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// A device that notes how long each launch takes.
class TimedDevice final : public Device {
 public:
  TimedDevice(Device& inner, bool processor) : inner_(inner), processor_(processor) {}

  [[nodiscard]] std::string name() const override { return inner_.name(); }
  [[nodiscard]] std::byte* allocate(Bytes size) override { return inner_.allocate(size); }
  void release(std::byte* memory) override { inner_.release(memory); }
  [[nodiscard]] Bytes workspace_size(const Kernel& kernel, const Launch& launch) const override {
    return inner_.workspace_size(kernel, launch);
  }
  void launch(Queue queue, const Kernel& kernel, const Launch& launch) override {
    const double start = now(processor_);
    inner_.launch(queue, kernel, launch);
    last = now(processor_) - start;
  }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    inner_.copy_in(device, host);
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    inner_.copy_out(host, device);
  }
  void synchronize() override { inner_.synchronize(); }
  [[nodiscard]] bool host_accessible() const override { return inner_.host_accessible(); }

  double last = 0.0;

 private:
  Device& inner_;
  bool processor_;
};

struct Row {
  int launches = 0;
  double measured = 0.0;
  double predicted = 0.0;
  double flops = 0.0;
  double moved = 0.0;
};

KernelWork work(const RunKernel& run) {
  std::vector<KernelPiece> in, out;
  for (const Operand& o : run.operands) in.push_back({o.dtype, o.box.extent});
  for (const Operand& o : run.results) out.push_back({o.dtype, o.box.extent});
  return work_of(run.kernel, in, out, {run.flops});
}

void fill(const InputEntry& entry, int microbatch, std::span<std::byte> host) {
  const auto count = host.size() / static_cast<std::size_t>(size_of(entry.dtype));
  for (std::size_t i = 0; i < count; ++i) {
    const double value = uniform(7, static_cast<std::uint64_t>(microbatch), i);
    if (entry.dtype == DType::i32) reinterpret_cast<std::int32_t*>(host.data())[i] = value > 0.5;
    if (entry.dtype == DType::f32)
      reinterpret_cast<float*>(host.data())[i] = static_cast<float>(value);
    if (entry.dtype == DType::f64) reinterpret_cast<double*>(host.data())[i] = value;
  }
}

/// Sum of one step over its instructions, by name.
void note(std::map<std::string, Row>& rows, const Instruction& instruction, double measured,
          const DeviceKind& kind) {
  const auto* run = std::get_if<RunKernel>(&instruction.action);
  if (run == nullptr) return;
  const KernelWork w = work(*run);
  std::string name = w.kind;
  if (const auto* product = std::get_if<Einsum>(&run->kernel)) {
    name += " " + product->left + "," + product->right + "->" + product->result;
    for (const Operand& o : run->operands) name += " " + to_string(o.box.extent);
  }
  Row& row = rows[name];
  ++row.launches;
  row.measured += measured;
  row.predicted += kernel_time(kind, w.kind, w.dtype, w.flops, w.moved)->value;
  row.flops += w.flops.value;
  row.moved += static_cast<double>(w.moved.value);
}

void print(const std::map<std::string, Row>& rows, int steps) {
  Row all;
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.measured > b.second.measured; });
  std::printf("%9s %9s %6s %6s %9s %7s  kernel\n", "measured", "predicted", "ratio", "calls",
              "GFLOP/s", "GB/s");
  for (const auto& [name, row] : sorted) {
    std::printf("%6.2f ms %6.2f ms %6.2f %6d %9.1f %7.1f  %s\n", row.measured / steps * 1e3,
                row.predicted / steps * 1e3, row.predicted / row.measured, row.launches / steps,
                row.flops / row.measured * 1e-9, row.moved / row.measured * 1e-9, name.c_str());
    all.measured += row.measured;
    all.predicted += row.predicted;
  }
  std::printf("kernels: measured %.2f ms, predicted %.2f ms, ratio %.2f\n",
              all.measured / steps * 1e3, all.predicted / steps * 1e3,
              all.predicted / all.measured);
}

WorkspaceSize workspace_of(const Device& device) {
  return [&device](const Kernel& kernel, const std::vector<Operand>& operands,
                   const std::vector<Operand>& results) {
    std::vector<Piece> in, out;
    for (const Operand& o : operands) in.push_back({nullptr, o.dtype, o.box, o.full});
    for (const Operand& o : results) out.push_back({nullptr, o.dtype, o.box, o.full});
    Launch launch;
    launch.operands = in;
    launch.results = out;
    return device.workspace_size(kernel, launch);
  };
}

void run(const std::vector<std::string>& arguments, Communicator& world) {
  constexpr int kWarmUp = 2;
  constexpr int kSteps = 8;
  const RunConfig config =
      load_run_config(arguments.at(0), {arguments.begin() + 1, arguments.end()});
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  const char* given = std::getenv("OMP_NUM_THREADS");
  const int threads =
      std::max(1, world.size() > 1 && given != nullptr ? std::atoi(given) : cores / world.size());
  const auto cpu = make_cpu_device(threads);
  const auto begun = Clock::now();
  const bool wide = config.training.precision == Precision::fp64;
  const ClusterSpec cluster = probe(world, *cpu,
                                    {.dtype = wide ? DType::f64 : DType::f32,
                                     .threads = threads,
                                     .usable_cores = static_cast<double>(cores),
                                     .memory_per_rank = Bytes{std::int64_t{1} << 30U},
                                     .progress = {}});
  if (world.rank() == 0) std::printf("probe: %.2f s\n", seconds_since(begun));
  const Plan plan = plan_by_method({.parallel = config.parallel,
                                    .world_size = world.size(),
                                    .global_batch = config.training.global_batch},
                                   [&](std::int64_t size) { return build_graph(config, size); });
  const Graph graph = build_graph(config, config.training.global_batch / plan.num_microbatches);
  TimedDevice device(*cpu, threads == 1);
  Engine engine(lower(graph, plan, world.rank(), workspace_of(device)), device, world);
  engine.initialize(graph, 1);
  std::map<std::string, double> scalars;
  for (const std::string& name : engine.programs().step.step_scalars) scalars[name] = 1e-3;
  std::map<std::string, Row> rows;
  const Instruction* running = nullptr;
  int step = 0;
  const DeviceKind& kind = kind_of(cluster, world.rank());
  const auto end_last = [&] {
    if (running != nullptr && step >= kWarmUp) note(rows, *running, device.last, kind);
    running = nullptr;
  };
  engine.options.before = [&](const Instruction& instruction, const Call&) {
    if (std::holds_alternative<RunKernel>(instruction.action)) {
      end_last();
      running = &instruction;
    }
  };
  std::vector<double> times;
  for (; step < kWarmUp + kSteps; ++step) {
    world.barrier();
    const auto start = Clock::now();
    (void)engine.step(scalars, fill);
    end_last();
    if (step >= kWarmUp) times.push_back(seconds_since(start));
  }
  std::sort(times.begin(), times.end());
  if (world.rank() != 0) return;
  print(rows, kSteps);
  const PlanPrice priced = price(graph, plan, cluster, workspace_of(*cpu));
  const double measured = times[times.size() / 2];
  std::printf("step: measured %.2f ms, predicted %.2f ms, ratio %.2f\n", measured * 1e3,
              priced.step_time.value * 1e3, priced.step_time.value / measured);
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty()) {
    std::fprintf(stderr, "usage: %s CONFIG.yaml [section.key=value ...]\n", argv[0]);
    return 64;
  }
  if (alpa::detect_launcher(alpa::process_environment).starts_mpi()) {
    const alpa::MpiSession session;
    alpa::run(arguments, *alpa::make_mpi_world());
  } else {
    alpa::run_alone([&](alpa::Communicator& world) { alpa::run(arguments, world); });
  }
  return 0;
}
