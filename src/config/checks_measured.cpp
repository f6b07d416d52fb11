#include <set>
#include <tuple>

#include "checks.hpp"

namespace alpa {
namespace {

void check_points(const CrossCheck& check, const std::vector<TimePoint>& points,
                  const std::string& path, bool times_rise) {
  if (!check.sound({path})) return;
  for (std::size_t i = 1; i < points.size(); ++i) {
    const std::string point = path_of_item(path, i);
    if (points[i].work <= points[i - 1].work) {
      check.refuse(path_of_item(point, 0), float_text(points[i].work),
                   "more than in the point before");
    }
    if (times_rise && points[i].seconds < points[i - 1].seconds) {
      check.refuse(path_of_item(point, 1), float_text(points[i].seconds),
                   "no less than in the point before");
    }
  }
}

void check_tables(const CrossCheck& check, const std::vector<KernelTableConfig>& tables,
                  const std::string& path) {
  std::set<std::pair<std::string, double>> seen;
  std::size_t index = 0;  // of the table among those of its kind
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const KernelTableConfig& table = tables[i];
    index = i > 0 && tables[i - 1].kernel == table.kernel ? index + 1 : 0;
    const std::string kind = path_of_key(path, table.kernel);
    const bool listed = written_at(check.root, kind).kind == YamlNode::Kind::sequence;
    const std::string at = listed ? path_of_item(kind, index) : kind;
    check_points(check, table.points, at + ".points", false);
    if (!seen.insert({table.kernel, table.intensity.value_or(0.0)}).second && check.sound({at})) {
      check.refuse(at, "a second table of the same intensity", "tables that differ in intensity");
    }
    if (table.intensity && table.over == WorkUnit::bytes && check.sound({at})) {
      check.refuse(at + ".intensity", float_text(*table.intensity), "nothing, where over is bytes");
    }
  }
}

}  // namespace

void check_kernel_tables(const KernelTablesConfig& tables, const YamlNode& root,
                         const std::string& path, ConfigErrors& errors) {
  const CrossCheck check{root, errors};
  check_tables(check, tables.fp64, path + ".fp64");
  check_tables(check, tables.fp32, path + ".fp32");
  check_tables(check, tables.tf32, path + ".tf32");
  check_tables(check, tables.bf16, path + ".bf16");
  check_tables(check, tables.fp16, path + ".fp16");
}

void check_collective_tables(const std::vector<CollectiveTableConfig>& tables, const YamlNode& root,
                             const std::string& path, ConfigErrors& errors) {
  const CrossCheck check{root, errors};
  std::set<std::tuple<std::string, std::int64_t, std::int64_t>> seen;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const CollectiveTableConfig& table = tables[i];
    const std::string at = path_of_item(path, i);
    check_points(check, table.points, at + ".points", true);
    if (!check.sound({at})) continue;
    if (table.hosts > table.ranks) {
      check.refuse(at + ".hosts", std::to_string(table.hosts),
                   "no more than ranks = " + std::to_string(table.ranks));
    }
    if (!seen.insert({table.kind, table.ranks, table.hosts}).second) {
      check.refuse(at, "a second table of this kind, ranks and hosts", "one of each");
    }
  }
}

}  // namespace alpa
