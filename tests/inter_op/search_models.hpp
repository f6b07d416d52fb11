#pragma once

#include <algorithm>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/inter_op/search.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"

/// Small models and clusters for tests of the search.
namespace alpa::search_tests {

inline GraphOfMicrobatch mlp(int layers, int hidden) {
  return [layers, hidden](std::int64_t microbatch) {
    ModelConfig model = preset_defaults(Preset::mlp);
    MlpConfig shape;
    shape.layers = layers - 1;
    shape.hidden = hidden;
    shape.features = hidden;
    shape.classes = 8;
    model.shape = shape;
    ModelOptions options;
    options.microbatch = microbatch;
    options.features = hidden;
    return build_graph(model, OptimizerConfig{}, options);
  };
}

inline GraphOfMicrobatch transformer(int layers, int hidden) {
  return [layers, hidden](std::int64_t microbatch) {
    ModelConfig model = preset_defaults(Preset::gpt);
    TransformerConfig shape;
    shape.layers = layers;
    shape.hidden = hidden;
    shape.heads = 4;
    shape.feed_forward = 4 * hidden;
    shape.vocabulary = 64;
    shape.sequence = 16;
    model.shape = shape;
    ModelOptions options;
    options.microbatch = microbatch;
    options.clip_norm = 1.0;
    return build_graph(model, OptimizerConfig{}, options);
  };
}

/// A transformer of small layers.
inline RunConfig deep(Preset preset, int layers, std::int64_t batch) {
  RunConfig config;
  config.model = preset_defaults(preset);
  auto& shape = std::get<TransformerConfig>(config.model.shape);
  shape.layers = layers;
  shape.hidden = 32;
  shape.heads = 4;
  shape.feed_forward = 64;
  shape.vocabulary = 64;
  shape.sequence = 16;
  config.training.global_batch = batch;
  if (shape.moe) shape.moe->group = 16;
  return config;
}

/// Devices of 1 GFLOP/s in hosts.
inline ClusterSpec cluster(int hosts, int devices_per_host, double between = 1e8) {
  ClusterSpec spec;
  spec.name = "test";
  DeviceKind kind;
  kind.name = "test";
  kind.peak_flops = {{DType::f32, 1e9}, {DType::f64, 5e8}};
  kind.memory_bandwidth = 1e10;
  kind.launch = {1e-6};
  spec.kinds = {kind};
  Host host;
  host.devices = devices_per_host;
  host.intra_host = {{2e-6}, 1e9};
  spec.hosts.assign(static_cast<std::size_t>(hosts), host);
  spec.inter_host = {{1e-5}, between};
  return spec;
}

inline SearchRequest request_of(const GraphOfMicrobatch& graph, const ClusterSpec& spec,
                                std::int64_t batch) {
  SearchRequest request;
  request.graph = graph;
  request.global_batch = batch;
  request.cluster = spec;
  request.workspace = no_workspace;
  return request;
}

inline PlanPrice price_of(const SearchRequest& request, const Plan& plan) {
  const Graph graph = with_recomputation(
      request.graph(request.global_batch / plan.num_microbatches), plan.recompute);
  return price(graph, plan, request.cluster, request.workspace);
}

inline Bytes largest(const PlanPrice& priced) {
  return *std::max_element(priced.arenas.begin(), priced.arenas.end());
}

/// Plans by hand that exist for the request.
inline std::vector<Plan> methods(const SearchRequest& request) {
  std::vector<Plan> plans;
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::megatron,
        Method::intra_only, Method::inter_only, Method::pipedream, Method::heuristic}) {
    MethodRequest wanted;
    wanted.parallel.method = method;
    wanted.world_size = num_devices(request.cluster);
    wanted.global_batch = request.global_batch;
    wanted.samples_of_group = request.samples_of_group;
    wanted.parallel.recompute = request.recompute;
    try {
      plans.push_back(plan_by_method(wanted, request.graph));
    } catch (const PlanError&) {  // too few layers or samples for it
    }
  }
  return plans;
}

}  // namespace alpa::search_tests
