#include "law/harness.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "alpa/base/error.hpp"
#include "alpa/base/low_precision.hpp"
#include "alpa/base/random.hpp"
#include "alpa/comm/communicator.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/runtime/engine.hpp"

#include "sharding/all_specs.hpp"

namespace alpa::law {
namespace {

constexpr int kPatienceMs = 60000;

/// Values of one box of an input, at global index (first sample of the microbatch + offset).
class Inputs {
 public:
  Inputs(const Case& test, std::int64_t microbatch) : test_(test), microbatch_(microbatch) {}

  /// Whether the weights of a sample, or the one with that index, are 0.
  [[nodiscard]] bool masked(int step, std::int64_t index) const {
    return uniform(stream_key(test_.seed, "mask"), static_cast<std::uint64_t>(step),
                   static_cast<std::uint64_t>(index)) < 0.2;
  }

  [[nodiscard]] double total_weight(int step, const Graph& graph) const {
    const auto t = graph.find_tensor("weights");
    const Shape& shape = graph.tensor(*t).shape;
    const std::int64_t per_sample = num_elements(shape) / shape[0];
    double total = 0;
    for (std::int64_t i = 0; i < test_.global_batch * per_sample; ++i) {
      total += masked(step, test_.masks_elements ? i : i / per_sample) ? 0.0 : 1.0;
    }
    return total;
  }

  void fill(int step, const InputEntry& entry, int m, std::span<std::byte> host) const {
    const std::int64_t count = num_elements(entry.box.extent);
    std::vector<std::int64_t> at(entry.shape.size(), 0);
    const std::uint64_t key = stream_key(test_.seed, entry.tensor);
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t global = 0;
      for (std::size_t d = 0; d < at.size(); ++d) {
        const std::int64_t shift = d == 0 ? m * microbatch_ : 0;
        global = global * entry.shape[d] + entry.box.offset[d] + at[d] + shift;
      }
      const std::int64_t sample = m * microbatch_ + entry.box.offset[0] + at[0];
      store(entry, key, step, global, sample, static_cast<std::size_t>(i), host);
      for (std::size_t d = at.size(); d-- > 0;) {
        if (++at[d] < entry.box.extent[d]) break;
        at[d] = 0;
      }
    }
  }

 private:
  void store(const InputEntry& entry, std::uint64_t key, int step, std::int64_t global,
             std::int64_t sample, std::size_t i, std::span<std::byte> host) const {
    const auto s = static_cast<std::uint64_t>(step);
    const auto g = static_cast<std::uint64_t>(global);
    const auto put = [&](auto value) {
      std::memcpy(host.data() + i * sizeof(value), &value, sizeof(value));
    };
    if (entry.dtype == DType::i32) {
      const std::int64_t v = test_.vocabulary.at(entry.tensor);
      put(static_cast<std::int32_t>(uniform(key, s, g) * static_cast<double>(v)));
      return;
    }
    double value = normal(key, s, g);
    if (entry.tensor == "weights") {
      value = masked(step, test_.masks_elements ? global : sample) ? 0.0 : 1.0;
    }
    if (entry.dtype == DType::f64)
      put(value);
    else if (entry.dtype == DType::f32)
      put(static_cast<float>(value));
    else
      put((entry.dtype == DType::bf16 ? to_bf16 : to_f16)(static_cast<float>(value)));
  }

  const Case& test_;
  std::int64_t microbatch_;
};

std::vector<double> to_doubles(const StateEntry& entry, const std::vector<std::byte>& host) {
  const auto n = static_cast<std::size_t>(num_elements(entry.box.extent));
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (entry.dtype == DType::f64) {
      std::memcpy(&values[i], host.data() + 8 * i, 8);
    } else {
      float v = 0;
      std::memcpy(&v, host.data() + 4 * i, 4);
      values[i] = static_cast<double>(v);
    }
  }
  return values;
}

