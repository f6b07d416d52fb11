#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/device/device.hpp"
#include "alpa/graph/graph.hpp"

namespace alpa::testing {

/// Runs a graph of f64 and i32 tensors on one reference device, whole tensors, one microbatch.
class Interpreter {
 public:
  explicit Interpreter(const Graph& graph) : graph_(graph), device_(make_reference_device()) {
    for (const Tensor& tensor : graph.tensors) {
      const auto size = static_cast<std::size_t>(bytes_of(tensor.shape, tensor.dtype).value);
      memory_.emplace_back(size, std::byte{0});
    }
  }

  void set(const std::string& name, const std::vector<double>& values) { write(name, values); }
  void set(const std::string& name, const std::vector<std::int32_t>& values) {
    write(name, values);
  }

  [[nodiscard]] std::vector<double> get(const std::string& name) const {
    const TensorId id = find(name);
    std::vector<double> values(memory_.at(id.index()).size() / sizeof(double));
    std::memcpy(values.data(), memory_.at(id.index()).data(), values.size() * sizeof(double));
    return values;
  }

  /// Runs the operators of these phases in order, from global scalars that are 0.
  void run(const std::set<Phase>& phases) {
    for (const TensorId id : tensors_with(graph_, Role::global_scalar)) {
      std::fill(memory_[id.index()].begin(), memory_[id.index()].end(), std::byte{0});
    }
    for (const Operator& op : graph_.operators) {
      if (phases.contains(op.phase)) launch(op);
    }
  }

 private:
  [[nodiscard]] TensorId find(const std::string& name) const {
    const auto id = graph_.find_tensor(name);
    if (!id) throw UserError("the graph has no tensor " + name);
    return *id;
  }

  template <class T>
  void write(const std::string& name, const std::vector<T>& values) {
    auto& memory = memory_.at(find(name).index());
    ALPA_CHECK(memory.size() == values.size() * sizeof(T));
    std::memcpy(memory.data(), values.data(), memory.size());
  }

  [[nodiscard]] std::vector<Piece> pieces(const std::vector<TensorId>& ids) {
    std::vector<Piece> all;
    for (const TensorId id : ids) {
      const Tensor& tensor = graph_.tensor(id);
      all.push_back(
          {memory_.at(id.index()).data(), tensor.dtype, whole_box(tensor.shape), tensor.shape});
    }
    return all;
  }

  void launch(const Operator& op) {
    const std::vector<Piece> operands = pieces(op.operands), results = pieces(op.results);
    Launch launch{.operands = operands,
                  .results = results,
                  .batch_origin = 0,
                  .batch_size = graph_.microbatch_size,
                  .first = true,
                  .workspace = {}};
    workspace_.resize(static_cast<std::size_t>(device_->workspace_size(op.kernel, launch).value));
    launch.workspace = workspace_;
    device_->launch(Queue::compute, op.kernel, launch);
    device_->synchronize();
  }

  const Graph& graph_;
  std::unique_ptr<Device> device_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::byte> workspace_;
};

}  // namespace alpa::testing
