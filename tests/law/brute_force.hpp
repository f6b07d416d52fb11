#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "alpa/graph/aliasing.hpp"
#include "alpa/sharding/strategy.hpp"

#include "device/cases.hpp"

/// Runs a kernel on the pieces that layouts give the devices of a mesh, and finds the layouts under
/// which the results stand for those of the whole kernel.
namespace alpa::test {

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
  std::size_t in_place = 0;  ///< leading results that are read

  [[nodiscard]] std::size_t num_operands() const { return each.operands.size(); }
  [[nodiscard]] std::size_t num_read() const { return num_operands() + in_place; }
  [[nodiscard]] const Dims& dims(std::size_t tensor) const {
    return tensor < num_operands() ? rule.operands[tensor] : rule.results[tensor - num_operands()];
  }
};

inline bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

/// Letters that a piece must hold whole, by the kernel's contract (graph/kernel.hpp).
inline std::string whole_by_contract(const Kernel& kernel) {
  if (const auto* select = std::get_if<Select>(&kernel)) return {select->letter};
  if (const auto* stack = std::get_if<Stack>(&kernel)) return {stack->letter};
  if (const auto* concatenate = std::get_if<Concatenate>(&kernel)) {
    return std::string("0123456789") + concatenate->letter;
  }
  if (const auto* slice = std::get_if<Slice>(&kernel)) return std::string("0") + slice->letter;
  if (std::holds_alternative<Upsample>(kernel)) return "yxhw";
  if (std::holds_alternative<UpsampleGradient>(kernel)) return "yxhw";
  if (std::holds_alternative<Attention>(kernel)) return "sd";
  if (std::holds_alternative<AttentionGradient>(kernel)) return "sd";
  if (std::holds_alternative<Rotary>(kernel)) return "d";
  if (window_of(kernel)) return "yxhwkl";
  return whole_letters_of_routing(kernel);
}

inline Subject subject(const Case& each, const std::vector<std::int64_t>& extents) {
  Subject s{each, {}, {}, 0};
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
  if (std::holds_alternative<Rotary>(each.kernel)) {
    Size& depth = s.sizes.at('d');
    depth.extent = depth.full = depth.full + depth.full % 2;
  }
  fit_windows(each, s.sizes);
  fit_sizes(each.kernel, s.sizes);
  fit_routing(each, s.sizes);
  std::vector<Shape> operands, results;
  for (const Argument& a : each.operands) operands.push_back(full_of(a.dims, s.sizes));
  for (const Argument& a : each.results) results.push_back(full_of(a.dims, s.sizes));
  s.rule = rule_of(each.kernel, operands, results);
  const bool adds = std::holds_alternative<Accumulate>(each.kernel) ||
                    std::holds_alternative<Contribute>(each.kernel);
  while (s.in_place < results.size() && (adds || changes_in_place(each.kernel, s.in_place))) {
    ++s.in_place;
  }
  return s;
}

/// Every layout of the read tensors that the choices give; more than one where two axes split one
/// letter (either may be the major one). Empty if a piece would be.
inline std::vector<std::vector<ShardingSpec>> layouts_of(const Subject& s, const DeviceMesh& mesh,
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
inline std::vector<Tensor> pieces(const Tensor& whole, const ShardingSpec& spec,
                                  const DeviceMesh& mesh, bool one_hot, std::mt19937_64& random) {
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

inline Draw draw(Device& device, const Subject& s, std::mt19937_64& random,
                 DType dtype = DType::f64) {
  Draw d;
  d.operands = make(s.each.operands, s.sizes, dtype, random);
  d.initial = make(s.each.results, s.sizes, dtype, random);
  d.expected = run(device, s.each.kernel, d.operands, d.initial);
  return d;
}

/// Results of the kernel on every device's pieces: [device][result].
using Outputs = std::vector<std::vector<Tensor>>;

inline Outputs run_pieces(Device& device, const Subject& s, const Draw& d, const DeviceMesh& mesh,
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

inline double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-11 : 1e-5; }

/// Do the devices' pieces stand for the expected tensor under the layout?
inline bool stands_for(const Outputs& outputs, std::size_t result, const Tensor& expected,
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
    if (!(difference(total, cut(expected, total.box)) < tolerance(expected.dtype))) return false;
  }
  return true;
}

/// Layouts of a result that the axes leave open: over each axis that does not split it whole,
/// partial sum or partial maximum (one kind for all axes, as a layout can say).
inline std::vector<ShardingSpec> open_layouts(const ShardingSpec& base, const DeviceMesh& mesh) {
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
inline std::vector<ShardingSpec> strongest(const std::vector<ShardingSpec>& valid) {
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
inline std::vector<std::vector<ShardingSpec>> valid_results(Device& device, const Subject& s,
                                                            const std::vector<Draw>& draws,
                                                            const DeviceMesh& mesh,
                                                            const std::vector<ShardingSpec>& specs,
                                                            std::mt19937_64& random) {
  std::vector<std::vector<ShardingSpec>> valid;
  for (std::size_t r = 0; r < s.each.results.size(); ++r) {
    const ShardingSpec& base = specs[s.num_operands() + r];
    valid.push_back(r < s.in_place ? std::vector<ShardingSpec>{base} : open_layouts(base, mesh));
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
inline std::vector<OperatorLayout> combine(const Subject& s, const std::vector<ShardingSpec>& specs,
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

inline std::string text(const OperatorLayout& layout) {
  std::string t;
  for (const auto& spec : layout.operands) t += to_string(spec) + " ";
  t += "->";
  for (const auto& spec : layout.results) t += " " + to_string(spec);
  return t;
}

}  // namespace alpa::test
