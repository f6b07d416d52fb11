#pragma once

#include <vector>

#include "alpa/graph/graph.hpp"

#include "graph_index.hpp"

namespace alpa::intra_op {

/// Parts of a step between which copies of tensors live or not: `reduce` and `update` are one.
enum class Scope : std::uint8_t { prepare, forward, backward, finish };
[[nodiscard]] Scope scope_of(Phase phase);

/// An operator that reads a tensor, maybe as several operands.
struct Reader {
  int op = 0;
  std::vector<int> operands;
  Phase phase = Phase::forward;
  int position = 0;  ///< of the operator in the run
};

/// A tensor as a run of layers sees it.
struct Flow {
  enum class Source : std::uint8_t {
    input,    ///< in any layout, from the host
    made,     ///< by an operator of the run (or stored as that operator does)
    stored,   ///< whole on every device: a parameter that no loss reaches
    arrives,  ///< from layers outside
  };
  TensorId tensor;
  Source source = Source::made;
  int maker = -1;   ///< operator; of what arrives the first reader
  int result = -1;  ///< of the maker; of what arrives, the operand of the first reader
  Phase made_in = Phase::forward;  ///< of what arrives, the phase in which it is there
  int position = 0;                ///< of the maker; of what arrives, the beginning of the phase
  std::vector<Reader> readers;
  bool sent = false;  ///< read outside
  Phase sent_in = Phase::forward;
  /// A parameter or a replica: copies may be made once a step.
  bool weight = false;
  int leader = -1;     ///< flow with whose buffer this gradient sum may be shared
  bool total = false;  ///< of gradient sums that may all share one buffer: its other name
  int count = 1;       ///< flows that it stands for
};

/// Gradient sums of a parameter whose sum an operator of the run takes.
struct SharedSum {
  int op = 0;
  std::vector<int> followers;  ///< flows
  int others = 1;              ///< operands that are always there
};

/// The operators and tensors of consecutive layers.
struct RunView {
  int first = 0, last = 0;  ///< layers of the graph
  /// [layer - first] how many layers of the line it stands for; 0: another stands for it.
  std::vector<int> counts;
  int line_first = 0;  ///< layer of the line
  /// [layer of the line - line_first] the layer of the graph that stands for it
  std::vector<int> seen_as;
  std::vector<int> ops;  ///< in order
  std::vector<Flow> flows;
  std::vector<SharedSum> sums;
  std::vector<TensorId> unread_state;  ///< stored whole and changed by no operator
  std::vector<int> phase_end;          ///< position after the last operator, by phase

  [[nodiscard]] bool holds(int layer) const { return first <= layer && layer <= last; }
  [[nodiscard]] int count(int layer) const {
    return counts[static_cast<std::size_t>(layer - first)];
  }
};

/// The operators of layers first..last of the line.
/// @param classes of the layers of the line, if equal ones are to take equal choices: of each run
/// of equal layers in which nothing reaches beyond the next layer, the first two and the last are
/// seen and the second stands for those between. Likewise of layers that repeat themselves every
/// second, third or fourth: the first two periods and what follows the last whole one before it.
/// @pre where the graph holds only some layers: few enough are seen of each of its runs
[[nodiscard]] RunView view_of(const Graph& graph, const GraphIndex& index, int first, int last,
                              const std::vector<int>* classes = nullptr);

/// The view's `seen_as` alone.
[[nodiscard]] std::vector<int> seen_layers(const GraphIndex& index, int first, int last,
                                           const std::vector<int>& classes);

}  // namespace alpa::intra_op
