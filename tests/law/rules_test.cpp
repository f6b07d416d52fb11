#include <iostream>
#include <set>

#include <gtest/gtest.h>

#include "alpa/sharding/strategy.hpp"

#include "device/cases.hpp"

/// Sharding rules against brute force: for every kernel, the layouts under which pieces, run one by
/// one on the reference device, make up what the whole kernel gives are those of the rule.
///
/// What is enumerated. A kernel is given pieces in which equal letters have equal ranges (its
/// contract; anything else aborts), so what one mesh axis does to operands is: split one letter
/// wherever it stands, or no letter; and any subset of the tensors without that letter may be
/// partial sums over the axis. That is all of it: 2^n choices for each letter and for none. On {2}
/// and {3} (uneven pieces) all choices run; on {2,2} all pairs of choices run for kernels with few
/// operands, and for the others all pairs of choices valid on one axis, with a random sample of the
/// rest. Every result is then compared under every layout its pieces can have: split where it has
/// the letter, else whole, partial sum or partial maximum. Letters that a kernel's contract wants
/// whole are not cut. Each choice is tried with several draws of the operands and of the addends of
/// partial sums.
namespace alpa::test {
namespace {

/// What a mesh axis does to the tensors of an operator. Tensors count operands first, then results.
struct AxisChoice {
  char letter = '\0';
  std::set<std::size_t> partial;  ///< operands, and results that the kernel also reads
  friend auto operator<=>(const AxisChoice&, const AxisChoice&) = default;
};

/// A kernel on whole tensors, and what is known of it.
struct Subject {
  Case each;
  ShardingRule rule;
  Sizes sizes;
  bool in_place = false;

