#include <algorithm>
#include <string_view>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/graph/name_table.hpp"
#include "alpa/graph/text.hpp"

#include "rule_book.hpp"
#include "validate_parts.hpp"

namespace alpa {
namespace {

constexpr const char* kBadName = "the name is empty or taken";

[[noreturn]] void bad_tensor(const Tensor& tensor, const std::string& why) {
  throw UserError("graph: tensor " + tensor.name + " " + to_string(tensor.shape) + ": " + why);
}

[[noreturn]] void bad_operator(const Operator& op, const std::string& why) {
  throw UserError("graph: operator " + op.name + " (" + kind_of(op.kernel) + "): " + why);
}

bool is_float(DType type) { return type != DType::i32; }

/// May an operator change the tensor in place, so that it has several producers or none?
bool changes_in_place(Role role) {
  return role == Role::parameter || role == Role::accumulator || role == Role::optimizer_state ||
         role == Role::global_scalar;
}

/// Is the value there before any operator runs?
bool given(Role role) { return role == Role::input || role == Role::step_scalar; }

/// The first thing that has the name of one before it.
template <class Thing>
const Thing* namesake(const std::vector<Thing>& things) {
  NameTable names(things.size());
  const auto name_of = [&](std::int32_t i) -> std::string_view {
    return things[static_cast<std::size_t>(i)].name;
  };
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(things.size()); ++i) {
    if (!names.add(name_of(i), i, name_of)) return &things[static_cast<std::size_t>(i)];
  }
  return nullptr;
}

void check_names(const Graph& graph) {
  if (const Tensor* tensor = namesake(graph.tensors)) bad_tensor(*tensor, kBadName);
  if (const Operator* op = namesake(graph.operators)) bad_operator(*op, kBadName);
}

void check_tensors(const Graph& graph) {
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.name.empty()) bad_tensor(tensor, kBadName);
    if (tensor.dims.size() != tensor.shape.size()) {
      bad_tensor(tensor, "dims \"" + tensor.dims + "\" need a letter per dimension");
    }
    for (const std::int64_t extent : tensor.shape) {
      if (extent < 1) bad_tensor(tensor, "every extent must be at least 1");
    }
    if (tensor.layer < 0 || tensor.layer >= graph.num_layers) {
      bad_tensor(tensor, "layer " + std::to_string(tensor.layer) + " of " +
                             std::to_string(graph.num_layers));
    }
  }
}

RuleBook::Shapes shapes_of(const Graph& graph, const std::vector<TensorId>& ids) {
  RuleBook::Shapes shapes;
  for (const TensorId id : ids) shapes.push_back(&graph.tensor(id).shape);
  return shapes;
}

void check_ids(const Graph& graph, const Operator& op) {
  for (const auto* ids : {&op.operands, &op.results}) {
    for (const TensorId id : *ids) {
      if (!id.valid() || id.index() >= graph.tensors.size()) {
        bad_operator(op, "names tensor " + std::to_string(id.value) + " of " +
                             std::to_string(graph.tensors.size()));
      }
    }
  }
}

bool covers(const Factor& factor, std::int64_t extent) {
  return factor.even ? extent % factor.size == 0 : extent == factor.size;
}

void check_rule_dims(const Graph& graph, const Operator& op, const std::vector<TensorId>& ids,
                     const std::vector<Dims>& dims) {
  if (ids.size() != dims.size()) {
    bad_operator(op, "its rule is for " + std::to_string(dims.size()) + " tensors instead of " +
                         std::to_string(ids.size()));
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Tensor& tensor = graph.tensor(ids[i]);
    bool fits = dims[i].size() == tensor.shape.size();
    for (std::size_t d = 0; fits && d < dims[i].size(); ++d) {
      const int factor = op.rule.factor(dims[i][d]);
      fits =
          factor >= 0 && covers(op.rule.factors[static_cast<std::size_t>(factor)], tensor.shape[d]);
    }
    if (!fits) {
      bad_operator(op, "its rule says \"" + dims[i] + "\" of tensor " + tensor.name + " " +
                           to_string(tensor.shape) + ", which has other extents");
    }
  }
}

void check_rule(const Graph& graph, const Operator& op) {
  const ShardingRule& rule = op.rule;
  check_rule_dims(graph, op, op.operands, rule.operands);
  check_rule_dims(graph, op, op.results, rule.results);
  if (rule.reduction.size() != op.results.size()) {
    bad_operator(op, "its rule needs a reduction per result");
  }
  std::vector<bool> seen(op.operands.size(), false);
  for (const auto& group : rule.linear) {
    for (const int i : group) {
      const auto at = static_cast<std::size_t>(i);
      const bool fits = i >= 0 && at < seen.size() && !seen[at];
      if (fits) {
        seen[at] = true;
      } else {
        bad_operator(op, "its rule is linear in operand " + std::to_string(i) +
                             ", which does not exist or stands in two groups");
      }
    }
  }
}

bool converts(const Kernel& kernel) {
  const Map* map = std::get_if<Map>(&kernel);
  return std::holds_alternative<Accumulate>(kernel) || (map && map->op == MapOp::copy);
}

