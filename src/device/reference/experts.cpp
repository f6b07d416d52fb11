#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "common/routing.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

Letters letters_of_routing(const RouteAttributes& route, const Piece& probabilities,
                           const Piece& expert) {
  Letters sizes;
  sizes.add("bsx", probabilities);
  sizes.add("bsk", expert);
  for (const char letter : {'s', 'x', 'k'}) {
    ALPA_CHECK(sizes.extent(letter) == sizes.at(letter).full);
  }
  ALPA_CHECK(sizes.extent('k') == route.top_k && route.top_k <= sizes.extent('x'));
  return sizes;
}

/// Experts of one token in falling order of probability, the first of equal ones before the others.
std::vector<std::int64_t> choices_of(const Piece& probabilities, std::int64_t row,
                                     std::int64_t experts, std::int64_t top_k) {
  std::vector<bool> chosen(static_cast<std::size_t>(experts), false);
  std::vector<std::int64_t> choices;
  for (std::int64_t k = 0; k < top_k; ++k) {
    std::int64_t best = -1;
    for (std::int64_t x = 0; x < experts; ++x) {
      if (chosen[static_cast<std::size_t>(x)]) continue;
      if (best < 0 ||
          load(probabilities, row * experts + x) > load(probabilities, row * experts + best)) {
        best = x;
      }
    }
    chosen[static_cast<std::size_t>(best)] = true;
    choices.push_back(best);
  }
  return choices;
}

/// What the gates of a token are divided by.
double normaliser(const Piece& probabilities, std::int64_t row, std::int64_t experts,
                  const std::vector<std::int64_t>& choices) {
  if (choices.size() == 1) return 1.0;
  double sum = 0.0;
  for (const std::int64_t x : choices) sum += load(probabilities, row * experts + x);
  return sum;
}

std::vector<std::int64_t> stored_choices(const std::int32_t* expert, std::int64_t row,
                                         std::int64_t top_k) {
  return {expert + row * top_k, expert + (row + 1) * top_k};
}

}  // namespace

void run(const Route& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 4);
  const Piece &probabilities = launch.operands[0], &gate = launch.results[2];
  std::int32_t* expert = mutable_integers(launch.results[0]);
  std::int32_t* slot = mutable_integers(launch.results[1]);
  Letters sizes = letters_of_routing(kernel.route, probabilities, launch.results[0]);
  sizes.add("bsk", launch.results[1]);
  sizes.add("bsk", gate);
  sizes.add("bx", launch.results[3]);
  const std::int64_t tokens = sizes.extent('s'), experts = sizes.extent('x');
  const std::int64_t top_k = kernel.route.top_k;

  for (std::int64_t b = 0; b < sizes.extent('b'); ++b) {
    std::vector<std::int64_t> first(static_cast<std::size_t>(experts), 0);
    for (std::int64_t row = b * tokens; row < (b + 1) * tokens; ++row) {
      const auto choices = choices_of(probabilities, row, experts, top_k);
      const double sum = normaliser(probabilities, row, experts, choices);
      for (std::int64_t k = 0; k < top_k; ++k) {
        const std::int64_t x = choices[static_cast<std::size_t>(k)];
        expert[row * top_k + k] = static_cast<std::int32_t>(x);
        store(gate, row * top_k + k, load(probabilities, row * experts + x) / sum);
      }
      ++first[static_cast<std::size_t>(choices[0])];
    }
    std::vector<std::int64_t> used(static_cast<std::size_t>(experts), 0);
    for (std::int64_t k = 0; k < top_k; ++k) {
      for (std::int64_t row = b * tokens; row < (b + 1) * tokens; ++row) {
        std::int64_t& taken = used[static_cast<std::size_t>(expert[row * top_k + k])];
        const bool fits = taken < kernel.route.capacity;
        slot[row * top_k + k] = fits ? static_cast<std::int32_t>(taken++) : -1;
      }
    }
    for (std::int64_t x = 0; x < experts; ++x) {
      const auto count = static_cast<double>(first[static_cast<std::size_t>(x)]);
      store(launch.results[3], b * experts + x, count / static_cast<double>(tokens));
    }
  }
}

