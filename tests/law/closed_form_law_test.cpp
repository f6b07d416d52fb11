#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "law/closed_forms.hpp"

/// Per method, FLOPs, bytes and counts of collectives and bytes of memory of each rank against the
/// method's closed form. Sizes of the models divide by 2, 4 and 8, so that the forms are exact. P
/// bytes of parameters, AdamW with two states, gradient sums of 4 bytes, all fp32; in bf16 and fp16
/// a copy of 2 bytes beside each parameter, which is what is gathered and read.
namespace alpa::law {
namespace {

constexpr double kScalars = 24;  // loss, hits and norm, fp64, summed over the world once a step

double ring(int n) { return static_cast<double>(n - 1) / n; }

struct Model {
  explicit Model(Preset preset, std::int64_t microbatches = 1,
                 Precision precision = Precision::fp32)
      : test(case_of({preset, OptimizerKind::adamw, precision, 0.5})),
        low(precision == Precision::bf16 || precision == Precision::fp16),
        graph(test.make_graph(test.global_batch / microbatches)),
        sizes(graph),
        count(static_cast<double>(microbatches)) {}

  Case test;
  bool low;  ///< 16 bits
  Graph graph;
  Sizes sizes;
  double count;

  [[nodiscard]] double flops() const { return count * sizes.flops(0, graph.num_layers - 1); }
  [[nodiscard]] double parameters() const { return sizes.of(Role::parameter); }
  [[nodiscard]] double replicas() const { return sizes.of(Role::replica); }
  /// Parameters with their copies of 16 bits.
  [[nodiscard]] double stored() const { return (low ? 1.5 : 1.0) * parameters(); }
  /// What operators read: copies for other layers, and of low ones for the own one.
  [[nodiscard]] double read() const { return replicas() + (low ? 0.0 : parameters()); }
  [[nodiscard]] std::int64_t num_read() const {
    return sizes.count(Role::replica) + (low ? 0 : sizes.count(Role::parameter));
  }
  /// Gradients as they come.
  [[nodiscard]] double gradients() const { return (low ? 0.5 : 1.0) * accumulators(); }
  [[nodiscard]] double accumulators() const { return sizes.of(Role::accumulator); }
  [[nodiscard]] double optimizer() const { return sizes.of(Role::optimizer_state); }
};

/// Data parallelism on n ranks: everything whole, gradients summed once a step.
ClosedForm data_form(const Model& m, int n) {
  ClosedForm form;
  form.flops = m.flops() / n;
  form.parameters = m.stored();
  form.gradients = m.parameters();  // a tied parameter's gradients add up in one place
  form.optimizer = m.optimizer();
  if (n == 1) return form;
  form.bytes["all_reduce"] = 2 * ring(n) * (m.parameters() + kScalars);
  form.counts["all_reduce"] = m.sizes.count(Role::parameter) + 1;
  return form;
}

/// ZeRO-1: optimizer and stored parameters split, gathered once a step; gradients are summed where
/// they are needed, once a step.
ClosedForm zero1_form(const Model& m, int n) {
  ClosedForm form = data_form(m, n);
  if (n == 1) return form;
  const double gathered = m.read();
  form.parameters = m.parameters() / n + gathered;  // pieces of copies go when they are gathered
  form.optimizer = m.optimizer() / n;
  form.bytes = {{"all_reduce", 2 * ring(n) * kScalars},
                {"reduce_scatter", ring(n) * m.parameters()},
                {"all_gather", ring(n) * gathered}};
  form.counts = {{"all_reduce", 1},
                 {"reduce_scatter", m.sizes.count(Role::parameter)},
                 {"all_gather", m.num_read()}};
  return form;
}

/// ZeRO-2: gradients are split as they come, in each microbatch, those of a tied parameter each.
ClosedForm zero2_form(const Model& m, int n) {
  ClosedForm form = zero1_form(m, n);
  if (n == 1) return form;
  form.gradients = m.parameters() / n;
  form.bytes["reduce_scatter"] = m.count * ring(n) * m.gradients();
  form.counts["reduce_scatter"] =
      static_cast<std::int64_t>(m.count) * m.sizes.count(Role::accumulator);
  return form;
}

/// ZeRO-3: nothing whole is kept: parameters are gathered for the forward, and those that the
/// backward reads again for it, in each microbatch.
ClosedForm zero3_form(const Model& m, int n) {
  ClosedForm form = zero2_form(m, n);
  if (n == 1) return form;
  form.parameters = m.stored() / n;  // copies are kept as pieces
  const double uses = m.sizes.read_in(Phase::forward) + m.sizes.read_in(Phase::backward);
  form.bytes["all_gather"] = m.count * ring(n) * uses;
  form.counts.erase("all_gather");
  return form;
}

std::vector<std::string> all_mismatches(const Case& test, const Plan& plan,
                                        const ClosedForm& form) {
  std::vector<std::string> all;
  const auto figures = figures_of(test, plan);
  for (std::size_t r = 0; r < figures.size(); ++r) {
    for (const std::string& wrong : mismatches(figures[r], form)) {
      all.push_back(plan.method + " of " + std::to_string(plan.world_size) + ", rank " +
                    std::to_string(r) + ": " + wrong);
    }
  }
  return all;
}

using DataForm = ClosedForm (*)(const Model&, int);
const std::vector<std::pair<Method, DataForm>> kDataMethods = {{Method::data, data_form},
                                                               {Method::zero1, zero1_form},
                                                               {Method::zero2, zero2_form},
                                                               {Method::zero3, zero3_form}};

TEST(ClosedFormLaw, DataParallelismAndZero) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const int count : {1, 2}) {
      const Model model(preset, count);
      for (const int n : {1, 2, 4}) {
        for (const auto& [method, form] : kDataMethods) {
          const Plan plan = plan_of(model.test, method, n, microbatches(count));
          EXPECT_EQ(all_mismatches(model.test, plan, form(model, n)), std::vector<std::string>{})
              << (preset == Preset::mlp ? "mlp" : "gpt") << " microbatches " << count;
        }
      }
    }
    const Model model(preset);
    for (const auto& [method, form] : kDataMethods) {
      const Plan plan = plan_of(model.test, method, 8);
      EXPECT_EQ(all_mismatches(model.test, plan, form(model, 8)), std::vector<std::string>{});
    }
  }
}

