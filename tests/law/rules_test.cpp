#include <iostream>
#include <set>

#include <gtest/gtest.h>

#include "law/brute_force.hpp"

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

// Valid combinations that rules leave out, with the reason.

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
      {"map.hit", {2}, given},
      {"map.squared_error", {2}, given},
      {"map.squared_error", {3}, given},
      {"map.squared_error_gradient", {2}, given},
      {"map.squared_error_gradient", {3}, given},
      {"map.squared_error_gradient", {0, 1}, given},
      {"accumulate", {1, 2}, given},
      {"cross_entropy_gradient", {4}, given},
      {"cross_entropy_gradient", {5}, given},
      {"norm_apply", {3}, stored},
      {"norm_apply", {3, 4}, stored},
      {"norm_gradient_moments", {4}, stored},
      {"norm_gradient_input", {4, 5, 6}, stored},
      {"map.softmax_gradient", {0}, rare},
      {"attention_gradient", {5}, rare},
      {"running_average", {0, 2}, state},
      {"update.sgd", {0, 4}, state},
      {"update.momentum", {0, 4, 5}, state},
      {"running_average", {0, 2}, state},
      {"apply_direction.clipped", {0, 4}, state},
      {"apply_direction.clipped", {0, 5}, state},
      {"apply_direction.trust_ratio", {0, 5}, state},
      {"apply_direction.trust_ratio", {1, 5}, state},
      {"factored_direction", {0}, rare},
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
    if (is_integer(s.each.operands[t].fill)) continue;
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

// The comparison.

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
      const bool integer = t < s.num_operands() && is_integer(s.each.operands[t].fill);
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

/// So many that no partial sums of two operands lie on the same device in all of them by chance.
constexpr int kDraws = 16;

/// Pieces of images overlap, which no choice here does: windows_test.cpp tries these strategies.
bool cuts_images(const ShardingRule& rule, const Strategy& strategy) {
  return std::any_of(strategy.uses.begin(), strategy.uses.end(), [&](const AxisUse& use) {
    return std::any_of(rule.windows.begin(), rule.windows.end(),
                       [&](const FactorWindow& w) { return w.factor == use.factor; });
  });
}

class Comparison {
 public:
  Comparison(const Case& each, const DeviceMesh& mesh, const std::vector<std::int64_t>& extents)
      : device_(make_reference_device()), mesh_(mesh), s_(subject(each, extents)) {
    for (int i = 0; i < kDraws; ++i) {
      draws_.push_back(draw(*device_, s_, random_));
      draws_.back().one_hot = i >= 2;
    }
    unread_ = unread_operands(*device_, s_, random_);
    for (const Strategy& strategy : all_strategies(s_.rule, mesh)) {
      if (cuts_images(s_.rule, strategy)) continue;
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
  std::erase_if(cases, [](const Case& c) { return c.name.ends_with("without a finite norm"); });
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
  for (const ExtraLinear& extra : extra_linear()) {
    EXPECT_TRUE(counts.left_out.contains(extra.kind + ": " + extra.reason))
        << extra.kind << " is no longer left out: drop it from the list";
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
