#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/sharding/strategy.hpp"

#include "layout_table.hpp"

namespace alpa::intra_op {

class OptionLists;

/// Uses of every tensor of a graph, by operator; found once.
struct Uses {
  explicit Uses(const Graph& graph);
  std::vector<std::vector<std::pair<int, int>>> readers;  ///< [tensor] (operator, operand)
  std::vector<std::pair<int, int>> maker;                 ///< [tensor] (operator, result) or -1
  std::vector<std::vector<int>> ops_of_layer;
  std::vector<int> place;  ///< [operator] among the operators of its layer
  /// Those of a layer that repeat no other: the same whatever is computed again.
  std::vector<std::vector<int>> originals_of_layer;
  /// [operator] its place among them, or that of the operator that it repeats
  std::vector<int> original_place;
};

/// What is alike in a graph, whatever the mesh. Layers are those of the graph.
struct GraphIndex {
  /// @param layers of which the graph may hold only some
  /// @param beside of a graph on the same cluster; may be null
  /// @param alike of the graph in which all layers are computed again alike, if here they are not:
  ///   its classes of layers hold where layers of one kind are looked at; may be null
  GraphIndex(const Graph& graph, LayerLine layers, const GraphIndex* beside,
             const GraphIndex* alike = nullptr);

  LayerLine line;
  Uses uses;
  std::vector<int> tensor_class;          ///< [tensor] equal for equal shapes and dtypes
  std::vector<TensorId> tensor_of_class;  ///< one of each class
  std::vector<int> op_class;              ///< [operator] equal options but for factors' names
  std::vector<int> op_list;               ///< [operator] equal options, names and all
  std::vector<int> op_of_list;            ///< one operator of each list
  /// [list] whatever decides about it, the same in all graphs.
  std::vector<std::string> key_of_list;
  std::vector<int> layer_class;  ///< [layer] where every strategy is allowed
  /// [layer] distance of the farthest layer that reads what the layer makes or holds.
  std::vector<int> reach;
  std::vector<std::vector<TensorId>> parameters;  ///< [layer]
  // Filled by models, shared with other graphs on the same cluster:
  std::shared_ptr<LayoutTables> layouts;
  std::shared_ptr<OptionLists> option_lists;
};

/// f64 scalars of the step state: they take part in no move.
[[nodiscard]] bool is_scalar(const Tensor& tensor);

/// A sum of gradient sums, which may share a buffer.
[[nodiscard]] bool is_sum_of_accumulators(const Graph& graph, const Operator& op);

/// The letters of a rule by the place of their factor: rules that differ in names alone look alike.
class PlainLetters {
 public:
  explicit PlainLetters(const ShardingRule& rule) : rule_(rule) {}
  [[nodiscard]] char of(char letter) const;
  void append(std::string& key, const std::vector<Dims>& all) const;
  void append(std::string& key, Strategy strategy) const;

 private:
  const ShardingRule& rule_;
};

}  // namespace alpa::intra_op