/// Puts this rank's pieces into whole tensors. Copies must agree to the bit.
void collect(const Engine& engine, std::map<std::string, std::vector<double>>& whole) {
  for (const StateEntry& entry : engine.state()) {
    std::vector<std::byte> host(
        static_cast<std::size_t>(bytes_of(entry.box.extent, entry.dtype).value));
    engine.read_state(entry, host);
    const auto values = to_doubles(entry, host);
    auto& tensor = whole[entry.tensor];
    tensor.resize(static_cast<std::size_t>(num_elements(entry.shape)),
                  std::numeric_limits<double>::quiet_NaN());
    std::vector<std::int64_t> at(entry.shape.size(), 0);
    for (const double value : values) {
      std::int64_t global = 0;
      for (std::size_t d = 0; d < at.size(); ++d) {
        global = global * entry.shape[d] + entry.box.offset[d] + at[d];
      }
      double& there = tensor[static_cast<std::size_t>(global)];
      if (!std::isnan(there) && there != value) {
        throw SystemError(entry.tensor + ": copies differ", ExitCode::bug);
      }
      there = value;
      for (std::size_t d = at.size(); d-- > 0;) {
        if (++at[d] < entry.box.extent[d]) break;
        at[d] = 0;
      }
    }
  }
}

std::map<std::string, double> scalars(const Case& test, const Graph& graph, const Inputs& inputs,
                                      int step) {
  std::map<std::string, double> values;
  for (const TensorId t : tensors_with(graph, Role::step_scalar)) values[graph.tensor(t).name] = 0;
  values["step.learning_rate"] = test.learning_rate;
  values["step.optimizer_step"] = step;
  values["step.dropout_step"] = step;
  values["step.training"] = 1;
  values["step.inverse_weight"] = test.sum_loss ? 1.0 : 1.0 / inputs.total_weight(step, graph);
  values["step.loss_scale"] = test.loss_scale;
  values["step.inverse_loss_scale"] = 1.0 / test.loss_scale;
  values["step.gradient_weight"] = test.loss_scale * values["step.inverse_weight"];
  return values;
}

template <class T>
const T& pick(const std::vector<T>& from, std::mt19937_64& random) {
  return from[random() % from.size()];
}

int below(int n, std::mt19937_64& random) {
  return static_cast<int>(random() % static_cast<std::uint64_t>(n));
}

DeviceMesh random_mesh(int devices, std::mt19937_64& random) {
  std::vector<DeviceMesh> meshes{{{devices}}};
  for (int a = 2; a < devices; ++a) {
    if (devices % a == 0) meshes.push_back({{a, devices / a}});
  }
  if (meshes.size() > 1 && random() % 3 != 0) meshes.erase(meshes.begin());
  return pick(meshes, random);
}

/// n cut into parts >= 1.
std::vector<int> random_parts(int n, int parts, std::mt19937_64& random) {
  std::vector<int> sizes(static_cast<std::size_t>(parts), 1);
  for (int i = parts; i < n; ++i) ++sizes[random() % sizes.size()];
  return sizes;
}

/// Nothing in a third of all plans.
std::vector<Recompute> random_recomputation(int layers, std::mt19937_64& random) {
  std::vector<Recompute> chosen(static_cast<std::size_t>(layers), Recompute::none);
  if (random() % 3 == 0) return {};
  for (Recompute& of_layer : chosen) of_layer = static_cast<Recompute>(random() % 3);
  const bool nothing =
      std::all_of(chosen.begin(), chosen.end(), [](Recompute r) { return r == Recompute::none; });
  return nothing ? std::vector<Recompute>{} : chosen;
}

ShardingSpec random_layout(const Tensor& tensor, const DeviceMesh& mesh, std::mt19937_64& random) {
  return pick(test::all_specs(tensor.shape, mesh, test::Partial::none), random);
}

}  // namespace

Graph graph_of(const Case& test, const Plan& plan) {
  return with_recomputation(test.make_graph(test.global_batch / plan.num_microbatches),
                            plan.recompute);
}

