#include "optimizer.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/graph/glob.hpp"

namespace alpa {
namespace {

bool any_matches(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return glob_matches(glob, name); });
}

/// What groups and exceptions leave for one parameter.
struct Settings {
  double learning_rate_factor = 1.0;
  double weight_decay = 0.0;
};

Settings settings_of(const std::string& name, const OptimizerSpec& optimizer) {
  const double common = any_matches(optimizer.no_decay, name) ? 0.0 : optimizer.weight_decay;
  const auto group =
      std::find_if(optimizer.groups.begin(), optimizer.groups.end(),
                   [&](const OptimizerGroup& each) { return any_matches(each.parameters, name); });
  if (group == optimizer.groups.end()) return {1.0, common};
  return {group->learning_rate_factor, group->weight_decay.value_or(common)};
}

double elements(const Shape& shape) { return static_cast<double>(num_elements(shape)); }

/// Builds the update of one parameter.
class Updater {
 public:
  Updater(GraphBuilder& builder, TensorId id, TensorId gradient, const OptimizerSpec& optimizer)
      : builder_(builder),
        id_(id),
        parameter_(builder.tensor(id)),
        gradient_(gradient),
        optimizer_(optimizer),
        settings_(settings_of(parameter_.name, optimizer)) {}

  void add() {
    switch (optimizer_.kind) {
      case OptimizerKind::sgd:
        return elementwise({});
      case OptimizerKind::momentum:
        return elementwise({".velocity"});
      case OptimizerKind::adam:
      case OptimizerKind::adamw:
        return elementwise({".adam_m", ".adam_v"});
      case OptimizerKind::adafactor:
        return adafactor();
      case OptimizerKind::lamb:
        return lamb();
    }
    check_failed("known optimizer", SourceLine::here());
  }

 private:
  TensorId learning_rate() { return scalar(scalar_name::kLearningRate, Role::step_scalar); }
  TensorId step() { return scalar(scalar_name::kOptimizerStep, Role::step_scalar); }
  TensorId norm_squared() { return scalar(scalar_name::kNormSquared, Role::global_scalar); }
  TensorId scalar(const char* name, Role role) { return builder_.scalar(name, role); }

  TensorId new_tensor(const std::string& suffix, const Dims& dims, const Shape& shape, Role role) {
    return builder_.add_tensor(
        {parameter_.name + suffix, shape, parameter_.dtype, role, dims, parameter_.layer, {}});
  }
  TensorId state(const std::string& suffix, const Dims& dims, const Shape& shape) {
    return new_tensor(suffix, dims, shape, Role::optimizer_state);
  }
  TensorId state(const std::string& suffix) {
    return state(suffix, parameter_.dims, parameter_.shape);
  }

  void elementwise(const std::vector<std::string>& states) {
    std::vector<TensorId> results{id_};
    for (const std::string& suffix : states) results.push_back(state(suffix));
    const Update kernel{.kind = optimizer_.kind,
                        .operand = parameter_.dims,
                        .momentum = optimizer_.momentum,
                        .beta1 = optimizer_.beta1,
                        .beta2 = optimizer_.beta2,
                        .epsilon = optimizer_.epsilon,
                        .weight_decay = settings_.weight_decay,
                        .clip_norm = optimizer_.clip_norm,
                        .learning_rate_factor = settings_.learning_rate_factor};
    builder_.add_in_place(parameter_.name + ".update", kernel,
                          {gradient_, learning_rate(), step(), norm_squared()}, results);
  }

  /// Sum of the squares of a tensor with the parameter's letters, partial where it is split.
  TensorId squares(const std::string& what, TensorId tensor) {
    const Reduce sum{.square = true, .operand = parameter_.dims, .result = ""};
    return builder_.add(parameter_.name + what, sum, {tensor}, {.dtype = DType::f64});
  }

  void apply(ApplyDirection kernel, TensorId direction) {
    kernel.count = elements(parameter_.shape);
    kernel.learning_rate_factor = settings_.learning_rate_factor;
    std::vector<TensorId> operands{direction, learning_rate(), norm_squared(),
                                   squares(".direction_squared", direction)};
    if (kernel.reads_parameter_norm()) operands.push_back(squares(".squared", id_));
    builder_.add_in_place(parameter_.name + ".update", kernel, operands, {id_});
  }

