#include "alpa/plan/plan_file.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/config/parallel_config.hpp"
#include "alpa/config/schema.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/graph/text.hpp"
#include "alpa/sharding/redistribution.hpp"

namespace alpa {
namespace {

constexpr int kVersion = 1;
constexpr std::int64_t kMostLayers = 1 << 24;
constexpr YamlLimits kPlanLimits{std::size_t{512} << 20U, 64};

std::string hex(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

YamlNode number(std::int64_t value) { return YamlNode::plain(std::to_string(value)); }

/// Infinity for what a device cannot run.
YamlNode real(double value) {
  return YamlNode::plain(std::isfinite(value) ? float_text(value) : ".inf");
}

YamlNode numbers(const std::vector<int>& values) {
  YamlNode list = YamlNode::sequence();
  for (const int v : values) list.items.push_back(number(v));
  return list;
}

YamlNode texts(const std::vector<std::string>& values) {
  YamlNode list = YamlNode::sequence();
  for (const auto& v : values) list.items.push_back(YamlNode::of_text(v));
  return list;
}

std::vector<std::string> layout_texts(const OperatorLayout& layout) {
  std::vector<std::string> list;
  for (const auto& spec : layout.operands) list.push_back(to_string(spec));
  for (const auto& spec : layout.results) list.push_back(to_string(spec));
  return list;
}

/// The operator that makes each tensor, or null.
std::vector<const Operator*> producers_of(const Graph& graph) {
  std::vector<const Operator*> producers(graph.tensors.size(), nullptr);
  for (const Operator& op : graph.operators) {
    for (const TensorId t : op.results) producers[t.index()] = &op;
  }
  return producers;
}

/// Collectives that bring one operand from the layout it is made in to the one it is wanted in.
void add_collectives(const Plan& plan, const Graph& graph, const StagePlan& stage,
                     const Operator* producer, TensorId t, const ShardingSpec& wanted,
                     std::vector<std::string>& kinds) {
  const Tensor& tensor = graph.tensor(t);
  const bool elsewhere =
      producer == nullptr || tensor.role == Role::step_scalar || tensor.role == Role::global_scalar;
  if (elsewhere) return;
  const StagePlan& there =
      plan.stages[static_cast<std::size_t>(stage_of_layer(plan, producer->layer))];
  if (&there != &stage) return;
  const auto made =
      *apply_strategy(producer->rule, strategy_of(stage, graph, *producer), stage.mesh).layout;
  for (std::size_t r = 0; r < producer->results.size(); ++r) {
    if (producer->results[r] != t || made.results[r] == wanted) continue;
    for (const Move& move :
         redistribution(tensor.shape, tensor.dtype, made.results[r], wanted, stage.mesh)) {
      if (move.kind == Move::Kind::slice || move.kind == Move::Kind::to_partial) continue;
      kinds.push_back(to_string(move.kind));
    }
  }
}

std::vector<std::string> collectives_of(const Plan& plan, const Graph& graph,
                                        const StagePlan& stage, const Operator& op,
                                        const std::vector<const Operator*>& producers) {
  const auto layout = *apply_strategy(op.rule, stage.strategies.at(op.name), stage.mesh).layout;
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    const Operator* producer = producers[op.operands[i].index()];
    add_collectives(plan, graph, stage, producer, op.operands[i], layout.operands[i], kinds);
  }
  return kinds;
}

YamlNode operators_node(const Plan& plan, const Graph& graph, const StagePlan& stage) {
  const auto producers = producers_of(graph);
  YamlNode list = YamlNode::sequence();
  for (const Operator& op : graph.operators) {
    if (!holds_layer(stage, op.layer) || op.copy_of.valid()) continue;
    const Strategy& strategy = stage.strategies.at(op.name);
    YamlNode node = YamlNode::mapping();
    node.set("name", YamlNode::of_text(op.name));
    node.set("kind", YamlNode::of_text(kind_of(op.kernel)));
    node.set("phase", YamlNode::of_text(std::string(to_string(op.phase))));
    node.set("strategy", YamlNode::of_text(to_string(strategy)));
    node.set("layouts", texts(layout_texts(*apply_strategy(op.rule, strategy, stage.mesh).layout)));
    node.set("collectives", texts(collectives_of(plan, graph, stage, op, producers)));
    list.items.push_back(std::move(node));
  }
  return list;
}

YamlNode figures_node(const std::vector<std::pair<std::string, Bytes>>& memory) {
  YamlNode node = YamlNode::mapping();
  for (const auto& [name, bytes] : memory) node.set(name, number(bytes.value));
  return node;
}

YamlNode time_node(const StageSeconds& time) {
  YamlNode node = YamlNode::mapping();
  node.set("forward", real(time.forward.value));
  node.set("backward", real(time.backward.value));
  node.set("prepare", real(time.prepare.value));
  node.set("reduce", real(time.reduce.value));
  node.set("update", real(time.update.value));
  return node;
}

YamlNode communication_node(const StageSummary& stage) {
  double total = 0;
  for (const auto& [kind, bytes] : stage.bytes_sent) total += bytes;
  YamlNode node = YamlNode::mapping();
  node.set("bytes", real(total));
  if (stage.time) node.set("seconds", real(stage.time->communication.value));
  for (const auto& [kind, bytes] : stage.bytes_sent) node.set(kind, real(bytes));
  return node;
}

/// Runs of layers of the stage, by choice: {full: [[0, 11]]}.
YamlNode recompute_node(const Plan& plan, const StagePlan& stage) {
  YamlNode node = YamlNode::mapping();
  for (const Recompute choice : {Recompute::attention, Recompute::full}) {
    YamlNode runs = YamlNode::sequence();
    for (const auto& [first, last] : stage.chunks) {
      for (int begin = first; begin <= last; ++begin) {
        const auto chosen = [&](int layer) {
          return plan.recompute.at(static_cast<std::size_t>(layer)) == choice;
        };
        if (!chosen(begin)) continue;
        int end = begin;
        while (end < last && chosen(end + 1)) ++end;
        runs.items.push_back(numbers({begin, end}));
        begin = end;
      }
    }
    if (!runs.items.empty()) node.set(std::string(name_of(choice)), std::move(runs));
  }
  return node;
}

YamlNode stage_node(const Plan& plan, const Graph& graph, std::size_t s,
                    const std::vector<StageSummary>& figures) {
  const StagePlan& stage = plan.stages[s];
  YamlNode node = YamlNode::mapping();
  YamlNode chunks = YamlNode::sequence();
  for (const auto& [first, last] : stage.chunks) chunks.items.push_back(numbers({first, last}));
  node.set("chunks", std::move(chunks));
  node.set("ranks", numbers(stage.ranks));
  node.set("logical_mesh", numbers(stage.mesh.extents));
  if (!plan.recompute.empty()) node.set("recompute", recompute_node(plan, stage));
  if (s < figures.size()) {
    const int on_a_host = static_cast<int>(stage.ranks.size()) / figures[s].hosts;
    node.set("mesh", numbers({figures[s].hosts, on_a_host}));
    node.set("memory", figures_node(figures[s].memory));
    node.set("flops", real(figures[s].flops));
    if (figures[s].time) node.set("time", time_node(*figures[s].time));
    node.set("communication", communication_node(figures[s]));
  }
  YamlNode summary = YamlNode::mapping();
  for (const auto& [name, how] : summary_of(stage, graph))
    summary.set(name, YamlNode::of_text(how));
  node.set("summary", std::move(summary));
  YamlNode retention = YamlNode::mapping();
  for (const auto& [name, kept] : stage.retention) {
    retention.set(name, YamlNode::of_text(to_string(kept)));
  }
  node.set("retention", std::move(retention));
  YamlNode arrivals = YamlNode::mapping();
  for (const auto& [name, spec] : stage.arrivals) {
    arrivals.set(name, YamlNode::of_text(to_string(spec)));
  }
  node.set("arrivals", std::move(arrivals));
  node.set("operators", operators_node(plan, graph, stage));
  return node;
}

YamlNode predicted_node(const PredictedFigures& predicted) {
  YamlNode node = YamlNode::mapping();
  node.set("step_time", real(predicted.step_time.value));
  node.set("samples_per_second", real(predicted.samples_per_second));
  node.set("model_flops_per_second_per_device", real(predicted.model_flops_per_second_per_device));
  node.set("hardware_flops_per_second_per_device",
           real(predicted.hardware_flops_per_second_per_device));
  node.set("bubble", real(predicted.bubble));
  node.set("communication_bytes", real(predicted.communication_bytes));
  if (predicted.speedup_over_one_device) {
    node.set("speedup_over_one_device", real(*predicted.speedup_over_one_device));
  }
  return node;
}

YamlNode search_node(const SearchFigures& search) {
  YamlNode node = YamlNode::mapping();
  node.set("objective", real(search.objective.value));
  node.set("lower_bound", real(search.lower_bound));
  node.set("gap", real(search.gap));
  node.set("ilp_problems", number(search.ilp_problems));
  node.set("distinct_subproblems", number(search.distinct_subproblems));
  node.set("stopped", YamlNode::of_text(search.stopped));
  return node;
}

YamlNode compared_node(const std::vector<ComparedMethod>& compared) {
  YamlNode list = YamlNode::sequence();
  for (const ComparedMethod& c : compared) {
    YamlNode node = YamlNode::mapping();
    node.set("method", YamlNode::of_text(c.method));
    if (c.step_time) node.set("step_time", real(c.step_time->value));
    if (c.does_not_fit_by) node.set("does_not_fit_by", number(c.does_not_fit_by->value));
    if (c.microbatches > 0) node.set("microbatches", number(c.microbatches));
    if (!c.reason.empty()) node.set("reason", YamlNode::of_text(c.reason));
    list.items.push_back(std::move(node));
  }
  return list;
}

/// Reads decisions, collecting mistakes.
class PlanReader {
 public:
  PlanReader(const YamlNode& root, ConfigErrors& errors) : root_(root), errors_(errors) {}