Outcome train(const Case& test, const Plan& plan) {
  const std::int64_t microbatch = test.global_batch / plan.num_microbatches;
  const Graph graph = graph_of(test, plan);
  validate(plan, graph);
  const Inputs inputs(test, microbatch);
  Outcome outcome;
  outcome.executed.resize(static_cast<std::size_t>(plan.world_size));
  outcome.totals.resize(static_cast<std::size_t>(plan.world_size));
  std::mutex mutex;
  run_ranks(plan.world_size, kPatienceMs, [&](Communicator& world) {
    const auto device = test.make_device();
    const WorkspaceSize workspace = [&](const Kernel& kernel, const std::vector<Operand>& operands,
                                        const std::vector<Operand>& results) {
      std::vector<Piece> in, out;
      for (const Operand& o : operands) in.push_back({nullptr, o.dtype, o.box, o.full});
      for (const Operand& o : results) out.push_back({nullptr, o.dtype, o.box, o.full});
      Launch launch;
      launch.operands = in;
      launch.results = out;
      return device->workspace_size(kernel, launch);
    };
    Engine engine(lower(graph, plan, world.rank(), workspace), *device, world);
    if (test.shuffle_seed) {
      engine.options.shuffle_seed = *test.shuffle_seed + static_cast<std::uint64_t>(world.rank());
    }
    engine.initialize(graph, test.seed);
    {
      const std::scoped_lock lock(mutex);
      collect(engine, outcome.initial);
    }
    int step = 1;
    const FillInput fill = [&](const InputEntry& entry, int m, std::span<std::byte> host) {
      inputs.fill(step, entry, m, host);
    };
    for (; step <= test.steps; ++step) {
      const auto results = engine.step(scalars(test, graph, inputs, step), fill);
      if (world.rank() == 0) {
        outcome.losses.push_back(results.at("step.loss"));
        outcome.norms.push_back(std::sqrt(results.at("step.norm_squared")));
      }
    }
    auto evaluation = scalars(test, graph, inputs, step);
    evaluation["step.training"] = 0;
    const double loss = engine.evaluate(evaluation, fill).at("step.loss");
    if (world.rank() == 0) outcome.evaluation = loss;
    const std::scoped_lock lock(mutex);
    const auto rank = static_cast<std::size_t>(world.rank());
    outcome.executed[rank] = engine.executed();
    outcome.totals[rank] = totals(engine.programs().step);
    collect(engine, outcome.final_state);
  });
  return outcome;
}

Plan single_rank_plan(const Graph& graph) {
  Plan plan;
  plan.method = "single";
  plan.stages.resize(1);
  StagePlan& stage = plan.stages[0];
  stage.chunks = {{0, graph.num_layers - 1}};
  stage.ranks = {0};
  stage.mesh = {{1}};
  for (const Operator& op : graph.operators) stage.strategies[op.name] = {};
  return plan;
}

namespace {

/// Microbatches and what is computed again; one stage without ranks.
Plan random_outline(const Case& test, int world_size, std::mt19937_64& random) {
  std::vector<int> counts;
  for (int b = 1; b <= test.global_batch; ++b) {
    if (test.global_batch % (b * test.samples_of_group) == 0) counts.push_back(b);
  }
  Plan plan;
  plan.method = "random";
  plan.world_size = world_size;
  plan.num_microbatches = pick(counts, random);
  const Graph plain = test.make_graph(test.global_batch / plan.num_microbatches);
  plan.recompute = random_recomputation(plain.num_layers, random);
  return plan;
}

void add_stages(Plan& plan, const std::vector<int>& devices, std::mt19937_64& random) {
  int rank = 0;
  for (const int n : devices) {
    StagePlan stage;
    for (int i = 0; i < n; ++i) stage.ranks.push_back(rank++);
    stage.mesh = random_mesh(n, random);
    plan.stages.push_back(std::move(stage));
  }
}

/// Dealt out to the stages in turn.
void add_chunks(Plan& plan, const std::vector<int>& layers) {
  int layer = 0;
  for (std::size_t c = 0; c < layers.size(); ++c) {
    plan.stages[c % plan.stages.size()].chunks.emplace_back(layer, layer + layers[c] - 1);
    layer += layers[c];
  }
}

/// Strategies, arrival layouts and retention.
void choose_at_random(Plan& plan, const Graph& graph, std::mt19937_64& random) {
  for (const Operator& op : graph.operators) {
    if (op.copy_of.valid()) continue;
    StagePlan& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
    stage.strategies[op.name] = pick(all_strategies(op.rule, stage.mesh), random);
  }
  for (const Tensor& tensor : graph.tensors) {
    const bool may_cross = tensor.role == Role::activation || tensor.role == Role::gradient;
    for (StagePlan& stage : plan.stages) {
      if (may_cross && random() % 4 == 0) {
        stage.arrivals[tensor.name] = random_layout(tensor, stage.mesh, random);
      }
      const bool parameter = tensor.role == Role::parameter || tensor.role == Role::replica;
      if (parameter) {
        const std::vector<Retention> choices{Retention::step, Retention::keep, Retention::repeat};
        stage.retention[tensor.name] = pick(choices, random);
      } else if (tensor.role == Role::activation && random() % 2 == 0) {
        stage.retention[tensor.name] = Retention::repeat;
      }
    }
  }
}

}  // namespace

