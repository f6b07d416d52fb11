#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"
#include "alpa/solver/problem.hpp"

#include "account.hpp"
#include "layout_list.hpp"

namespace alpa::intra_op {

/// What says which operators take one choice together: class of each layer, or nothing.
using LayerClasses = std::vector<int>;

/// Retentions that a tensor may have.
[[nodiscard]] std::vector<Retention> retentions_of(const Tensor& tensor,
                                                   const StageConstraints& constraints);

/// The integer program of a question on a run of layers.
///
/// One node per operator, an option per strategy. A tensor with one reader is an edge between its
/// maker and the reader: the moves between the two layouts. A tensor with several is a star: a node
/// for the layout it is made in, and for each layout that could be wanted a node that says whether
/// and for which parts of the step a copy is made; readers want what is made, the first node
/// charges the paths. Where retention is free, one more node chooses it.
class StageProblem {
 public:
  /// @param classes ties the operators of equal layers if not null
  StageProblem(const RunContext& run, const StageConstraints& constraints,
               const StageQuestion& question, const LayerClasses* classes, bool named);

  [[nodiscard]] const Problem& problem() const { return problem_; }
  [[nodiscard]] Problem& problem() { return problem_; }
  /// True if some operator or tensor has no option at all.
  [[nodiscard]] bool contradiction() const { return contradiction_; }
  /// The same question with other prices of bytes.  @pre one layout, no limit of memory
  void price_bytes(double state_byte, double stash_byte);
  /// Operators' strategies and tensors' retention of a choice of all nodes.
  [[nodiscard]] RunChoice decode(const std::vector<int>& choice) const;
  /// Nodes whose options make two answers differ: those of operators and of retention.
  [[nodiscard]] const std::vector<int>& deciding() const { return deciding_; }

  std::vector<std::string> node_names;
  std::vector<std::vector<std::string>> option_names;

 private:
  struct Copy;       ///< what may be done about one layout of a tensor
  struct Gathering;  ///< a tensor with several readers while its nodes are made
  struct Group {     ///< flows that are tied
    explicit Group(const Flow& flow) { add(flow); }
    void add(const Flow& flow) {
      flows.push_back(&flow);
      flows_in_all += flow.count;
    }
    std::vector<const Flow*> flows;
    [[nodiscard]] const Flow& front() const { return *flows.front(); }
    double flows_in_all = 0.0;
    [[nodiscard]] double count() const { return flows_in_all; }
  };

  [[nodiscard]] const Operator& op(int o) const {
    return run_.graph.operators[static_cast<std::size_t>(o)];
  }
  [[nodiscard]] const Options& options(int o) const {
    return run_.options.options(static_cast<std::size_t>(o));
  }
  [[nodiscard]] int node_of(int o) const { return node_of_op_[static_cast<std::size_t>(o)]; }
  /// Layers that an operator's layer stands for.
  [[nodiscard]] double count(const Operator& op) const { return run_.view.count(op.layer); }
  [[nodiscard]] double weight(Phase phase) const {
    return weights_[static_cast<std::size_t>(phase)];
  }

  /// @param what of the name, which follows it
  int add_node(std::size_t options, const std::string& name, const char* what = "");
  void add_edge(int first, int second, std::vector<double> costs);
  void add_operators(const LayerClasses* classes);
  void add_constants();
  void add_sums();
  void add_sharing(const SharedSum& sum, const Flow& follower);
  [[nodiscard]] std::vector<Group> grouped_flows(const LayerClasses* classes) const;
  /// Equal for flows that are tied.
  [[nodiscard]] std::vector<int> key_of(const Flow& flow) const;
  void add_flow(const Group& group);
  void add_input(const Group& group);
  void add_direct(const Group& group);
  void add_star(const Group& group);

  void hold_source(const Group& group);
  void hold_at_readers(const Group& group);

  // Nodes of a star, in delivery_nodes.cpp.
  [[nodiscard]] Gathering gather(const Group& group) const;
  void add_source_node(Gathering& star);
  void add_retention_node(Gathering& star);
  void add_alone_node(Gathering& star);
  void add_copy_node(Gathering& star, int layout);
  [[nodiscard]] static std::vector<Copy> ways_to_make(const Gathering& star, int layout);
  void name_copies(int node, const std::vector<Copy>& copies, const Flow& flow);
  [[nodiscard]] static bool sends(const Copy& copy, const Flow& flow);
  void connect_readers(const Gathering& star, int node, int layout,
                       const std::vector<Copy>& copies);
  void hold_copies(const Gathering& star, int node, int layout, const std::vector<Copy>& copies);

  // Readers that share one layout, in one_layout.cpp.
  struct Shared;  ///< a tensor and its readers in one part of the step
  void add_shared(const Group& group);
  void add_shared_part(const Shared& shared, int part);
  void connect_shared(const Shared& shared, int node, const std::vector<int>& targets, bool choice);
  void hold_shared(const Shared& shared, int node, const std::vector<int>& targets, bool choice);
  void pay_at_maker(const Shared& shared);
  [[nodiscard]] double sending_seconds(const Shared& shared, int source) const;
  [[nodiscard]] double replica_bytes(const Shared& shared, int source) const;
  [[nodiscard]] double shared_seconds(const Shared& shared, int source, int layout,
                                      double path_seconds,
                                      std::optional<Retention> retention) const;

  // Bytes of each option of a node; prices and, where there is a limit, usages.
  using Amounts = std::vector<std::int64_t>;
  struct Priced {  ///< bytes that have a price
    int node = 0;
    bool stash = false;
    double count = 1.0;
    Amounts bytes;
  };
  struct PricedEdge {  ///< an edge with bytes of state
    std::size_t edge = 0;
    std::vector<double> seconds, bytes;  ///< row-major
  };
  void add_priced_edge(int first, int second, std::vector<double> seconds,
                       std::vector<double> bytes);
  void hold_state(int node, const Amounts& bytes, double count = 1.0);
  void hold_stash(int node, const Amounts& bytes, double count = 1.0);
  void hold_for(int node, Life life, const Amounts& bytes);
  void always(int node, const Amounts& bytes, std::int64_t times);

  /// Layouts that the options of the maker (or the first reader) give the source.
  [[nodiscard]] std::vector<int> source_layouts(const Flow& flow) const;
  /// Layouts that each option of a reader wants, each once.
  [[nodiscard]] std::vector<LayoutList> wanted_layouts(const Reader& reader) const;

  RunContext run_;
  const StageConstraints& constraints_;
  StageQuestion question_;
  std::array<double, 5> weights_{};
  bool named_ = false;
  bool contradiction_ = false;
  Problem problem_;
  std::vector<std::vector<double>> seconds_;  ///< costs by node without bytes
  std::vector<Priced> priced_;
  std::vector<PricedEdge> priced_edges_;
  std::vector<Amounts> always_;  ///< by node, where memory is limited
  std::vector<int> node_of_op_;  ///< by operator of the graph
  std::vector<int> deciding_;
  std::map<TensorId, std::pair<int, std::vector<Retention>>> retention_nodes_;
  std::vector<std::pair<TensorId, Retention>> fixed_retention_;
};

}  // namespace alpa::intra_op