  Plan read() {
    Plan plan;
    const Cursor top{root_, "", errors_};
    if (!top.is(YamlNode::Kind::mapping)) {
      if (!top.is(YamlNode::Kind::invalid)) top.refuse("a mapping");
      return plan;
    }
    refuse_unknown_keys(top, {"version", "method", "model", "cluster", "microbatches", "schedule",
                              "stages", "predicted", "search", "compared"});
    if (integer(top, "version", 1, kVersion).value_or(0) != kVersion) return plan;
    if (const auto method = text(top, "method", false)) plan.method = *method;
    plan.graph_fingerprint = fingerprint_of(top);
    if (const auto cluster = child(top, "cluster", YamlNode::Kind::mapping)) {
      plan.world_size = static_cast<int>(integer(*cluster, "devices", 1, 1 << 24).value_or(1));
    }
    plan.num_microbatches = static_cast<int>(integer(top, "microbatches", 1, 1 << 24).value_or(1));
    read_schedule(top, plan);
    if (const auto stages = child(top, "stages", YamlNode::Kind::sequence)) {
      for (std::size_t s = 0; s < stages->node.items.size(); ++s) {
        const Cursor stage = stages->item(s);
        plan.stages.push_back(read_stage(stage));
        if (stage.node.kind == YamlNode::Kind::mapping) read_recompute(stage, plan);
      }
    }
    if (!plan.recompute.empty() && !plan.stages.empty() && !plan.stages.back().chunks.empty()) {
      const int last = plan.stages.back().chunks.back().second;
      const auto layers = static_cast<std::size_t>(last) + 1;
      plan.recompute.resize(std::max(plan.recompute.size(), layers), Recompute::none);
    }
    return plan;
  }