void run(const RouteGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 3 && launch.results.size() == 1);
  const Piece &probabilities = launch.operands[0], &dgate = launch.operands[2];
  const Piece& result = launch.results[0];
  const std::int32_t* expert = integers(launch.operands[1]);
  Letters sizes = letters_of_routing(kernel.route, probabilities, launch.operands[1]);
  sizes.add("bsk", dgate);
  sizes.add("bsx", result);
  const std::int64_t experts = sizes.extent('x'), top_k = kernel.route.top_k;

  // gate_k = p_k / P, P the sum of the chosen p: dp_k = (dgate_k - sum_j dgate_j gate_j) / P.
  for (std::int64_t row = 0; row < sizes.elements("bs"); ++row) {
    for (std::int64_t x = 0; x < experts; ++x) store(result, row * experts + x, 0.0);
    const auto choices = stored_choices(expert, row, top_k);
    const double sum = normaliser(probabilities, row, experts, choices);
    double mean = 0.0;
    for (std::int64_t k = 0; top_k > 1 && k < top_k; ++k) {
      const std::int64_t x = choices[static_cast<std::size_t>(k)];
      mean += load(dgate, row * top_k + k) * load(probabilities, row * experts + x) / sum;
    }
    for (std::int64_t k = 0; k < top_k; ++k) {
      const std::int64_t x = choices[static_cast<std::size_t>(k)];
      store(result, row * experts + x, (load(dgate, row * top_k + k) - mean) / sum);
    }
  }
}

void run(const Dispatch& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == (kernel.gated ? 4U : 3U) && launch.results.size() == 1);
  const Piece &x = launch.operands[0], &result = launch.results[0];
  const Routing routing(x, result, launch.operands[1], launch.operands[2]);
  const std::int64_t width = routing.width(), choices = routing.choices();
  const std::int64_t slots = routing.experts() * routing.groups() * routing.capacity();
  for (std::int64_t i = 0; i < slots * width; ++i) store(result, i, 0.0);
  for (std::int64_t row = 0; row < routing.token_rows(); ++row) {
    for (std::int64_t k = 0; k < choices; ++k) {
      const std::int64_t to = routing.slot_row(row, k);
      if (to < 0) continue;
      const double gate = kernel.gated ? load(launch.operands[3], row * choices + k) : 1.0;
      for (std::int64_t e = 0; e < width; ++e) {
        store(result, to * width + e, gate * load(x, row * width + e));
      }
    }
  }
}

void run(const Combine& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == (kernel.gated ? 4U : 3U) && launch.results.size() == 1);
  const Piece &y = launch.operands[0], &result = launch.results[0];
  const Routing routing(result, y, launch.operands[1], launch.operands[2]);
  const std::int64_t width = routing.width(), choices = routing.choices();
  std::vector<double> sum(static_cast<std::size_t>(width));
  for (std::int64_t row = 0; row < routing.token_rows(); ++row) {
    sum.assign(sum.size(), 0.0);
    for (std::int64_t k = 0; k < choices; ++k) {
      const std::int64_t from = routing.slot_row(row, k);
      if (from < 0) continue;
      const double gate = kernel.gated ? load(launch.operands[3], row * choices + k) : 1.0;
      for (std::int64_t e = 0; e < width; ++e) {
        sum[static_cast<std::size_t>(e)] += gate * load(y, from * width + e);
      }
    }
    for (std::int64_t e = 0; e < width; ++e) {
      store(result, row * width + e, sum[static_cast<std::size_t>(e)]);
    }
  }
}

void run(const GateGradient& /*kernel*/, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 4 && launch.results.size() == 1);
  const Piece &dy = launch.operands[0], &y = launch.operands[1];
  const Routing routing(dy, y, launch.operands[2], launch.operands[3]);
  const std::int64_t width = routing.width(), choices = routing.choices();
  for (std::int64_t row = 0; row < routing.token_rows(); ++row) {
    for (std::int64_t k = 0; k < choices; ++k) {
      const std::int64_t from = routing.slot_row(row, k);
      double sum = 0.0;
      for (std::int64_t e = 0; from >= 0 && e < width; ++e) {
        sum += load(dy, row * width + e) * load(y, from * width + e);
      }
      store(launch.results[0], row * choices + k, sum);
    }
  }
}

}  // namespace alpa::reference