  [[nodiscard]] std::size_t num_operands() const { return each.operands.size(); }
  [[nodiscard]] std::size_t num_read() const {
    return num_operands() + (in_place ? each.results.size() : 0);
  }
  [[nodiscard]] const Dims& dims(std::size_t tensor) const {
    return tensor < num_operands() ? rule.operands[tensor] : rule.results[tensor - num_operands()];
  }
};

bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

/// Letters that a piece must hold whole, by the kernel's contract (graph/kernel.hpp).
std::string whole_by_contract(const Kernel& kernel) {
  if (const auto* select = std::get_if<Select>(&kernel)) return {select->letter};
  if (const auto* stack = std::get_if<Stack>(&kernel)) return {stack->letter};
  if (std::holds_alternative<Attention>(kernel)) return "sd";
  if (std::holds_alternative<AttentionGradient>(kernel)) return "sd";
  return "";
}

Subject subject(const Case& each, const std::vector<std::int64_t>& extents) {
  Subject s{each, {}, {}, false};
  std::size_t next = 0;
  const auto size = [&](char letter) -> Size {
    if (letter == '3') return {0, 3, 3};
    const std::int64_t n = extents[next++ % extents.size()];
    return {0, n, n};
  };
  for (const auto* arguments : {&each.operands, &each.results}) {
    for (const Argument& a : *arguments) {
      for (const char c : a.dims) {
        if (!s.sizes.contains(c)) s.sizes[c] = size(c);
      }
    }
  }
  if (s.sizes.contains('s') && s.sizes.contains('t')) s.sizes['s'] = s.sizes['t'];
  std::vector<Shape> operands, results;
  for (const Argument& a : each.operands) operands.push_back(full_of(a.dims, s.sizes));
  for (const Argument& a : each.results) results.push_back(full_of(a.dims, s.sizes));
  s.rule = rule_of(each.kernel, operands, results);
  s.in_place = std::holds_alternative<Accumulate>(each.kernel) ||
               std::holds_alternative<Update>(each.kernel) ||
               std::holds_alternative<Contribute>(each.kernel);
  return s;
}

/// Every layout of the read tensors that the choices give; more than one where two axes split one
/// letter (either may be the major one). Empty if a piece would be.
std::vector<std::vector<ShardingSpec>> layouts_of(const Subject& s, const DeviceMesh& mesh,
                                                  const std::vector<AxisChoice>& choices) {
  const std::size_t count = s.num_operands() + s.each.results.size();
  const bool shared =
      choices.size() == 2 && choices[0].letter != '\0' && choices[0].letter == choices[1].letter;
  std::vector<std::vector<ShardingSpec>> all;
  for (int order = 0; order < (shared ? 2 : 1); ++order) {
    std::vector<ShardingSpec> specs;
    for (std::size_t t = 0; t < count; ++t) {
      ShardingSpec spec = replicated(s.dims(t).size());
      for (std::size_t k = 0; k < choices.size(); ++k) {
        const std::size_t a = order == 0 ? k : choices.size() - 1 - k;
        const auto axis = static_cast<MeshAxis>(a);
        const auto d = s.dims(t).find(choices[a].letter);
        if (choices[a].letter != '\0' && d != Dims::npos) spec.dim_axes[d].push_back(axis);
        if (choices[a].partial.contains(t)) spec.partial_axes.push_back(axis);
      }
      std::sort(spec.partial_axes.begin(), spec.partial_axes.end());
      specs.push_back(std::move(spec));
    }
    bool fit = true;
    for (std::size_t t = 0; t < count; ++t) {
      Shape shape;
      for (const char c : s.dims(t)) {
        shape.push_back(s.rule.factors[static_cast<std::size_t>(s.rule.factor(c))].size);
      }
      fit = fit && fits(shape, specs[t], mesh);
    }
    if (fit) all.push_back(std::move(specs));
  }
  return all;
}

/// The piece of a tensor that each device holds: of a partial sum one addend. Addends are random,
/// or with `one_hot` the whole value lies on one device, chosen at random.
std::vector<Tensor> pieces(const Tensor& whole, const ShardingSpec& spec, const DeviceMesh& mesh,
                           bool one_hot, std::mt19937_64& random) {
  std::vector<Tensor> parts;
  for (int i = 0; i < num_devices(mesh); ++i) {
    parts.push_back(cut(whole, local_box(whole.full, spec, mesh, i)));
  }
  if (spec.partial_axes.empty()) return parts;
  std::uniform_real_distribution<double> draw(-1.0, 1.0);
  for (int i = 0; i < num_devices(mesh); ++i) {
    const auto group = devices_along(mesh, i, spec.partial_axes);
    if (group.front() != i) continue;
    const std::size_t winner = random() % group.size();
    Tensor rest = parts[static_cast<std::size_t>(i)];
    for (std::size_t k = 0; k < group.size(); ++k) {
      if (k == winner) continue;
      Tensor& part = parts[static_cast<std::size_t>(group[k])];
      for (std::size_t e = 0; e < part.values.size(); ++e) {
        part.values[e] = one_hot ? 0.0 : draw(random);
        rest.values[e] -= part.values[e];
      }
    }
    parts[static_cast<std::size_t>(group[winner])] = rest;
  }
  // Copies are equal: a device takes the addend of the device that has coordinate 0 along the axes
  // over which the tensor is repeated.
  for (int i = 0; i < num_devices(mesh); ++i) {
    auto place = coordinates(mesh, i);
    for (std::size_t a = 0; a < place.size(); ++a) {
      const auto axis = static_cast<MeshAxis>(a);
      const auto uses = [&](const std::vector<MeshAxis>& axes) {
        return std::find(axes.begin(), axes.end(), axis) != axes.end();
      };
      const bool used =
          uses(spec.partial_axes) || std::any_of(spec.dim_axes.begin(), spec.dim_axes.end(), uses);
      if (!used) place[a] = 0;
    }
    const auto source = static_cast<std::size_t>(device_at(mesh, place));
    parts[static_cast<std::size_t>(i)] = parts[source];
  }
  return parts;
}

/// One draw of a subject's tensors and what the whole kernel makes of them.
struct Draw {
  std::vector<Tensor> operands, initial, expected;
  bool one_hot = false;  ///< how its partial sums are cut
};

Draw draw(Device& device, const Subject& s, std::mt19937_64& random) {
  Draw d;
  d.operands = make(s.each.operands, s.sizes, DType::f64, random);
  d.initial = make(s.each.results, s.sizes, DType::f64, random);
  d.expected = run(device, s.each.kernel, d.operands, d.initial);
  return d;
}

/// Results of the kernel on every device's pieces: [device][result].
using Outputs = std::vector<std::vector<Tensor>>;

Outputs run_pieces(Device& device, const Subject& s, const Draw& d, const DeviceMesh& mesh,
                   const std::vector<ShardingSpec>& specs, std::mt19937_64& random) {
  std::vector<std::vector<Tensor>> parts;  // [tensor][device]
  for (std::size_t t = 0; t < specs.size(); ++t) {
    const Tensor& whole = t < s.num_operands() ? d.operands[t] : d.initial[t - s.num_operands()];
    parts.push_back(pieces(whole, specs[t], mesh, d.one_hot, random));
  }
  Outputs outputs;
  for (std::size_t i = 0; i < static_cast<std::size_t>(num_devices(mesh)); ++i) {
    std::vector<Tensor> in, out;
    for (std::size_t t = 0; t < specs.size(); ++t) {
      (t < s.num_operands() ? in : out).push_back(parts[t][i]);
    }
    outputs.push_back(run(device, s.each.kernel, in, out));
  }
  return outputs;
}

constexpr double kTolerance = 1e-11;

/// Do the devices' pieces stand for the expected tensor under the layout?
bool stands_for(const Outputs& outputs, std::size_t result, const Tensor& expected,
                const ShardingSpec& spec, const DeviceMesh& mesh) {
  for (int i = 0; i < num_devices(mesh); ++i) {
    const auto group = devices_along(mesh, i, spec.partial_axes);
    Tensor total = outputs[static_cast<std::size_t>(group[0])][result];
    for (std::size_t k = 1; k < group.size(); ++k) {
      const Tensor& part = outputs[static_cast<std::size_t>(group[k])][result];
      for (std::size_t e = 0; e < total.values.size(); ++e) {
        if (spec.partial_op == ReduceOp::sum) {
          total.values[e] += part.values[e];
        } else {
          total.values[e] = std::max(total.values[e], part.values[e]);
        }
      }
    }
    if (!(difference(total, cut(expected, total.box)) < kTolerance)) return false;
  }
  return true;
}

/// Layouts of a result that the axes leave open: over each axis that does not split it whole,
/// partial sum or partial maximum (one kind for all axes, as a layout can say).
std::vector<ShardingSpec> open_layouts(const ShardingSpec& base, const DeviceMesh& mesh) {
  std::vector<MeshAxis> open;
  for (std::size_t a = 0; a < mesh.extents.size(); ++a) {
    const auto axis = static_cast<MeshAxis>(a);
    const bool splits = std::any_of(base.dim_axes.begin(), base.dim_axes.end(), [&](auto& axes) {
      return std::find(axes.begin(), axes.end(), axis) != axes.end();
    });
    if (!splits) open.push_back(axis);
  }
  std::vector<ShardingSpec> all;
  for (std::size_t bits = 0; bits < (std::size_t{1} << open.size()); ++bits) {
    ShardingSpec spec = base;
    spec.partial_axes.clear();
    for (std::size_t k = 0; k < open.size(); ++k) {
      if ((bits >> k & 1U) != 0) spec.partial_axes.push_back(open[k]);
    }
    spec.partial_op = ReduceOp::sum;
    all.push_back(spec);
    if (spec.partial_axes.empty()) continue;
    spec.partial_op = ReduceOp::max;
    all.push_back(spec);
  }
  return all;
}

/// Drops what says less than another valid layout: a whole value is the maximum of its copies, so
/// "partial maximum" is only kept where "whole over that axis" is wrong.
std::vector<ShardingSpec> strongest(const std::vector<ShardingSpec>& valid) {
  std::vector<ShardingSpec> kept;
  for (const ShardingSpec& spec : valid) {
    const bool implied = std::any_of(valid.begin(), valid.end(), [&](const ShardingSpec& other) {
      if (spec.partial_op != ReduceOp::max || other == spec) return false;
      const bool same_kind = other.partial_axes.empty() || other.partial_op == ReduceOp::max;
      return same_kind && other.partial_axes.size() < spec.partial_axes.size() &&
             std::includes(spec.partial_axes.begin(), spec.partial_axes.end(),
                           other.partial_axes.begin(), other.partial_axes.end());
    });
    if (!implied) kept.push_back(spec);
  }
  return kept;
}

/// Valid layouts of each result, over all draws. Empty if some result has none.
std::vector<std::vector<ShardingSpec>> valid_results(Device& device, const Subject& s,
                                                     const std::vector<Draw>& draws,
                                                     const DeviceMesh& mesh,
                                                     const std::vector<ShardingSpec>& specs,
                                                     std::mt19937_64& random) {
  std::vector<std::vector<ShardingSpec>> valid;
  for (std::size_t r = 0; r < s.each.results.size(); ++r) {
    const ShardingSpec& base = specs[s.num_operands() + r];
    valid.push_back(s.in_place ? std::vector<ShardingSpec>{base} : open_layouts(base, mesh));
  }
  for (const Draw& d : draws) {
    const Outputs outputs = run_pieces(device, s, d, mesh, specs, random);
    for (std::size_t r = 0; r < valid.size(); ++r) {
      std::erase_if(valid[r], [&](const ShardingSpec& spec) {
        return !stands_for(outputs, r, d.expected[r], spec, mesh);
      });
      if (valid[r].empty()) return {};
    }
  }
  for (auto& list : valid) list = strongest(list);
  return valid;
}

/// One valid combination: layouts of operands and results.
std::vector<OperatorLayout> combine(const Subject& s, const std::vector<ShardingSpec>& specs,
                                    const std::vector<std::vector<ShardingSpec>>& results) {
  OperatorLayout base;
  base.operands.assign(specs.begin(),
                       specs.begin() + static_cast<std::ptrdiff_t>(s.num_operands()));
  std::vector<OperatorLayout> all{base};
  for (const auto& choices : results) {
    std::vector<OperatorLayout> longer;
    for (const OperatorLayout& layout : all) {
      for (const ShardingSpec& spec : choices) {
        longer.push_back(layout);
        longer.back().results.push_back(spec);
      }
    }
    all = std::move(longer);
  }
  return results.empty() ? std::vector<OperatorLayout>{} : all;
}

std::string text(const OperatorLayout& layout) {
  std::string t;
  for (const auto& spec : layout.operands) t += to_string(spec) + " ";
  t += "->";
  for (const auto& spec : layout.results) t += " " + to_string(spec);
  return t;
}

// ---- Valid combinations that rules leave out, with the reason.
// ------------------------------------

/// Groups of operands in which a kernel is linear although its rule does not say so.
struct ExtraLinear {
  std::string kind;
  std::set<std::size_t> group;
  std::string reason;
};

const std::vector<ExtraLinear>& extra_linear() {
  static const std::string given =
      "weights and step scalars are given to the program, never computed"
      " as partial sums";
  static const std::string stored =
      "parameters are stored and gathered whole or split, never partial";
  static const std::string state = "state is never stored as partial sums (plan validation)";
  static const std::string rare =
      "correct and left out: the operand is resolved for its other uses"
      " anyway";
  static const std::vector<ExtraLinear> list = {
      {"map.cross_entropy", {3}, given},
      {"map.cross_entropy", {4}, given},
      {"map.squared_error", {2}, given},
      {"map.squared_error", {3}, given},
      {"map.squared_error_gradient", {2}, given},
      {"map.squared_error_gradient", {3}, given},
      {"map.squared_error_gradient", {0, 1}, given},
      {"cross_entropy_gradient", {4}, given},
      {"cross_entropy_gradient", {5}, given},
      {"norm_apply", {3}, stored},
      {"norm_apply", {3, 4}, stored},
      {"norm_gradient_moments", {4}, stored},
      {"norm_gradient_input", {4, 5, 6}, stored},
      {"map.softmax_gradient", {0}, rare},
      {"attention_gradient", {5}, rare},
      {"update.sgd", {0, 4}, state},
      {"update.momentum", {0, 4, 5}, state},
  };
  return list;
}

const std::map<std::string, std::set<std::size_t>>& mixed_linear() {
  static const std::map<std::string, std::set<std::size_t>> groups = {
      {"attention", {2}}, {"attention_gradient", {2, 3}}};
  return groups;
}

bool is_rms(const Kernel& kernel) {
  return std::visit(
      [](const auto& k) {
        if constexpr (requires { k.norm.rms; }) return k.norm.rms;
        return false;
      },
      kernel);
}

/// Why a valid choice on one axis is not the rule's; empty if there is no reason.
std::string reason_of(const Subject& s, const AxisChoice& choice,
                      const std::set<std::size_t>& unread) {
  std::set<std::size_t> read;
  std::set_difference(choice.partial.begin(), choice.partial.end(), unread.begin(), unread.end(),
                      std::inserter(read, read.end()));
  if (read.size() < choice.partial.size()) return "the operand's value does not matter here";
  const std::string kind = kind_of(s.each.kernel);
  for (const ExtraLinear& extra : extra_linear()) {
    if (extra.kind == kind && extra.group == choice.partial && choice.letter == '\0') {
      return extra.reason;
    }
  }
  const auto* reduce = std::get_if<Reduce>(&s.each.kernel);
  if (reduce != nullptr && reduce->operand == reduce->result)
    return "a maximum over no letter is a copy";
  if (is_rms(s.each.kernel)) {
    return "given the sum of squares RMS norm is linear in x too; its rule is that of layer norm";
  }
  // o is linear in v, and dq, dk in (v, o) jointly; the other results do not depend on them.
  const auto mixed = mixed_linear().find(kind);
  if (mixed != mixed_linear().end() && choice.letter == '\0' && choice.partial == mixed->second) {
    return "some results would be partial and some whole: a linear group's results are all partial";
  }
  return "";
}

/// Operands whose values the kernel does not look at with these attributes (dropout's step where
/// nothing is dropped).
std::set<std::size_t> unread_operands(Device& device, const Subject& s, std::mt19937_64& random) {
  std::set<std::size_t> unread;
  for (std::size_t t = 0; t < s.num_operands(); ++t) {
    if (s.each.operands[t].fill == Content::ids) continue;
    bool matters = false;
    for (int round = 0; round < 3 && !matters; ++round) {
      Draw d = draw(device, s, random);
      for (double& v : d.operands[t].values) v = round == 0 ? 0.0 : v + 1.0 + 0.1 * round;
      const auto other = run(device, s.each.kernel, d.operands, d.initial);
      for (std::size_t r = 0; r < other.size(); ++r) {
        matters = matters || other[r].values != d.expected[r].values;
      }
    }
    if (!matters) unread.insert(t);
  }
  return unread;
}

// ---- The comparison.
// --------------------------------------------------------------------------------

std::vector<AxisChoice> all_choices(const Subject& s) {
  std::string letters(1, '\0');
  const std::string whole = whole_by_contract(s.each.kernel);
  for (const Factor& f : s.rule.factors) {
    if (!has(whole, f.name)) letters += f.name;
  }
  std::vector<AxisChoice> all;
  for (const char letter : letters) {
    std::vector<std::size_t> open;
    for (std::size_t t = 0; t < s.num_read(); ++t) {
      const bool integer = t < s.num_operands() && s.each.operands[t].fill == Content::ids;
      if (!integer && (letter == '\0' || !has(s.dims(t), letter))) open.push_back(t);
    }
    for (std::size_t bits = 0; bits < (std::size_t{1} << open.size()); ++bits) {
      AxisChoice choice{letter, {}};
      for (std::size_t k = 0; k < open.size(); ++k) {
        if ((bits >> k & 1U) != 0) choice.partial.insert(open[k]);
      }
      all.push_back(std::move(choice));
    }
  }
  return all;
}

struct Counts {
  std::int64_t tried = 0, valid = 0, strategies = 0;
  std::map<std::string, std::int64_t> left_out;
};

class Comparison {
 public:
  Comparison(const Case& each, const DeviceMesh& mesh, const std::vector<std::int64_t>& extents)
      : device_(make_reference_device()), mesh_(mesh), s_(subject(each, extents)) {
    for (int i = 0; i < 8; ++i) {
      draws_.push_back(draw(*device_, s_, random_));
      draws_.back().one_hot = i >= 2;
    }
    unread_ = unread_operands(*device_, s_, random_);
    for (const Strategy& strategy : all_strategies(s_.rule, mesh)) {
      rule_.insert(text(*apply_strategy(s_.rule, strategy, mesh).layout));
    }
  }