TEST(ClosedFormLaw, SixteenBitsHalveWhatIsGatheredAndScattered) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      for (const int count : {1, 2}) {
        const Model model(preset, count, precision), wide(preset, count);
        for (const int n : {1, 2, 4}) {
          for (const auto& [method, form] : kDataMethods) {
            const Plan plan = plan_of(model.test, method, n, microbatches(count));
            const ClosedForm expected = form(model, n);
            EXPECT_EQ(all_mismatches(model.test, plan, expected), std::vector<std::string>{})
                << (preset == Preset::mlp ? "mlp" : "gpt") << " microbatches " << count;
            const ClosedForm of_fp32 = form(wide, n);
            if (!expected.bytes.contains("all_gather")) continue;
            EXPECT_DOUBLE_EQ(2 * expected.bytes.at("all_gather"), of_fp32.bytes.at("all_gather"));
          }
        }
      }
    }
  }
}

// Uneven pieces: what ranks hold and compute adds up to the closed form, and no rank has more than
// its share by more than the rounding of one dimension.
TEST(ClosedFormLaw, UnevenPiecesAddUp) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Model model(preset);
    for (const Method method : {Method::data, Method::zero2, Method::zero3}) {
      const bool split = method != Method::data;
      double flops = 0, optimizer = 0, gradients = 0, largest = 0;
      for (const ProgramTotals& rank : figures_of(model.test, plan_of(model.test, method, 3))) {
        const auto bytes = [&](MemoryClass c) {
          return static_cast<double>(rank.memory[static_cast<std::size_t>(c)].value);
        };
        flops += rank.flops;
        optimizer += bytes(MemoryClass::optimizer);
        gradients += bytes(MemoryClass::gradients);
        largest = std::max(largest, bytes(MemoryClass::optimizer));
      }
      EXPECT_DOUBLE_EQ(flops, model.flops());
      EXPECT_DOUBLE_EQ(optimizer, model.optimizer() * (split ? 1 : 3));
      EXPECT_DOUBLE_EQ(gradients, model.parameters() * (split ? 1 : 3));
      if (split) {
        EXPECT_LE(largest, model.optimizer() / 3 * 1.3);
      }
    }
  }
}

/// Bytes of a role with the letters that Megatron's plans split, and without.
std::pair<double, double> split_and_whole(const Model& m, Role role) {
  const auto is_split = [&](TensorId t) {
    return m.graph.tensor(t).dims.find_first_of(m.graph.parallel_letters) != Dims::npos;
  };
  const double split = m.sizes.of(role, is_split);
  return {split, m.sizes.of(role) - split};
}

