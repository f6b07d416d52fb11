#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/device/device.hpp"
#include "alpa/graph/graph.hpp"

namespace alpa::testing {

/// Runs a graph of f64, f32 and i32 tensors on one device, whole tensors, one microbatch.
class Interpreter {
 public:
  explicit Interpreter(const Graph& graph, std::unique_ptr<Device> device = make_reference_device())
      : graph_(graph), device_(std::move(device)) {
    for (const Tensor& tensor : graph.tensors) {
      const auto size = static_cast<std::size_t>(bytes_of(tensor.shape, tensor.dtype).value);
      memory_.emplace_back(size, std::byte{0});
    }
  }

  /// Values as the tensor's type holds them.
  void set(const std::string& name, const std::vector<double>& values) {
    switch (graph_.tensor(find(name)).dtype) {
      case DType::f64:
        return write(name, values);
      case DType::f32:
        return write(name, std::vector<float>(values.begin(), values.end()));
      default:
        return write(name, std::vector<std::int32_t>(values.begin(), values.end()));
    }
  }
  void set(const std::string& name, const std::vector<std::int32_t>& values) {
    write(name, values);
  }

  [[nodiscard]] std::vector<double> get(const std::string& name) const {
    if (graph_.tensor(find(name)).dtype == DType::f64) return read<double>(name);
    const std::vector<float> values = read<float>(name);
    return {values.begin(), values.end()};
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
  [[nodiscard]] std::vector<T> read(const std::string& name) const {
    const auto& memory = memory_.at(find(name).index());
    std::vector<T> values(memory.size() / sizeof(T));
    std::memcpy(values.data(), memory.data(), memory.size());
    return values;
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
