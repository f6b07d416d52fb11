#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/recompute.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/base/units.hpp"
#include "alpa/graph/kernel.hpp"
#include "alpa/graph/rule.hpp"

namespace alpa {

using TensorId = Id<struct TensorTag>;
using OperatorId = Id<struct OperatorTag>;

enum class Role : std::uint8_t {
  input,      ///< from the data pipeline, one box per microbatch
  parameter,  ///< trained; changed in place by `update`
  replica,    ///< of a parameter, for another layer that uses it too; made in `prepare`
  activation,
  gradient,
  optimizer_state,  ///< changed in place by `update`; starts at 0
  accumulator,    ///< gradient sum over the microbatches of a step; changed in place in `backward`
  step_scalar,    ///< f64 [], written by the host before each step, equal on every rank
  global_scalar,  ///< f64 [], the sum of all contributions of a step over microbatches and ranks
};

enum class Phase : std::uint8_t {
  prepare,   ///< once a step: casts and gathers of parameters
  forward,   ///< once a microbatch
  backward,  ///< once a microbatch
  reduce,    ///< once a step: gradient sums that were put off, norm
  update,    ///< once a step
};

/// How a parameter starts. Element i (row-major in the full shape) of a normal one is
/// deviation * normal(stream_key(seed, name), 0, i), rounded to the dtype.
struct Initializer {
  enum class Kind : std::uint8_t { constant, normal } kind = Kind::constant;
  double value = 0.0;      ///< of a constant
  double deviation = 0.0;  ///< of a normal
  friend bool operator==(const Initializer&, const Initializer&) = default;
};

struct Tensor {
  std::string name;  ///< dotted path, unique in the graph
  Shape shape;       ///< of one microbatch where it has a batch dimension
  DType dtype = DType::f32;
  Role role = Role::activation;
  Dims dims;      ///< a letter per dimension, for people and hand-made plans; 'b' is the batch
  int layer = 0;  ///< place in the line of layers
  Initializer initializer;  ///< of a parameter
  /// Parameters that are not trained: statistics kept from step to step, which evaluation reads.
  /// Nothing counts, clips or decays them.
  bool trained = true;
};

/// One operator: a kernel on tensors with a sharding rule, a layer and a phase.
///
/// Tensors with role accumulator, optimizer_state or parameter that stand in `results` are changed
/// in place; every other tensor is the result of one operator.
struct Operator {
  std::string name;  ///< dotted path, unique in the graph
  Kernel kernel;
  std::vector<TensorId> operands, results;
  ShardingRule rule;
  int layer = 0;
  Phase phase = Phase::forward;
  /// The forward operator that this one of backward repeats, with its strategy; see
  /// graph/recompute.hpp.
  OperatorId copy_of = {};
};

/// The tensor program of one training step for one microbatch size. Operators stand in an order in
/// which they can run. Built by GraphBuilder and the functions of graph/training.hpp.
struct Graph {
  std::vector<Tensor> tensors;
  std::vector<Operator> operators;
  int num_layers = 1;
  std::int64_t microbatch_size = 1;  ///< extent of dimension 'b'
  Dims parallel_letters;  ///< letters that Megatron-style plans split: heads, feed-forward,
                          ///< vocabulary
  /// What backward computes again, by layer; empty: nothing.
  std::vector<Recompute> recompute = {};

  /// The graph whose forward operators evaluation runs, where some extents differ there (slots of
  /// experts); else nothing. Its tensors and operators have the same ids and names, and the same
  /// strategies fit.
  std::shared_ptr<const Graph> evaluation = nullptr;

  [[nodiscard]] const Tensor& tensor(TensorId id) const { return tensors.at(id.index()); }
  [[nodiscard]] const Operator& op(OperatorId id) const { return operators.at(id.index()); }
  /// The operator whose strategy this one takes: itself, or the one that it repeats.
  [[nodiscard]] const Operator& original(const Operator& op) const {
    return op.copy_of.valid() ? this->op(op.copy_of) : op;
  }
  [[nodiscard]] std::optional<TensorId> find_tensor(const std::string& name) const;
};

/// All tensors with the role, in order.
[[nodiscard]] std::vector<TensorId> tensors_with(const Graph& graph, Role role);

/// FLOPs of an operator: two per multiply-add of products, 0 for the rest (DESIGN section 3).
[[nodiscard]] Flops flops_of(const Operator& op);

/// Sum over forward and backward operators of one microbatch, without what is computed again.
[[nodiscard]] Flops flops_per_microbatch(const Graph& graph);

/// Of what backward computes again for one microbatch.
[[nodiscard]] Flops recomputed_flops_per_microbatch(const Graph& graph);

/// Number of trained values.
[[nodiscard]] std::int64_t num_parameters(const Graph& graph);

/// Hash of names, shapes, dtypes and kernels; equal graphs have equal fingerprints, whatever
/// backward computes again.
[[nodiscard]] std::uint64_t fingerprint(const Graph& graph);

/// Checks order, shapes against rules, unique names. @throws UserError naming operator and shapes.
void validate(const Graph& graph);

}  // namespace alpa