 private:
  std::optional<Cursor> child(const Cursor& at, std::string_view name, YamlNode::Kind kind,
                              bool required = true) {
    const YamlNode* node = at.node.find(name);
    if (node == nullptr) {
      if (required) {
        errors_.add(at.node.place, path_of_key(at.path, name), "missing, it must be given");
      }
      return std::nullopt;
    }
    Cursor found{*node, path_of_key(at.path, name), errors_};
    if (node->kind == kind) return found;
    if (node->kind != YamlNode::Kind::invalid) {
      found.refuse(kind == YamlNode::Kind::mapping    ? "a mapping"
                   : kind == YamlNode::Kind::sequence ? "a list"
                                                      : "a word");
    }
    return std::nullopt;
  }

  std::optional<std::int64_t> to_integer(const Cursor& at, std::int64_t low, std::int64_t high) {
    std::int64_t value = 0;
    const std::string& t = at.node.text;
    const auto [end, code] = std::from_chars(t.data(), t.data() + t.size(), value);
    if (at.is_plain() && code == std::errc{} && end == t.data() + t.size() && value >= low &&
        value <= high) {
      return value;
    }
    at.refuse("an integer from " + std::to_string(low) + " to " + std::to_string(high));
    return std::nullopt;
  }

  std::optional<std::int64_t> integer(const Cursor& at, std::string_view name, std::int64_t low,
                                      std::int64_t high) {
    const auto node = child(at, name, YamlNode::Kind::scalar);
    return node ? to_integer(*node, low, high) : std::nullopt;
  }

