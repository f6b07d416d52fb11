#include "local_search.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core_solvers.hpp"

namespace alpa {

LocalSearch::LocalSearch(const Core& core) : core_(core) {}

void LocalSearch::look_at_core() {
  if (!links_.empty()) return;
  const Core& core = core_;
  forbidden_ = 4.0 * largest_cost(core) + 1.0;
  changed_in_.assign(core.nodes.size(), 0);
  links_.resize(core.nodes.size());
  for (const Problem::Edge& edge : core.edges) {
    const auto first = static_cast<std::size_t>(edge.first);
    const auto second = static_cast<std::size_t>(edge.second);
    const std::size_t rows = core.nodes[first].costs.size();
    const std::size_t columns = core.nodes[second].costs.size();
    Link there{second, edge.costs, columns};
    Link back{first, std::vector<double>(rows * columns), rows};
    for (double& cost : there.costs) {
      cost = std::min(cost, forbidden_);
    }
    for (std::size_t p = 0; p < rows; ++p) {
      for (std::size_t q = 0; q < columns; ++q) {
        back.costs[q * rows + p] = there.costs[p * columns + q];
      }
    }
    links_[first].push_back(std::move(there));
    links_[second].push_back(std::move(back));
  }
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    const Core::Node& node = core.nodes[i];
    if (node.costs.size() > 1) {
      free_nodes_.push_back(i);
    }
    std::vector<int> times;
    for (const Core::Term& term : node.terms) {
      times.insert(times.end(), {term.begin, term.end});
    }
    std::sort(times.begin(), times.end());
    times.erase(std::unique(times.begin(), times.end()), times.end());
    std::vector<Stretch> stretches;
    for (std::size_t k = 0; k + 1 < times.size(); ++k) {
      stretches.push_back({static_cast<std::size_t>(times[k]),
                           static_cast<std::size_t>(times[k + 1]),
                           std::vector<std::int64_t>(node.costs.size(), 0)});
    }
    for (const Core::Term& term : node.terms) {
      const auto from = std::lower_bound(times.begin(), times.end(), term.begin) - times.begin();
      const auto to = std::lower_bound(times.begin(), times.end(), term.end) - times.begin();
      for (auto k = from; k < to; ++k) {
        for (std::size_t p = 0; p < term.amounts.size(); ++p) {
          stretches[static_cast<std::size_t>(k)].amounts[p] += term.amounts[p];
        }
      }
    }
    stretches_.push_back(std::move(stretches));
  }
}

void LocalSearch::offer(const std::vector<int>& choice) {
  const double cost = core_cost(core_, choice);
  if (cost < best_cost_) {
    best_cost_ = cost;
    best_ = choice;
  }
}

void LocalSearch::start_from(const std::vector<int>& choice, const std::vector<double>& prices) {
  choice_ = choice;
  room_ = core_.capacities;
  const std::vector<std::int64_t> used = core_rows(core_, choice);
  excess_ = 0.0;
  for (std::size_t t = 0; t < room_.size(); ++t) {
    room_[t] -= used[t];
    excess_ += static_cast<double>(std::max<std::int64_t>(-room_[t], 0));
  }
  priced_.clear();
  double twice_edges = 0.0;
  cost_ = 0.0;
  std::vector<double> sums(prices.size() + 1, 0.0);
  for (std::size_t t = 0; t < prices.size(); ++t) {
    sums[t + 1] = sums[t] + prices[t];
  }
  for (std::size_t i = 0; i < choice.size(); ++i) {
    priced_.push_back(core_.nodes[i].costs);
    for (const Stretch& stretch : stretches_[i]) {
      for (std::size_t p = 0; p < stretch.amounts.size(); ++p) {
        priced_[i][p] +=
            (sums[stretch.end] - sums[stretch.begin]) * static_cast<double>(stretch.amounts[p]);
      }
    }
    const auto p = static_cast<std::size_t>(choice[i]);
    cost_ += core_.nodes[i].costs[p];
    for (const Link& link : links_[i]) {
      twice_edges += link.costs[p * link.columns + static_cast<std::size_t>(choice[link.other])];
    }
  }
  cost_ += twice_edges / 2.0;
}

double LocalSearch::local_cost(std::size_t i, int option) const {
  const auto p = static_cast<std::size_t>(option);
  double cost = core_.nodes[i].costs[p];
  for (const Link& link : links_[i]) {
    cost += link.costs[p * link.columns + static_cast<std::size_t>(choice_[link.other])];
  }
  return cost;
}