  void lamb() {
    const LambDirection kernel{.operand = parameter_.dims,
                               .beta1 = optimizer_.beta1,
                               .beta2 = optimizer_.beta2,
                               .epsilon = optimizer_.epsilon,
                               .weight_decay = settings_.weight_decay,
                               .clip_norm = optimizer_.clip_norm};
    const TensorId direction =
        new_tensor(".direction", parameter_.dims, parameter_.shape, Role::gradient);
    builder_.add_in_place(parameter_.name + ".moments", kernel,
                          {gradient_, id_, step(), norm_squared()},
                          {state(".lamb_m"), state(".lamb_v"), direction});
    apply({.size = ApplyDirection::Size::trust_ratio, .operand = parameter_.dims}, direction);
  }

  void adafactor() {
    const TensorId direction = parameter_.shape.size() < 2 ? unfactored() : factored();
    apply({.size = ApplyDirection::Size::clipped,
           .operand = parameter_.dims,
           .relative = optimizer_.relative_step,
           .weight_decay = settings_.weight_decay},
          direction);
  }

  /// Keeps the second moment of the gradient, or the mean of `count` elements of which `value` is
  /// the sum of squares; returns it as a tensor of this step.
  TensorId second_moment(const std::string& suffix, TensorId value, bool square, double count) {
    const Tensor of = builder_.tensor(value);
    const SecondMoment kernel{
        .operand = of.dims, .square = square, .count = count, .clip_norm = optimizer_.clip_norm};
    const TensorId now = new_tensor(suffix + "_now", of.dims, of.shape, Role::gradient);
    builder_.add_in_place(parameter_.name + suffix, kernel, {value, step(), norm_squared()},
                          {state(suffix, of.dims, of.shape), now});
    return now;
  }

  TensorId unfactored() {
    const TensorId moment = second_moment(".second_moment", gradient_, true, 1.0);
    const FactoredDirection kernel{.operand = parameter_.dims,
                                   .rows = parameter_.dims,
                                   .columns = "",
                                   .clip_norm = optimizer_.clip_norm};
    return builder_.add(parameter_.name + ".direction", kernel,
                        {gradient_, moment, norm_squared()});
  }

  /// Number of leading dimensions that make the rows.
  [[nodiscard]] std::size_t cut() const {
    const Shape& shape = parameter_.shape;
    const auto sum_at = [&](std::size_t at) {
      const auto middle = shape.begin() + static_cast<long>(at);
      return elements({shape.begin(), middle}) + elements({middle, shape.end()});
    };
    std::size_t best = 1;
    for (std::size_t at = 2; at < shape.size(); ++at) {
      if (sum_at(at) < sum_at(best)) best = at;
    }
    return best;
  }

  TensorId factored() {
    const Dims& dims = parameter_.dims;
    const Dims rows = dims.substr(0, cut()), columns = dims.substr(cut());
    const auto moment = [&](const std::string& suffix, const Dims& kept) {
      const Reduce squares{.square = true, .operand = dims, .result = kept};
      const TensorId sum =
          builder_.add(parameter_.name + suffix + "_squared", squares, {gradient_});
      const double count = elements(parameter_.shape) / elements(builder_.tensor(sum).shape);
      return second_moment(suffix, sum, false, count);
    };
    const TensorId r = moment(".second_moment_rows", rows);
    const TensorId c = moment(".second_moment_columns", columns);
    const TensorId total =
        builder_.add(parameter_.name + ".second_moment_total",
                     Reduce{.operand = rows, .result = ""}, {r}, {.dtype = DType::f64});
    const FactoredDirection kernel{.operand = dims,
                                   .rows = rows,
                                   .columns = columns,
                                   .count = elements(builder_.tensor(r).shape),
                                   .clip_norm = optimizer_.clip_norm};
    return builder_.add(parameter_.name + ".direction", kernel,
                        {gradient_, r, c, total, norm_squared()});
  }

  GraphBuilder& builder_;
  TensorId id_;
  Tensor parameter_;
  TensorId gradient_;
  const OptimizerSpec& optimizer_;
  Settings settings_;
};

}  // namespace

void add_update(GraphBuilder& builder, TensorId parameter, TensorId gradient,
                const OptimizerSpec& optimizer) {
  Updater(builder, parameter, gradient, optimizer).add();
}

}  // namespace alpa