  void run(Counts& counts) {
    const auto choices = all_choices(s_);
    if (mesh_.extents.size() == 1) {
      for (const AxisChoice& c : choices) compare({c}, counts);
    } else {
      run_pairs(choices, counts);
    }
    for (const std::string& layout : rule_) {
      EXPECT_TRUE(confirmed_.contains(layout))
          << name() << ": the rule allows " << layout << ", the kernel does not";
    }
    counts.strategies += static_cast<std::int64_t>(rule_.size());
  }

  /// Choices valid on this mesh's single axis.
  [[nodiscard]] const std::vector<AxisChoice>& valid_choices() const { return valid_choices_; }

  void seed_with(const std::vector<AxisChoice>& valid_on_one_axis) {
    valid_choices_ = valid_on_one_axis;
  }

 private:
  [[nodiscard]] std::string name() const {
    return s_.each.name + " on a mesh of " + std::to_string(num_devices(mesh_));
  }

  void run_pairs(const std::vector<AxisChoice>& choices, Counts& counts) {
    constexpr std::size_t kAll = 40000;
    constexpr int kSample = 2000;
    const auto singles = valid_choices_;
    if (choices.size() * choices.size() <= kAll) {
      for (const AxisChoice& a : choices) {
        for (const AxisChoice& b : choices) compare({a, b}, counts);
      }
      return;
    }
    for (const AxisChoice& a : singles) {
      for (const AxisChoice& b : singles) compare({a, b}, counts);
    }
    for (int i = 0; i < kSample; ++i) {
      compare({choices[random_() % choices.size()], choices[random_() % choices.size()]}, counts);
    }
  }

