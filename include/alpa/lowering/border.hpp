#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/lowering/traffic.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/sharding/sharding_spec.hpp"

namespace alpa {

/// A tensor as it lies on a mesh.
struct PlacedTensor {
  ShardingSpec spec;
  const DeviceMesh& mesh;
};

/// One box that goes from one device of a mesh to one of another.
struct BoxTransfer {
  int sender = 0;    ///< index in the sending mesh
  int receiver = 0;  ///< index in the receiving mesh
  Box box;
};

/// Every element of a receiver's piece has one sender; copies on the sending mesh take turns.
[[nodiscard]] std::vector<BoxTransfer> box_transfers(const Shape& shape, const PlacedTensor& from,
                                                     const PlacedTensor& to);

/// Where `part` begins in `whole`'s dense memory, in elements, if it is one run there; else it is
/// packed into a buffer of its own to be sent, and unpacked from one.
[[nodiscard]] std::optional<std::int64_t> run_offset(const Box& whole, const Box& part);

/// A tensor that operators of other layers read than the one that makes or stores it.
struct CrossTensor {
  TensorId tensor;
  int maker = -1;   ///< last operator that writes it; -1: none, it is stored whole
  int result = -1;  ///< of the maker
  int layer = 0;    ///< that has it
  struct Reader {
    int op = 0;
    int operand = 0;  ///< the first
    int layer = 0;
  };
  std::vector<Reader> readers;       ///< in order of the graph
  std::vector<int> backward_layers;  ///< of all that read it in backward, its own one too
};
[[nodiscard]] std::vector<CrossTensor> cross_tensors(const Graph& graph);
/// The same of a line of which the graph holds only some layers: a tensor for each layer of the
/// line that has one like it. Layers are those of the line.
[[nodiscard]] std::vector<CrossTensor> cross_tensors(const Graph& graph, const LayerLine& line);

/// A stage of consecutive layers, as far as messages go.
struct StageSide {
  int first_layer = 0;
  int last_layer = 0;
  std::vector<int> ranks;
  DeviceMesh mesh;
  /// What an operator of the graph, in that layer, takes.
  std::function<Strategy(const Operator& op, int layer)> strategy;
  const std::map<std::string, ShardingSpec>* arrivals = nullptr;
};
[[nodiscard]] StageSide side_of(const StagePlan& stage, const Graph& graph);

/// When stages of one chunk each work.
struct TableShape {
  PipelineKind schedule = PipelineKind::gpipe;  ///< gpipe or 1F1B
  std::vector<int> warm_up;                     ///< of 1F1B
  int microbatches = 1;
};

/// What crosses between stages.
struct CrossTraffic {
  std::vector<StageMessage> messages;
  /// [stage] bytes of its last device that the stage's operators alone do not need: what messages
  /// that are not one run of memory are packed into and unpacked from,
  std::vector<Bytes> staging;
  /// and the slots of what is sent from and received into its own buffer, but for those of what is
  /// kept for backward, one for each microbatch in flight. Never more than there are.
  std::vector<Bytes> slots;

  [[nodiscard]] Bytes buffers(std::size_t stage) const { return staging[stage] + slots[stage]; }
};

/// The messages of `traffic`, from the strategies of the operators at the borders alone.
/// @param cross cross_tensors of the graph, or of a line of which it holds some layers
/// @pre the stages hold all layers, and strategies for all their operators
[[nodiscard]] CrossTraffic cross_traffic(const Graph& graph, const std::vector<CrossTensor>& cross,
                                         const std::vector<StageSide>& stages,
                                         const TableShape& table);

}  // namespace alpa
