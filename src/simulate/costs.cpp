#include <limits>

#include "alpa/simulate/simulate.hpp"

namespace alpa {
namespace {

Seconds kernel_seconds(const RunKernel& run, const DeviceKind& kind) {
  Bytes moved{0};
  for (const auto* list : {&run.operands, &run.results}) {
    for (const Operand& o : *list) moved += o.size();
  }
  const DType dtype = run.results.empty() ? DType::f32 : run.results.front().dtype;
  const auto time = kernel_time(kind, dtype, {run.flops}, moved);
  return time.value_or(Seconds{std::numeric_limits<double>::infinity()});
}

Seconds collective_seconds(const Collective& c, const std::vector<int>& group,
                           const ClusterSpec& cluster) {
  const Link link = link_of_groups(cluster, {group});
  const auto n = static_cast<int>(group.size());
  Bytes pieces{0};
  for (const Bytes piece : c.piece_sizes) pieces += piece;
  switch (c.kind) {
    case Collective::Kind::all_reduce:
      return ring_all_reduce_time(c.in.size, n, link);
    case Collective::Kind::all_gather:
      return ring_all_gather_time(pieces, n, link);
    case Collective::Kind::reduce_scatter:
      return ring_reduce_scatter_time(pieces, n, link);
    case Collective::Kind::all_to_all:
      return all_to_all_time(pieces, n, link);
  }
  return {};
}

}  // namespace

InstructionCosts costs_on(const ClusterSpec& cluster) {
  return {[cluster](const RunKernel& run, int rank) {
            return kernel_seconds(run, kind_of(cluster, rank));
          },
          [cluster](const Collective& c, const std::vector<int>& group) {
            return collective_seconds(c, group, cluster);
          },
          [cluster](Bytes size, int from, int to) {
            return message_time(size, link_between(cluster, from, to));
          }};
}

}  // namespace alpa