/// Megatron's splits on t ranks: heads, feed-forward and vocabulary over the ranks. A block of a
/// GPT sums its residual stream [b,t,e] twice forward and twice backward; the lookup once forward,
/// the head once backward; three numbers a token make the loss. An MLP sums after every second
/// product.
ClosedForm tensor_form(const Model& m, Preset preset, int t) {
  ClosedForm form;
  form.flops = m.flops() / t;
  const auto share = [&](Role role) {
    const auto [split, whole] = split_and_whole(m, role);
    return split / t + whole;
  };
  form.parameters = share(Role::parameter);
  form.gradients = form.parameters;
  form.optimizer = share(Role::optimizer_state);
  const auto b = static_cast<double>(m.graph.microbatch_size);
  double elements = 0;
  std::int64_t sums = 0;
  if (preset == Preset::gpt) {
    const double layers = 8, time = 4, hidden = 8;
    elements = (4 * layers + 2) * b * time * hidden + 3 * b * time;
    sums = 4 * 8 + 2 + 3;
  } else {
    const double hidden = 16, classes = 8;
    elements = b * (6 * hidden + classes);  // 4 forward, of which the last to the classes; 3 back
    sums = 7;
  }
  form.bytes["all_reduce"] = 2 * ring(t) * (m.count * 4 * elements + kScalars);
  form.counts["all_reduce"] = static_cast<std::int64_t>(m.count) * sums + 1;
  return form;
}

TEST(ClosedFormLaw, TensorParallelism) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const int count : {1, 4}) {
      const Model model(preset, count);
      for (const int t : {2, 4, 8}) {
        ParallelConfig parallel = degrees(1, t, 1);
        parallel.microbatches = count;
        const Plan plan = plan_of(model.test, Method::megatron, t, parallel);
        EXPECT_EQ(all_mismatches(model.test, plan, tensor_form(model, preset, t)),
                  std::vector<std::string>{})
            << (preset == Preset::mlp ? "mlp" : "gpt") << " microbatches " << count;
      }
    }
  }
}

/// One rank a stage: its own layers and nothing else; the tensor between two stages crosses once
/// forward, its gradient once backward, in each microbatch; a tied parameter crosses once a step,
/// its gradient sum back.
ClosedForm stage_form(const Model& m, const Plan& plan, int stage) {
  const auto [first, last] = plan.stages[static_cast<std::size_t>(stage)].chunks[0];
  const auto own = [&, f = first, l = last](TensorId t) {
    return f <= m.graph.tensor(t).layer && m.graph.tensor(t).layer <= l;
  };
  const int stages = static_cast<int>(plan.stages.size());
  ClosedForm form;
  form.flops = m.count * m.sizes.flops(first, last);
  form.parameters = m.sizes.of(Role::parameter, own);
  form.gradients = m.sizes.of(Role::accumulator, own);
  form.optimizer = m.sizes.of(Role::optimizer_state, own);
  if (stages == 1) return form;
  form.bytes["all_reduce"] = 2 * ring(stages) * kScalars;
  form.counts["all_reduce"] = 1;
  const bool gpt = m.replicas() > 0;
  const double a_sample = gpt ? 4.0 * 4 * 8 : 4.0 * 16;  // t x e, or the width
  const double crossing = static_cast<double>(m.test.global_batch) * a_sample;
  const bool is_first = stage == 0;
  const bool is_last = stage == stages - 1;
  double sent = (is_first ? 0 : crossing) + (is_last ? 0 : crossing);
  if (is_first || is_last) sent += m.replicas();
  if (is_last) form.parameters += m.replicas();
  form.bytes["exchange"] = sent;
  return form;
}

TEST(ClosedFormLaw, PipelineParallelism) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const Method method : {Method::inter_only, Method::pipedream}) {
      for (const int stages : {2, 3, 4, 8}) {
        const Model model(preset, 4);
        const Plan plan = plan_of(model.test, method, stages, microbatches(4));
        const auto figures = figures_of(model.test, plan);
        for (int s = 0; s < stages; ++s) {
          EXPECT_EQ(mismatches(figures[static_cast<std::size_t>(s)], stage_form(model, plan, s)),
                    std::vector<std::string>{})
              << plan.method << " stage " << s << " of " << stages;
        }
      }
    }
  }
}

