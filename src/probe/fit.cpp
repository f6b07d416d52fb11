#include "fit.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "team.hpp"

namespace alpa::probe_detail {
namespace {

constexpr double kSlowFlops = 1e8;  ///< of a device whose products were not measured
constexpr double kSlowBytes = 1e8;

using Points = std::vector<std::pair<double, double>>;

/// (work, seconds) of one series, rising in both. What runs beside the probe only adds time, so no
/// sample takes more than a larger one.
Points points_of(const SampleSeries& series, const std::vector<double>& seconds) {
  Points points;
  double above = std::numeric_limits<double>::infinity();
  for (std::size_t i = seconds.size(); i-- > 0;) {
    if (seconds[i] <= 0.0) continue;
    const double work = work_of_sample(series, i);
    if (!points.empty() && work >= points.back().first) continue;
    above = std::min(above, seconds[i]);
    points.emplace_back(work, above);
  }
  std::reverse(points.begin(), points.end());
  return points;
}

/// One that was cut short goes on at the rate of the roofline: beyond its end a table is used in
/// proportion, and small kernels are mostly launch.
void extend(KernelTable& table, double most, const DeviceKind& kind) {
  const auto [last, time] = table.points.back();
  if (last >= most) return;
  const double fastest = table.by_flops ? kind.peak_flops.front().second
                                        : kind.memory_bandwidth * kind.memory_efficiency;
  table.points.emplace_back(most, time + (most - last) / fastest);
}

double rate(const std::pair<double, double>& point) { return point.first / point.second; }

void fit_products(DeviceKind& kind, const std::vector<KernelTable>& tables, DType dtype) {
  std::map<DType, double> peaks{{dtype, 0.0}};
  const KernelTable* densest = nullptr;
  for (const KernelTable& table : tables) {
    if (!table.kernel.starts_with("einsum")) continue;
    double& highest = peaks[table.dtype];
    for (const auto& point : table.points) highest = std::max(highest, rate(point));
    const bool denser = densest == nullptr || table.intensity > densest->intensity;
    if (denser && table.kernel == "einsum.nn" && table.dtype == dtype) densest = &table;
  }
  const double peak = peaks[dtype];
  for (const auto& [type, highest] : peaks) {
    kind.peak_flops.emplace_back(type, highest > 0.0 ? highest : kSlowFlops);
  }
  if (densest == nullptr) return;
  for (const auto& point : densest->points) {
    kind.product_efficiency.emplace_back(point.first, rate(point) / peak);
  }
}

void fit_streams(DeviceKind& kind, const std::vector<KernelTable>& tables) {
  double fastest = 0.0;
  double launch = std::numeric_limits<double>::infinity();
  std::vector<double> rates;  // of the largest sizes
  for (const KernelTable& table : tables) {
    launch = std::min(launch, table.points.front().second);
    if (table.by_flops || table.points.size() < 2) continue;
    for (const auto& point : table.points) fastest = std::max(fastest, rate(point));
    rates.push_back(rate(table.points.back()));
  }
  kind.memory_bandwidth = rates.empty() ? kSlowBytes : fastest;
  if (!rates.empty()) kind.memory_efficiency = median(rates) / fastest;
  if (!tables.empty()) kind.launch = {launch};
}

}  // namespace

DeviceKind device_kind_of(const std::vector<SampleSeries>& all,
                          const std::vector<std::vector<double>>& seconds, DType dtype) {
  DeviceKind kind;
  std::vector<double> most;  // work of each table's largest sample
  for (std::size_t s = 0; s < all.size(); ++s) {
    const KernelWork& work = all[s].samples.front().work;
    KernelTable table{work.kind, work.dtype, all[s].by_flops, all[s].intensity,
                      points_of(all[s], seconds[s])};
    if (table.points.empty()) continue;
    kind.kernels.push_back(std::move(table));
    most.push_back(work_of_sample(all[s], all[s].samples.size() - 1));
  }
  fit_products(kind, kind.kernels, dtype);
  fit_streams(kind, kind.kernels);
  for (std::size_t i = 0; i < kind.kernels.size(); ++i) extend(kind.kernels[i], most[i], kind);
  std::sort(kind.kernels.begin(), kind.kernels.end(), [](const auto& a, const auto& b) {
    return std::tie(a.dtype, a.kernel, a.intensity) < std::tie(b.dtype, b.kernel, b.intensity);
  });
  return kind;
}

Link link_of_messages(const std::vector<CollectiveTable>& collectives, int hosts) {
  for (const CollectiveTable& table : collectives) {
    if (table.kind != "message" || table.hosts != hosts || table.points.empty()) continue;
    const auto& [small, latency] = table.points.front();
    const auto& [large, time] = table.points.back();
    const double bandwidth = (large - small) / std::max(time - latency, 1e-12);
    return {{latency}, large > small ? bandwidth : kSlowBytes};
  }
  return {{0.0}, std::numeric_limits<double>::infinity()};
}

}  // namespace alpa::probe_detail
