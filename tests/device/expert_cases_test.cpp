#include "device/cases.hpp"

/// Cases of routing: sizes and integers that a routing can have.
namespace alpa::test {

namespace {

/// Number of the choices, where the kernel fixes it.
std::optional<std::int64_t> top_k_of(const Kernel& kernel) {
  if (const auto* route = std::get_if<Route>(&kernel)) return route->route.top_k;
  if (const auto* route = std::get_if<RouteGradient>(&kernel)) return route->route.top_k;
  return std::nullopt;
}

}  // namespace

std::string whole_letters_of_routing(const Kernel& kernel) {
  if (top_k_of(kernel)) return "sxk";
  const bool moves = std::holds_alternative<Dispatch>(kernel) ||
                     std::holds_alternative<Combine>(kernel) ||
                     std::holds_alternative<GateGradient>(kernel);
  return moves ? "skc" : "";
}

void fit_routing(const Case& each, Sizes& sizes) {
  for (const char letter : whole_letters_of_routing(each.kernel)) {
    Size& size = sizes.at(letter);
    size = {0, size.full, size.full};
  }
  if (const auto top_k = top_k_of(each.kernel)) {
    sizes.at('k') = {0, *top_k, *top_k};
    Size& experts = sizes.at('x');
    experts.extent = experts.full = std::max(experts.full, *top_k + 1);
  }
}

double routed(Content content, const std::vector<std::int64_t>& index, const Sizes& sizes) {
  const std::int64_t b = index.at(0), s = index.at(1), k = index.at(2);
  if (content == Content::experts) {
    return static_cast<double>((5 * b + 3 * s + k) % sizes.at('x').full);
  }
  // No two choices of a group have the same slot; those beyond the last slot are dropped.
  const std::int64_t slot = s * sizes.at('k').full + k;
  const auto slots = sizes.find('c');
  return slots != sizes.end() && slot < slots->second.full ? static_cast<double>(slot) : -1.0;
}

void add_experts(std::vector<Case>& cases) {
  const Argument expert{"bsk", Content::experts}, slot{"bsk", Content::slots}, gate{"bsk"};
  for (const std::int64_t top_k : {1, 2, 3}) {
    const RouteAttributes route{top_k, 2};
    const std::string name = " top " + std::to_string(top_k);
    cases.push_back({"route" + name,
                     Route{route},
                     {{"bsx", Content::positive}},
                     {expert, slot, gate, {"bx", Content::wide}}});
    cases.push_back({"route_gradient" + name,
                     RouteGradient{route},
                     {{"bsx", Content::positive}, expert, gate},
                     {{"bsx"}}});
  }
  for (const bool gated : {false, true}) {
    std::vector<Argument> there{{"bse"}, expert, slot}, back{{"xbce"}, expert, slot};
    for (auto* operands : {&there, &back}) {
      if (gated) operands->push_back(gate);
    }
    const std::string name = gated ? " gated" : "";
    cases.push_back({"dispatch" + name, Dispatch{gated}, there, {{"xbce"}}});
    cases.push_back({"combine" + name, Combine{gated}, back, {{"bse"}}});
  }
  cases.push_back({"gate_gradient", GateGradient{}, {{"bse"}, {"xbce"}, expert, slot}, {gate}});
  cases.push_back({"view", View{"bte", "bte"}, {{"bte"}}, {{"bte"}}});
}

}  // namespace alpa::test