TEST(ClosedFormLaw, HybridOfAllThreeSplitsFlopsEvenlyWithinAStage) {
  const Model model(Preset::gpt, 4);
  ParallelConfig parallel = degrees(2, 2, 2);
  parallel.microbatches = 4;
  const Plan plan = plan_of(model.test, Method::megatron, 8, parallel);
  const auto figures = figures_of(model.test, plan);
  for (std::size_t r = 0; r < figures.size(); ++r) {
    const auto seat = seat_of(plan, static_cast<int>(r));
    const auto [first, last] = plan.stages[static_cast<std::size_t>(seat.stage)].chunks[0];
    EXPECT_DOUBLE_EQ(figures[r].flops, model.count * model.sizes.flops(first, last) / 4);
  }
}

// Negative controls: plans that claim a method and do another.

template <class F>
Plan altered(Plan plan, const Graph& graph, const F& alter) {
  for (const Operator& op : graph.operators) {
    auto& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
    alter(op, stage.strategies.at(op.name));
  }
  validate(plan, graph);
  return plan;
}

TEST(ClosedFormLaw, ZeroThatIsSilentlyDataParallelFails) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Model model(preset);
    for (const auto& [method, form] : kDataMethods) {
      if (method == Method::data) continue;
      Plan plan = plan_of(model.test, Method::data, 4);
      plan.method = name_of_method(method);
      EXPECT_FALSE(all_mismatches(model.test, plan, form(model, 4)).empty()) << plan.method;
      const Plan whole_updates =
          altered(plan_of(model.test, method, 4), model.graph, [](const Operator& op, Strategy& s) {
            if (op.phase == Phase::update) s = {};
          });
      EXPECT_FALSE(all_mismatches(model.test, whole_updates, form(model, 4)).empty())
          << plan.method;
    }
  }
}

TEST(ClosedFormLaw, Zero3ThatKeepsWholeParametersFails) {
  const Model model(Preset::gpt);
  Plan plan = plan_of(model.test, Method::zero3, 4);
  plan.stages[0].retention.clear();  // gathered once, kept for the step
  EXPECT_FALSE(all_mismatches(model.test, plan, zero3_form(model, 4)).empty());
}

TEST(ClosedFormLaw, FullReplicationFails) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Model model(preset);
    const auto nothing = [](const Operator&, Strategy& s) { s = {}; };
    for (const auto& [method, form] : kDataMethods) {
      const Plan plan = altered(plan_of(model.test, method, 4), model.graph, nothing);
      EXPECT_FALSE(all_mismatches(model.test, plan, form(model, 4)).empty()) << plan.method;
    }
    const Plan tensor =
        altered(plan_of(model.test, Method::megatron, 4, degrees(1, 4, 1)), model.graph, nothing);
    EXPECT_FALSE(all_mismatches(model.test, tensor, tensor_form(model, preset, 4)).empty());
  }
}

// One product of one layer left whole is seen, in FLOPs and in bytes.
TEST(ClosedFormLaw, OneForgottenProductFails) {
  const Model model(Preset::gpt);
  const Plan plan = altered(plan_of(model.test, Method::megatron, 4, degrees(1, 4, 1)), model.graph,
                            [](const Operator& op, Strategy& s) {
                              if (op.name == "layers.3.feed_forward.in") s = {};
                            });
  const auto wrong = all_mismatches(model.test, plan, tensor_form(model, Preset::gpt, 4));
  ASSERT_FALSE(wrong.empty());
  EXPECT_NE(wrong[0].find("flops"), std::string::npos) << wrong[0];
}

TEST(ClosedFormLaw, APipelineWithALayerTooManyFails) {
  const Model model(Preset::mlp, 4);
  const Plan equal = plan_of(model.test, Method::pipedream, 2, microbatches(4));
  Plan shifted = equal;
  shifted.stages[0].chunks = {{0, 4}};
  shifted.stages[1].chunks = {{5, 7}};
  for (const Operator& op : model.graph.operators) {
    shifted.stages[0].strategies[op.name] = {};
    shifted.stages[1].strategies[op.name] = {};
  }
  const auto figures = figures_of(model.test, shifted);
  EXPECT_FALSE(mismatches(figures[0], stage_form(model, equal, 0)).empty());
}

}  // namespace
}  // namespace alpa::law