  std::vector<int> integers(const Cursor& list, std::int64_t low, std::int64_t high) {
    std::vector<int> values;
    for (std::size_t i = 0; i < list.node.items.size(); ++i) {
      if (const auto v = to_integer(list.item(i), low, high))
        values.push_back(static_cast<int>(*v));
    }
    return values;
  }

  std::optional<std::string> text(const Cursor& at, std::string_view name, bool required = true) {
    const auto node = child(at, name, YamlNode::Kind::scalar, required);
    return node ? std::optional(node->node.text) : std::nullopt;
  }

  std::uint64_t fingerprint_of(const Cursor& top) {
    const auto model = child(top, "model", YamlNode::Kind::mapping);
    if (!model) return 0;
    const auto value = text(*model, "fingerprint");
    std::uint64_t number = 0;
    if (value) {
      const auto [end, code] =
          std::from_chars(value->data(), value->data() + value->size(), number, 16);
      if (code != std::errc{} || end != value->data() + value->size()) {
        Cursor{*model->node.find("fingerprint"), "model.fingerprint", errors_}.refuse(
            "16 hexadecimal digits");
      }
    }
    return number;
  }

  void read_schedule(const Cursor& top, Plan& plan) {
    const auto schedule = child(top, "schedule", YamlNode::Kind::mapping);
    if (!schedule) return;
    refuse_unknown_keys(*schedule, {"name", "warm_up"});
    const auto name = text(*schedule, "name");
    if (name && *name == "1f1b")
      plan.schedule = PipelineKind::one_f_one_b;
    else if (name && *name == "interleaved")
      plan.schedule = PipelineKind::interleaved;
    else if (name && *name == "zero_bubble")
      plan.schedule = PipelineKind::zero_bubble;
    else if (name && *name != "gpipe") {
      Cursor{*schedule->node.find("name"), "schedule.name", errors_}.refuse(
          "gpipe, 1f1b, interleaved or zero_bubble");
    }
    if (const auto list = child(*schedule, "warm_up", YamlNode::Kind::sequence, false)) {
      plan.warm_up = integers(*list, 1, 1 << 24);
    }
  }

  StagePlan read_stage(const Cursor& at) {
    StagePlan stage;
    if (!at.is(YamlNode::Kind::mapping)) {
      at.refuse("a mapping");
      return stage;
    }
    refuse_unknown_keys(
        at, {"chunks", "mesh", "ranks", "logical_mesh", "recompute", "time", "memory", "flops",
             "communication", "summary", "retention", "arrivals", "operators"});
    if (const auto chunks = child(at, "chunks", YamlNode::Kind::sequence)) {
      for (std::size_t c = 0; c < chunks->node.items.size(); ++c) {
        const Cursor chunk = chunks->item(c);
        const auto ends = integers(chunk, 0, kMostLayers);
        if (ends.size() == 2)
          stage.chunks.emplace_back(ends[0], ends[1]);
        else
          chunk.refuse("two layers, first and last");
      }
    }
    if (const auto ranks = child(at, "ranks", YamlNode::Kind::sequence)) {
      stage.ranks = integers(*ranks, 0, 1 << 24);
    }
    if (const auto mesh = child(at, "logical_mesh", YamlNode::Kind::sequence)) {
      stage.mesh.extents = integers(*mesh, 1, 1 << 24);
    }
    read_choices(at, stage);
    if (const auto list = child(at, "operators", YamlNode::Kind::sequence)) {
      for (std::size_t i = 0; i < list->node.items.size(); ++i) read_operator(list->item(i), stage);
    }
    return stage;
  }