int LocalSearch::best_answer(std::size_t i) const {
  thread_local std::vector<double> costs;
  costs = priced_[i];
  for (const Link& link : links_[i]) {
    const double* column = link.costs.data() + choice_[link.other];
    for (std::size_t p = 0; p < costs.size(); ++p, column += link.columns) {
      costs[p] += *column;
    }
  }
  // What it has wins a tie.
  const auto least = std::min_element(costs.begin(), costs.end());
  const bool keep = costs[static_cast<std::size_t>(choice_[i])] <= *least;
  return keep ? choice_[i] : static_cast<int>(least - costs.begin());
}

void LocalSearch::set(std::size_t i, int option) {
  const auto before = static_cast<std::size_t>(choice_[i]);
  const auto after = static_cast<std::size_t>(option);
  cost_ += local_cost(i, option) - local_cost(i, choice_[i]);
  for (const Stretch& stretch : stretches_[i]) {
    const std::int64_t more = stretch.amounts[after] - stretch.amounts[before];
    if (more == 0) {
      continue;
    }
    std::int64_t excess = 0;
    for (std::size_t t = stretch.begin; t < stretch.end; ++t) {
      excess += std::min<std::int64_t>(room_[t], 0);
      room_[t] -= more;
      excess -= std::min<std::int64_t>(room_[t], 0);
    }
    excess_ += static_cast<double>(excess);
  }
  choice_[i] = option;
}

void LocalSearch::move() {
  ++move_number_;
  changes_.clear();
  const std::size_t i = free_nodes_[static_cast<std::size_t>(below(free_nodes_.size()))];
  const std::size_t options = core_.nodes[i].costs.size();
  const int option = (choice_[i] + 1 + below(options - 1)) % static_cast<int>(options);
  const auto change = [this](std::size_t node, int to) {
    changes_.push_back({node, choice_[node]});
    changed_in_[node] = move_number_;
    set(node, to);
  };
  change(i, option);
  constexpr std::size_t kFarthest = 24;
  for (std::size_t next = 0; next < changes_.size() && next < kFarthest; ++next) {
    for (const Link& link : links_[changes_[next].node]) {
      if (changed_in_[link.other] == move_number_) {
        continue;
      }
      const int answer = best_answer(link.other);
      if (answer != choice_[link.other]) {
        change(link.other, answer);
      }
    }
  }
}

void LocalSearch::undo() {
  for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
    set(change->node, change->before);
  }
}

void LocalSearch::anneal(const std::vector<int>& start, const std::vector<double>& prices,
                         double temperature, std::int64_t moves, const std::stop_token& stop) {
  offer(start);
  look_at_core();
  if (free_nodes_.empty()) {
    return;
  }
  start_from(start, prices);
  double price_sum = 0.0;
  for (const double price : prices) {
    price_sum += price;
  }
  const double positive = static_cast<double>(
      std::count_if(prices.begin(), prices.end(), [](double price) { return price > 0.0; }));
  const auto largest_room = [this] {
    const auto most = std::max_element(core_.capacities.begin(), core_.capacities.end());
    return most == core_.capacities.end() ? 1.0 : 1.0 + static_cast<double>(*most);
  };
  double penalty = positive > 0.0 ? price_sum / positive : std::abs(cost_) / largest_room();
  const double cooling =
      std::pow(1e-4, 1.0 / static_cast<double>(std::max<std::int64_t>(moves, 1)));
  for (std::int64_t m = 0; m < moves; ++m, temperature *= cooling) {
    if (m % 256 == 0) {
      if (stop.stop_requested()) {
        break;
      }
      penalty *= excess_ > 0.0 ? 1.3 : 0.9;
    }
    const double cost = cost_;
    const double excess = excess_;
    move();
    const double worse = cost_ - cost + penalty * (excess_ - excess);
    const double draw = static_cast<double>(bits_() >> 11) * 0x1p-53;
    if (worse > 0.0 && draw >= std::exp(-worse / temperature)) {
      undo();
      cost_ = cost;
      excess_ = excess;
    } else if (excess_ == 0.0 && cost_ + core_.constant < best_cost_) {
      offer(choice_);
    }
  }
}

}  // namespace alpa
