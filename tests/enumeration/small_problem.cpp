#include "enumeration/small_problem.hpp"

#include <algorithm>
#include <set>

#include "alpa/graph/recompute.hpp"
#include "alpa/model/build_graph.hpp"

namespace alpa::enumeration {
namespace {

using Random = std::mt19937_64;

template <class T>
T pick(Random& random, std::initializer_list<T> values) {
  return *(values.begin() + static_cast<std::ptrdiff_t>(random() % values.size()));
}

std::string key_of(const std::string& name, const DeviceMesh& mesh) {
  std::string key = name;
  for (const int n : mesh.extents) key += " " + std::to_string(n);
  return key;
}

ModelConfig random_model(Random& random) {
  ModelConfig model = preset_defaults(Preset::mlp);
  MlpConfig shape;
  shape.layers = static_cast<std::int64_t>(random() % 4);
  shape.hidden = pick<std::int64_t>(random, {4, 6, 8, 64});
  shape.features = pick<std::int64_t>(random, {4, 8, 48});
  shape.classes = pick<std::int64_t>(random, {4, 6});
  shape.activation = Activation::relu;
  shape.bias = random() % 3 == 0;
  shape.loss = random() % 2 == 0 ? Loss::squared_error : Loss::cross_entropy;
  model.shape = shape;
  return model;
}

std::map<std::int64_t, Graph> random_graphs(Random& random, std::int64_t global_batch) {
  const ModelConfig model = random_model(random);
  OptimizerConfig optimizer;
  optimizer.name =
      pick(random, {OptimizerKind::sgd, OptimizerKind::momentum, OptimizerKind::adamw});
  ModelOptions options;
  if (random() % 2 == 0) options.clip_norm = 1.0;
  options.features = std::get<MlpConfig>(model.shape).features;
  std::map<std::int64_t, Graph> graphs;
  for (std::int64_t microbatch = 1; microbatch <= global_batch; ++microbatch) {
    if (global_batch % microbatch != 0) continue;
    options.microbatch = microbatch;
    graphs.emplace(microbatch, build_graph(model, optimizer, options));
  }
  return graphs;
}

ClusterSpec random_cluster(Random& random) {
  ClusterSpec cluster;
  cluster.name = "random";
  DeviceKind kind;
  kind.name = "device";
  kind.peak_flops = {{DType::f32, pick(random, {1e6, 1e8, 1e10})}, {DType::f64, 1e8}};
  kind.memory_bandwidth = pick(random, {1e7, 1e9});
  kind.launch = {pick(random, {0.0, 1e-6, 1e-5})};
  cluster.kinds = {kind};
  const auto [hosts, devices] =
      pick<std::pair<int, int>>(random, {{1, 1}, {1, 2}, {1, 3}, {1, 4}, {2, 1}, {2, 2}, {4, 1}});
  for (int h = 0; h < hosts; ++h) {
    Host host;
    host.devices = devices;
    host.intra_host = {{pick(random, {0.0, 1e-6, 1e-5})}, pick(random, {1e7, 1e9, 1e11})};
    if (h > 0) host.intra_host = cluster.hosts.front().intra_host;
    cluster.hosts.push_back(host);
  }
  cluster.inter_host = {{pick(random, {1e-6, 1e-4})}, pick(random, {1e6, 1e8})};
  return cluster;
}

std::vector<DeviceMesh> meshes_of(int devices) {
  std::vector<DeviceMesh> meshes{{{devices}}};
  for (int a = 2; a < devices; ++a) {
    if (devices % a == 0) meshes.push_back({{a, devices / a}});
  }
  return meshes;
}

/// Strategies of the rule that a plan may use: state is not stored as partial sums.
std::vector<Strategy> valid_strategies(const Graph& graph, const Operator& op,
                                       const DeviceMesh& mesh) {
  std::vector<Strategy> valid;
  for (const Strategy& strategy : all_strategies(op.rule, mesh)) {
    const auto result = apply_strategy(op.rule, strategy, mesh);
    bool good = result.layout.has_value();
    for (std::size_t r = 0; good && r < op.results.size(); ++r) {
      const Role role = graph.tensor(op.results[r]).role;
      const bool stored = role == Role::parameter || role == Role::optimizer_state;
      good = !stored || result.layout->results[r].partial_axes.empty();
    }
    if (good) valid.push_back(strategy);
  }
  return valid;
}

/// One strategy for each operator and mesh, more for a few operators.
void choose_strategies(SmallProblem& problem, Random& random, int free_choices) {
  const Graph& smallest = problem.graphs.begin()->second;
  std::set<std::size_t> free;
  for (int i = 0; i < free_choices; ++i) free.insert(random() % smallest.operators.size());
  const int devices = num_devices(problem.cluster);
  for (int n = 2; n <= devices; ++n) {
    for (const DeviceMesh& mesh : meshes_of(n)) {
      for (std::size_t o = 0; o < smallest.operators.size(); ++o) {
        const Operator& op = smallest.operators[o];
        // What fits the smallest microbatch fits all.
        std::vector<Strategy> valid = valid_strategies(smallest, op, mesh);
        std::shuffle(valid.begin(), valid.end(), random);
        const std::size_t count = free.contains(o) ? 2 + random() % 2 : 1;
        if (valid.size() > count) valid.resize(count);
        problem.strategies[key_of(op.name, mesh)] = std::move(valid);
      }
    }
  }
  for (const Tensor& tensor : smallest.tensors) {
    if (tensor.role != Role::parameter && tensor.role != Role::replica) continue;
    std::vector<Retention> choices{random() % 2 == 0 ? Retention::step : Retention::repeat};
    if (random() % 3 == 0) choices = {Retention::step, Retention::repeat};
    problem.retentions[tensor.name] = choices;
  }
}

}  // namespace

std::vector<Strategy> SmallProblem::allowed(const Operator& op, const DeviceMesh& mesh) const {
  const auto it = strategies.find(key_of(op.name, mesh));
  return it == strategies.end() ? std::vector<Strategy>{Strategy{}} : it->second;
}

std::vector<Retention> SmallProblem::allowed(const Tensor& tensor) const {
  const auto it = retentions.find(tensor.name);
  return it == retentions.end() ? std::vector<Retention>{Retention::keep} : it->second;
}

Graph SmallProblem::graph_of(std::int64_t microbatch,
                             const std::vector<Recompute>& recompute_of_layers) const {
  return with_recomputation(graphs.at(microbatch), recompute_of_layers);
}

std::vector<std::vector<Recompute>> SmallProblem::recomputations() const {
  const Graph& plain = graphs.begin()->second;
  if (recompute) return {recompute_everywhere(plain, *recompute)};
  std::vector<std::vector<Recompute>> all;
  for (unsigned chosen = 0; chosen < 1U << plain.num_layers; ++chosen) {
    auto& of_layer = all.emplace_back(static_cast<std::size_t>(plain.num_layers), Recompute::none);
    for (std::size_t l = 0; l < of_layer.size(); ++l) {
      if ((chosen >> l & 1U) != 0) of_layer[l] = Recompute::full;
    }
  }
  return all;
}

SmallProblem small_problem(std::uint64_t seed, int free_choices) {
  Random random(seed);
  SmallProblem problem;
  problem.seed = seed;
  if (seed % 3 == 2) problem.recompute = Recompute::full;
  problem.global_batch = pick<std::int64_t>(random, {4, 6, 8});
  problem.graphs = random_graphs(random, problem.global_batch);
  if (seed % 3 == 1 && problem.graphs.begin()->second.num_layers <= 3) problem.recompute.reset();
  problem.cluster = random_cluster(random);
  choose_strategies(problem, random, free_choices);
  return problem;
}

}  // namespace alpa::enumeration
