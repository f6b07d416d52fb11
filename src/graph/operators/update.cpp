#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

struct OptimizerFacts {
  std::string name;
  std::size_t results;  ///< the parameter and its states
};

OptimizerFacts facts(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::sgd:
      return {"sgd", 1};
    case OptimizerKind::momentum:
      return {"momentum", 2};
    case OptimizerKind::adam:
      return {"adam", 3};
    case OptimizerKind::adamw:
      return {"adamw", 3};
  }
  check_failed("known optimizer", SourceLine::here());
}

}  // namespace

Signature signature(const Accumulate& kernel, Instance /*instance*/) {
  return {.kind = "accumulate",
          .operands = {kernel.operand},
          .results = {kernel.operand},
          .linear = {{0}}};
}

Signature signature(const Update& kernel, Instance /*instance*/) {
  const OptimizerFacts optimizer = facts(kernel.kind);
  return {.kind = "update." + optimizer.name,
          .attributes = "momentum=" + number(kernel.momentum) + " beta1=" + number(kernel.beta1) +
                        " beta2=" + number(kernel.beta2) + " epsilon=" + number(kernel.epsilon) +
                        " weight_decay=" + number(kernel.weight_decay) +
                        " clip_norm=" + number(kernel.clip_norm),
          .operands = {kernel.operand, "", "", ""},
          .results = std::vector<Dims>(optimizer.results, kernel.operand)};
}

Signature signature(const RunningAverage& kernel, Instance /*instance*/) {
  return {.kind = "running_average",
          .attributes = "momentum=" + number(kernel.momentum),
          .operands = {kernel.operand, ""},
          .results = {kernel.operand}};
}

Signature signature(const Contribute& /*kernel*/, Instance /*instance*/) {
  return {.kind = "contribute",
          .operands = {""},
          .results = {""},
          .linear = {{0}},
          .wide_results = {0}};
}

}  // namespace alpa::operators