Plan random_plan(const Case& test, int world_size, std::mt19937_64& random) {
  Plan plan = random_outline(test, world_size, random);
  const Graph graph = graph_of(test, plan);
  const int used = random() % 8 == 0 && world_size > 1 ? world_size - 1 : world_size;
  const int num_stages = 1 + below(std::min(used, graph.num_layers), random);
  const auto layers = random_parts(graph.num_layers, num_stages, random);
  add_stages(plan, random_parts(used, num_stages, random), random);
  add_chunks(plan, layers);
  if (random() % 2 == 0) {
    plan.schedule = PipelineKind::one_f_one_b;
    if (random() % 2 == 0) {
      for (int s = 0; s < num_stages; ++s) {
        const int left = num_stages - s;
        const int most = s == 0 ? 2 * left - 1 : std::min(2 * left - 1, plan.warm_up.back());
        plan.warm_up.push_back(left + below(most - left + 1, random));
      }
    }
  }
  choose_at_random(plan, graph, random);
  return plan;
}

Plan random_interleaved_plan(const Case& test, int world_size, std::mt19937_64& random) {
  Plan plan = random_outline(test, world_size, random);
  plan.schedule = PipelineKind::interleaved;
  const Graph graph = graph_of(test, plan);
  const int num_stages = 1 + below(std::min(world_size, graph.num_layers / 2), random);
  const int chunks = 2 + below(std::min(2, graph.num_layers / num_stages - 1), random);
  add_stages(plan, random_parts(world_size, num_stages, random), random);
  add_chunks(plan, random_parts(graph.num_layers, num_stages * chunks, random));
  choose_at_random(plan, graph, random);
  return plan;
}

Plan random_zero_bubble_plan(const Case& test, int world_size, std::mt19937_64& random) {
  Plan plan = random_plan(test, world_size, random);
  plan.schedule = PipelineKind::zero_bubble;
  plan.warm_up.clear();
  return plan;
}

Difference compare(const Outcome& truth, const Outcome& other) {
  Difference d;
  const auto relative = [](const std::vector<double>& a, const std::vector<double>& b) {
    if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
    double largest = 1e-300;
    for (const double v : a) largest = std::max(largest, std::abs(v));
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double difference = std::abs(a[i] - b[i]) / largest;
      worst = std::isfinite(difference) ? std::max(worst, difference)
                                        : std::numeric_limits<double>::infinity();
    }
    return worst;
  };
  d.losses = relative(truth.losses, other.losses);
  d.norms = relative(truth.norms, other.norms);
  d.evaluation = relative({truth.evaluation}, {other.evaluation});
  d.initial_equal = truth.initial == other.initial;
  for (const auto& [name, values] : truth.final_state) {
    const auto it = other.final_state.find(name);
    const double worst = it == other.final_state.end() ? std::numeric_limits<double>::infinity()
                                                       : relative(values, it->second);
    if (worst > d.state) {
      d.state = worst;
      d.worst_tensor = name;
    }
  }
  return d;
}

}  // namespace alpa::law