  void compare(const std::vector<AxisChoice>& choices, Counts& counts) {
    for (const auto& specs : layouts_of(s_, mesh_, choices)) {
      ++counts.tried;
      const auto results = valid_results(*device_, s_, draws_, mesh_, specs, random_);
      const auto layouts = combine(s_, specs, results);
      if (!layouts.empty() && choices.size() == 1) valid_choices_.push_back(choices[0]);
      for (const OperatorLayout& layout : layouts) {
        ++counts.valid;
        const std::string t = text(layout);
        if (rule_.contains(t)) {
          confirmed_.insert(t);
          continue;
        }
        std::string reason;
        for (const AxisChoice& c : choices) {
          if (reason.empty()) reason = reason_of(s_, c, unread_);
        }
        EXPECT_FALSE(reason.empty())
            << name() << ": " << t << " is valid, the rule does not have it";
        ++counts.left_out[kind_of(s_.each.kernel) + ": " + reason];
      }
    }
  }

  std::unique_ptr<Device> device_;
  DeviceMesh mesh_;
  Subject s_;
  std::mt19937_64 random_{11};
  std::vector<Draw> draws_;
  std::set<std::size_t> unread_;
  std::set<std::string> rule_, confirmed_;
  std::vector<AxisChoice> valid_choices_;
};

std::vector<Case> cases_of_rules() {
  std::vector<Case> cases = all_cases();
  cases.push_back({"copy_box", CopyBox{}, {{"ij"}}, {{"ij"}}});
  // Nothing is written where the norm is not finite, whatever the operands are.
  std::erase_if(cases, [](const Case& c) { return c.name == "update without a finite norm"; });
  return cases;
}

TEST(Rules, AreWhatBruteForceFinds) {
  Counts counts;
  for (const Case& each : cases_of_rules()) {
    Comparison two(each, {{2}}, {3, 2, 5, 4});
    two.run(counts);
    Comparison three(each, {{3}}, {4, 3, 5});
    three.run(counts);
    Comparison four(each, {{2, 2}}, {4, 2, 5, 3, 2, 4});
    four.seed_with(two.valid_choices());
    four.run(counts);
  }
  std::cout << counts.tried << " choices of operand layouts tried, " << counts.valid
            << " combinations valid, of which by strategies of rules " << counts.strategies
            << ", left out by rules:\n";
  for (const auto& [reason, count] : counts.left_out) {
    std::cout << "  " << count << "  " << reason << "\n";
  }
}

// The comparison itself can fail: a rule that allows too much, and one that allows too little.
TEST(Rules, BruteForceTellsRightFromWrong) {
  const auto device = make_reference_device();
  std::mt19937_64 random(3);
  const Subject s = subject({"tanh", Map{MapOp::tanh, {"ij"}, "ij"}, {{"ij"}}, {{"ij"}}}, {4, 3});
  const std::vector<Draw> draws{draw(*device, s, random), draw(*device, s, random)};
  const DeviceMesh mesh{{2}};
  const auto valid = [&](const AxisChoice& choice) {
    return valid_results(*device, s, draws, mesh, layouts_of(s, mesh, {choice}).at(0), random);
  };
  EXPECT_TRUE(valid({'\0', {0}}).empty());  // tanh(a) + tanh(b) is not tanh(a + b)
  const auto split = valid({'i', {}});
  ASSERT_EQ(split.size(), 1U);
  ASSERT_EQ(split[0].size(), 1U);
  EXPECT_EQ(to_string(split[0][0]), "[S0,R]");
}

}  // namespace
}  // namespace alpa::test