void check_dtypes(const Graph& graph, const Operator& op, const operators::Signature& s) {
  std::optional<DType> common;
  const auto check_float = [&](const Tensor& tensor, bool may_be_single) {
    if (!is_float(tensor.dtype)) {
      bad_operator(op, "tensor " + tensor.name + " is i32, expected floating point");
    }
    if (tensor.dtype == DType::f64 || converts(op.kernel)) return;
    if (may_be_single && tensor.dtype == DType::f32) return;
    if (common && *common != tensor.dtype) {
      bad_operator(op, "tensor " + tensor.name + " is " + std::string(to_string(tensor.dtype)) +
                           ", another is " + std::string(to_string(*common)));
    }
    common = tensor.dtype;
  };
  const auto contains = [](const std::vector<int>& places, std::size_t i) {
    return std::find(places.begin(), places.end(), static_cast<int>(i)) != places.end();
  };
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    const Tensor& tensor = graph.tensor(op.operands[i]);
    if (!contains(s.integer_operands, i)) {
      check_float(tensor, contains(s.statistics, i));
    } else if (tensor.dtype != DType::i32) {
      bad_operator(op, "tensor " + tensor.name + " is " + std::string(to_string(tensor.dtype)) +
                           ", expected i32");
    }
  }
  for (std::size_t i = 0; i < op.results.size(); ++i) {
    const Tensor& tensor = graph.tensor(op.results[i]);
    if (!contains(s.integer_results, i)) {
      check_float(tensor, contains(s.single_results, i));
    } else if (tensor.dtype != DType::i32) {
      bad_operator(op, "result " + tensor.name + " must be i32");
    }
  }
  for (const int i : s.wide_results) {
    const Tensor& tensor = graph.tensor(op.results.at(static_cast<std::size_t>(i)));
    if (tensor.dtype != DType::f64) bad_operator(op, "result " + tensor.name + " must be f64");
  }
}

/// Walks the operators in order and keeps which tensors are there.
class OrderCheck {
 public:
  explicit OrderCheck(const Graph& graph) : graph_(graph), made_(graph.tensors.size(), false) {}

  void visit(const Operator& op) {
    if (op.phase < phase_) bad_operator(op, "stands after an operator of a later phase");
    phase_ = op.phase;
    if (op.layer < 0 || op.layer >= graph_.num_layers) {
      bad_operator(
          op, "layer " + std::to_string(op.layer) + " of " + std::to_string(graph_.num_layers));
    }
    for (const TensorId id : op.operands) check_operand(op, id);
    for (const TensorId id : op.results) make(op, id);
  }

 private:
  void check_operand(const Operator& op, TensorId id) const {
    const Tensor& tensor = graph_.tensor(id);
    if (!given(tensor.role) && !changes_in_place(tensor.role) && !made_[id.index()]) {
      bad_operator(op, "reads tensor " + tensor.name + " before it is made");
    }
    const bool per_microbatch = op.phase == Phase::forward || op.phase == Phase::backward;
    const bool owned = tensor.role == Role::parameter || tensor.role == Role::replica;
    if (per_microbatch && owned && tensor.layer != op.layer) {
      bad_operator(op, "of layer " + std::to_string(op.layer) + " reads " + tensor.name +
                           " of layer " + std::to_string(tensor.layer) + "; it needs a replica");
    }
    if (tensor.role == Role::activation && tensor.layer > op.layer) {
      bad_operator(op, "of layer " + std::to_string(op.layer) + " reads activation " + tensor.name +
                           " of the later layer " + std::to_string(tensor.layer));
    }
    if (op.phase == Phase::backward && tensor.role == Role::gradient && tensor.layer < op.layer) {
      bad_operator(op, "of layer " + std::to_string(op.layer) + " reads gradient " + tensor.name +
                           " of the earlier layer " + std::to_string(tensor.layer));
    }
  }

  void make(const Operator& op, TensorId id) {
    const Tensor& tensor = graph_.tensor(id);
    if (given(tensor.role)) bad_operator(op, "writes " + tensor.name + ", which is given");
    if (made_[id.index()] && !changes_in_place(tensor.role)) {
      bad_operator(op, "writes tensor " + tensor.name + " a second time");
    }
    if (tensor.role == Role::parameter && op.phase != Phase::update) {
      bad_operator(op, "changes parameter " + tensor.name + " outside of phase update");
    }
    made_[id.index()] = true;
  }

  const Graph& graph_;
  Phase phase_ = Phase::prepare;
  std::vector<bool> made_;
};

/// @return valid until the next question to `rules`
const operators::Signature& signature_of(const Graph& graph, const Operator& op, RuleBook& rules) {
  const RuleBook::Shapes results = shapes_of(graph, op.results);
  try {
    return rules.of(op.kernel, shapes_of(graph, op.operands), &results).signature;
  } catch (const UserError& error) {
    bad_operator(op, error.what());
  }
}

void check_order(const Graph& graph) {
  check_tensors(graph);
  OrderCheck order(graph);
  for (const Operator& op : graph.operators) {
    if (op.name.empty()) bad_operator(op, kBadName);
    check_ids(graph, op);
    order.visit(op);
  }
}

}  // namespace

void validate_order(const Graph& graph) {
  check_names(graph);
  check_order(graph);
}

void validate_named(const Graph& graph, RuleBook& rules) {
  check_order(graph);
  for (const Operator& op : graph.operators) {
    const operators::Signature& signature = signature_of(graph, op, rules);
    check_rule(graph, op);
    check_dtypes(graph, op, signature);
  }
}

void validate(const Graph& graph) {
  check_names(graph);
  RuleBook rules;
  validate_named(graph, rules);
}

}  // namespace alpa