  void read_recompute(const Cursor& at, Plan& plan) {
    const auto map = child(at, "recompute", YamlNode::Kind::mapping, false);
    if (!map) return;
    refuse_unknown_keys(*map, {"attention", "full"});
    for (const Recompute choice : {Recompute::attention, Recompute::full}) {
      const auto runs = child(*map, name_of(choice), YamlNode::Kind::sequence, false);
      for (std::size_t r = 0; runs && r < runs->node.items.size(); ++r) {
        read_run(runs->item(r), choice, plan);
      }
    }
  }

  /// Layers of the newest stage that make one choice.
  void read_run(const Cursor& at, Recompute choice, Plan& plan) {
    const auto ends = integers(at, 0, kMostLayers);
    if (ends.size() != 2 || ends[0] > ends[1]) {
      at.refuse("two layers, first and last");
      return;
    }
    const auto& chunks = plan.stages.back().chunks;
    const bool inside = std::any_of(chunks.begin(), chunks.end(), [&](const auto& chunk) {
      return chunk.first <= ends[0] && ends[1] <= chunk.second;
    });
    const std::string run = "layers " + std::to_string(ends[0]) + " to " + std::to_string(ends[1]);
    if (!inside) {
      at.refuse(run, "layers of the stage's chunks");
      return;
    }
    const auto end = static_cast<std::size_t>(ends[1]) + 1;
    if (plan.recompute.size() < end) plan.recompute.resize(end, Recompute::none);
    for (auto l = static_cast<std::size_t>(ends[0]); l < end; ++l) {
      if (plan.recompute[l] != Recompute::none) {
        at.refuse(run, "layers that no other run names");
        return;
      }
      plan.recompute[l] = choice;
    }
  }

  void read_choices(const Cursor& at, StagePlan& stage) {
    if (const auto map = child(at, "retention", YamlNode::Kind::mapping, false)) {
      for (std::size_t i = 0; i < map->node.items.size(); ++i) {
        const Cursor value = map->item(i);
        const std::string& word = value.node.text;
        if (word == "step")
          stage.retention[map->node.keys[i].text] = Retention::step;
        else if (word == "keep")
          stage.retention[map->node.keys[i].text] = Retention::keep;
        else if (word == "repeat")
          stage.retention[map->node.keys[i].text] = Retention::repeat;
        else
          value.refuse("step, keep or repeat");
      }
    }
    if (const auto map = child(at, "arrivals", YamlNode::Kind::mapping, false)) {
      for (std::size_t i = 0; i < map->node.items.size(); ++i) {
        const Cursor value = map->item(i);
        try {
          stage.arrivals[map->node.keys[i].text] = parse_sharding_spec(value.node.text);
        } catch (const PlanError& error) {
          errors_.add(value.node.place, value.path, error.what());
        }
      }
    }
  }

  void read_operator(const Cursor& at, StagePlan& stage) {
    if (!at.is(YamlNode::Kind::mapping)) {
      at.refuse("a mapping");
      return;
    }
    refuse_unknown_keys(at, {"name", "kind", "phase", "strategy", "layouts", "collectives"});
    const auto name = text(at, "name");
    const auto strategy = text(at, "strategy");
    if (!name || !strategy) return;
    try {
      const bool is_new = stage.strategies.emplace(*name, parse_strategy(*strategy)).second;
      if (!is_new) errors_.add(at.node.place, at.path, "operator " + *name + " stands twice");
    } catch (const PlanError& error) {
      errors_.add(at.node.find("strategy")->place, at.path + ".strategy", error.what());
    }
  }

