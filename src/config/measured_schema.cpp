#include "sections.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kMostRanks = 1 << 14;
constexpr double kMostWork = 1e24;
constexpr double kMostSeconds = 1e9;

ValueType<std::vector<TimePoint>> points_type(const std::string& expected) {
  const ValueType<std::vector<double>> pair =
      list_of(number({.min = 0, .max = kMostWork, .open_min = true}), expected, 2, 2);
  ValueType<TimePoint> point = mapped<TimePoint>(
      pair, [](const std::vector<double>& v) { return TimePoint{v[0], v[1]}; },
      [](const TimePoint& p) { return std::vector<double>{p.work, p.seconds}; });
  point.read = [pair](const Cursor& at) -> std::optional<TimePoint> {
    const auto values = pair.read(at);
    if (!values) return std::nullopt;
    if ((*values)[1] > kMostSeconds) {
      at.item(1).refuse("seconds <= " + float_text(kMostSeconds));
      return std::nullopt;
    }
    return TimePoint{(*values)[0], (*values)[1]};
  };
  return list_of(point, "a list of " + expected + " by rising work", 1);
}

Section<KernelTableConfig> kernel_table_section() {
  using T = KernelTableConfig;
  return Section<T>({
      key("over", &T::over, choice<WorkUnit>(), "what the points are over").must_be_given(),
      key("intensity", &T::intensity,
          if_given(number({.min = 0, .max = kMostWork, .open_min = true})),
          "FLOPs per byte of the points, where a kind has several tables"),
      key("points", &T::points, points_type("[FLOPs or bytes, seconds]"), "measured")
          .must_be_given(),
  });
}

/// A mapping of kernel kinds to one table each, or to a list of them.
ValueType<std::vector<KernelTableConfig>> tables_type() {
  using Tables = std::vector<KernelTableConfig>;
  const Section<KernelTableConfig> table = kernel_table_section();
  ValueType<Tables> type;
  type.expected =
      "a mapping of kernel kinds to {over, points} or a list of {over, intensity, points}";
  type.read = [table, expected = type.expected](const Cursor& at) -> std::optional<Tables> {
    if (!at.is(YamlNode::Kind::mapping)) {
      at.refuse(expected);
      return std::nullopt;
    }
    Tables tables;
    const auto read_one = [&](const std::string& kernel, const Cursor& one) {
      if (one.is(YamlNode::Kind::mapping)) {
        tables.emplace_back().kernel = kernel;
        table.read(one, tables.back());
      } else {
        one.refuse("{over, intensity, points}");
      }
    };
    for (std::size_t i = 0; i < at.node.keys.size(); ++i) {
      const Cursor value = at.item(i);
      if (!value.is(YamlNode::Kind::sequence)) {
        read_one(at.node.keys[i].text, value);
        continue;
      }
      for (std::size_t t = 0; t < value.node.items.size(); ++t) {
        read_one(at.node.keys[i].text, value.item(t));
      }
    }
    return tables;
  };
  type.write = [table](const Tables& tables) {
    YamlNode node = YamlNode::mapping();
    for (const KernelTableConfig& one : tables) {
      if (YamlNode* list = node.find(one.kernel)) {
        list->items.push_back(table.write(one));
        continue;
      }
      YamlNode list = YamlNode::sequence();
      list.items.push_back(table.write(one));
      node.set(one.kernel, std::move(list));
    }
    for (YamlNode& value : node.items) {
      if (value.items.size() == 1) value = YamlNode(value.items[0]);
    }
    if (tables.empty()) node.kind = YamlNode::Kind::invalid;
    return node;
  };
  return type;
}

}  // namespace

ValueType<KernelTablesConfig> kernel_tables_type() {
  using T = KernelTablesConfig;
  const std::string help = "measured times of kernels, by kind";
  ValueType<T> type = section(Section<T>({
      key("fp64", &T::fp64, tables_type(), help),
      key("fp32", &T::fp32, tables_type(), help),
      key("tf32", &T::tf32, tables_type(), help),
      key("bf16", &T::bf16, tables_type(), help),
      key("fp16", &T::fp16, tables_type(), help),
  }));
  type.write = [write = type.write](const T& tables) {
    YamlNode node = write(tables);
    if (tables == T{}) node.kind = YamlNode::Kind::invalid;
    return node;
  };
  return type;
}

ValueType<std::vector<CollectiveTableConfig>> collective_tables_type() {
  using T = CollectiveTableConfig;
  const Section<T> table({
      key("kind", &T::kind,
          one_of({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "message"}), "")
          .must_be_given(),
      key("ranks", &T::ranks, integer(2, kMostRanks), "of a group").must_be_given(),
      key("hosts", &T::hosts, integer(1, kMostRanks), "that a group spans").must_be_given(),
      key("points", &T::points, points_type("[bytes, seconds]"), "of the whole tensor")
          .must_be_given(),
  });
  ValueType<std::vector<T>> type =
      list_of(section(table), "a list of {kind, ranks, hosts, points}");
  type.write = [write = type.write](const std::vector<T>& tables) {
    YamlNode node = write(tables);
    if (tables.empty()) node.kind = YamlNode::Kind::invalid;
    return node;
  };
  return type;
}

}  // namespace alpa
