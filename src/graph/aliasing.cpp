#include "alpa/graph/aliasing.hpp"

namespace alpa {
namespace {

bool is_map(const Kernel& kernel, MapOp op) {
  const auto* map = std::get_if<Map>(&kernel);
  return map != nullptr && map->op == op;
}

}  // namespace

bool is_copy(const Kernel& kernel) { return is_map(kernel, MapOp::copy); }

bool changes_in_place(const Kernel& kernel, std::size_t result) {
  if (std::holds_alternative<LambDirection>(kernel)) return result < 2;
  if (std::holds_alternative<SecondMoment>(kernel)) return result < 1;
  return std::holds_alternative<Update>(kernel) || std::holds_alternative<ApplyDirection>(kernel) ||
         std::holds_alternative<RunningAverage>(kernel);
}

bool is_sum(const Kernel& kernel) { return is_map(kernel, MapOp::add); }

}  // namespace alpa