  const YamlNode& root_;
  ConfigErrors& errors_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> summary_of(const StagePlan& stage,
                                                            const Graph& graph) {
  static const std::map<char, std::string> kNames = {{'b', "batch"},        {'h', "heads"},
                                                     {'f', "feed_forward"}, {'v', "vocabulary"},
                                                     {'t', "time"},         {'e', "hidden"}};
  std::map<char, std::set<MeshAxis>> split;
  for (const Operator& op : graph.operators) {
    if (!holds_layer(stage, op.layer) || op.phase != Phase::forward) continue;
    for (const AxisUse& use : stage.strategies.at(op.name).uses) {
      if (use.linear < 0) split[use.factor].insert(use.axis);
    }
  }
  std::vector<std::pair<std::string, std::string>> summary;
  for (const auto& [letter, axes] : split) {
    std::string text = "split over";
    for (const MeshAxis axis : axes) {
      text += (axis == *axes.begin() ? " axis " : " and axis ") + std::to_string(axis) + " (" +
              std::to_string(extent(stage.mesh, axis)) + ")";
    }
    const auto name = kNames.find(letter);
    // 'x' is the letter of experts only where plans by hand split them.
    const bool experts = letter == 'x' && graph.parallel_letters.find('x') != Dims::npos;
    summary.emplace_back(experts                ? "experts"
                         : name == kNames.end() ? std::string(1, letter)
                                                : name->second,
                         text);
  }
  return summary;
}

std::string to_yaml(const Plan& plan, const Graph& graph, const PlanFigures& figures) {
  YamlNode root = YamlNode::mapping();
  root.set("version", number(kVersion));
  root.set("method", YamlNode::of_text(plan.method));
  YamlNode model = YamlNode::mapping();
  if (!figures.preset.empty()) model.set("preset", YamlNode::of_text(figures.preset));
  model.set("fingerprint", YamlNode::of_text(hex(plan.graph_fingerprint)));
  model.set("parameters", number(num_parameters(graph)));
  model.set("flops_per_step", real(flops_per_microbatch(graph).value * plan.num_microbatches));
  if (const Flops again = recomputed_flops_per_microbatch(graph); again.value > 0) {
    model.set("recomputed_flops_per_step", real(again.value * plan.num_microbatches));
  }
  root.set("model", std::move(model));
  int busy = 0;
  for (const StagePlan& stage : plan.stages) busy += static_cast<int>(stage.ranks.size());
  YamlNode cluster = YamlNode::mapping();
  cluster.set("hosts", number(figures.hosts));
  cluster.set("devices", number(plan.world_size));
  cluster.set("idle", number(plan.world_size - busy));
  if (figures.cluster_fingerprint) {
    cluster.set("fingerprint", YamlNode::of_text(hex(*figures.cluster_fingerprint)));
  }
  root.set("cluster", std::move(cluster));
  root.set("microbatches", number(plan.num_microbatches));
  YamlNode schedule = YamlNode::mapping();
  schedule.set("name", YamlNode::of_text(to_string(plan.schedule)));
  if (!plan.warm_up.empty()) schedule.set("warm_up", numbers(plan.warm_up));
  root.set("schedule", std::move(schedule));
  YamlNode stages = YamlNode::sequence();
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    stages.items.push_back(stage_node(plan, graph, s, figures.stages));
  }
  root.set("stages", std::move(stages));
  if (figures.predicted) root.set("predicted", predicted_node(*figures.predicted));
  if (figures.search) root.set("search", search_node(*figures.search));
  if (!figures.compared.empty()) root.set("compared", compared_node(figures.compared));
  return to_yaml(root);
}

Plan parse_plan(const std::string& text, const std::string& file) {
  ConfigErrors errors;
  const YamlNode root = parse_yaml(text, file, errors, kPlanLimits);
  Plan plan = PlanReader(root, errors).read();
  errors.throw_if_any();
  return plan;
}

}  // namespace alpa
