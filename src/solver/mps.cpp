#include <algorithm>
#include <alpa/solver/mps.hpp>
#include <array>
#include <charconv>
#include <map>
#include <ostream>
#include <set>
#include <vector>

namespace alpa {
namespace {

/// The shortest text that reads back equal.
std::string number(double value) {
  std::array<char, 40> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

/// Memory rows: the times at which a usage begins and the limit can be exceeded.
std::vector<std::int64_t> memory_times(const Problem& problem) {
  std::vector<std::int64_t> times;
  if (!problem.usage_limit) return times;
  std::map<std::int64_t, std::int64_t> change;  // of the most that could be used
  std::set<std::int64_t> begins;
  for (const Problem::Node& node : problem.nodes) {
    for (const Usage& usage : node.usages) {
      if (usage.begin >= usage.end || usage.amounts.empty()) continue;
      const std::int64_t most = *std::max_element(usage.amounts.begin(), usage.amounts.end());
      change[usage.begin] += most;
      change[usage.end] -= most;
      begins.insert(usage.begin);
    }
  }
  std::int64_t sum = 0;
  for (const auto& [time, step] : change) {
    sum += step;
    if (sum > *problem.usage_limit && begins.contains(time)) times.push_back(time);
  }
  return times;
}

class MpsWriter {
 public:
  MpsWriter(std::ostream& out, const Problem& problem)
      : out_(out), problem_(problem), times_(memory_times(problem)), edges_(problem.nodes.size()) {
    for (std::size_t e = 0; e < problem.edges.size(); ++e) {
      const Problem::Edge& edge = problem.edges[e];
      edges_[static_cast<std::size_t>(edge.first)].push_back(e);
      if (edge.second != edge.first) edges_[static_cast<std::size_t>(edge.second)].push_back(e);
    }
  }

  void write(const std::string& name) {
    out_ << "NAME " << name << " FREE\nROWS\n N cost\n";
    for (std::size_t i = 0; i < problem_.nodes.size(); ++i) out_ << " E one" << i << '\n';
    for (std::size_t e = 0; e < problem_.edges.size(); ++e) {
      if (is_loop(e)) continue;
      for (std::size_t p = 0; p < options(problem_.edges[e].first); ++p) {
        out_ << " E l" << e << '_' << p << '\n';
      }
      for (std::size_t q = 0; q < options(problem_.edges[e].second); ++q) {
        out_ << " E r" << e << '_' << q << '\n';
      }
    }
    for (const std::int64_t t : times_) out_ << " L m" << t << '\n';
    out_ << "COLUMNS\n MARK0 'MARKER' 'INTORG'\n";
    for (std::size_t i = 0; i < problem_.nodes.size(); ++i) write_node(i);
    out_ << " MARK1 'MARKER' 'INTEND'\n";
    for (std::size_t e = 0; e < problem_.edges.size(); ++e) {
      if (!is_loop(e)) write_pairs(e);
    }
    out_ << "RHS\n";
    for (std::size_t i = 0; i < problem_.nodes.size(); ++i) out_ << " RHS one" << i << " 1\n";
    for (const std::int64_t t : times_)
      out_ << " RHS m" << t << ' ' << *problem_.usage_limit << '\n';
    out_ << "BOUNDS\n";
    for (const std::string& column : binaries_) out_ << " UP BND " << column << " 1\n";
    out_ << "ENDATA\n";
  }

 private:
  [[nodiscard]] std::size_t options(int node) const {
    return problem_.nodes[static_cast<std::size_t>(node)].costs.size();
  }
  [[nodiscard]] bool is_loop(std::size_t e) const {
    return problem_.edges[e].first == problem_.edges[e].second;
  }

  /// Cost of an option with the diagonals of the node's loops.
  [[nodiscard]] double own_cost(std::size_t i, std::size_t p) const {
    double cost = problem_.nodes[i].costs[p];
    for (const std::size_t e : edges_[i]) {
      if (is_loop(e)) cost += pair_cost(problem_, problem_.edges[e], p, p);
    }
    return cost;
  }

  void write_node(std::size_t i) {
    const Problem::Node& node = problem_.nodes[i];
    for (std::size_t p = 0; p < node.costs.size(); ++p) {
      const double cost = own_cost(i, p);
      if (cost == kForbidden) continue;
      binaries_.push_back("x" + std::to_string(i) + "_" + std::to_string(p));
      const std::string column = " " + binaries_.back() + " ";
      out_ << column << "one" << i << " 1\n";
      if (cost != 0.0) out_ << column << "cost " << number(cost) << '\n';
      for (const std::size_t e : edges_[i]) {
        if (is_loop(e)) continue;
        const char side = problem_.edges[e].first == static_cast<int>(i) ? 'l' : 'r';
        out_ << column << side << e << '_' << p << " -1\n";
      }
      write_memory(column, node, p);
    }
  }

  void write_memory(const std::string& column, const Problem::Node& node, std::size_t p) {
    for (const std::int64_t t : times_) {
      std::int64_t amount = 0;
      for (const Usage& usage : node.usages) {
        if (usage.begin <= t && t < usage.end) amount += usage.amounts[p];
      }
      if (amount != 0) out_ << column << 'm' << t << ' ' << amount << '\n';
    }
  }

  void write_pairs(std::size_t e) {
    const Problem::Edge& edge = problem_.edges[e];
    const std::size_t columns = options(edge.second);
    for (std::size_t p = 0; p < options(edge.first); ++p) {
      for (std::size_t q = 0; q < columns; ++q) {
        const double cost = pair_cost(problem_, edge, p, q);
        if (cost == kForbidden) continue;
        out_ << " e" << e << '_' << p << '_' << q << " l" << e << '_' << p << " 1 r" << e << '_'
             << q << " 1\n";
        if (cost != 0.0) {
          out_ << " e" << e << '_' << p << '_' << q << " cost " << number(cost) << '\n';
        }
      }
    }
  }

  std::ostream& out_;
  const Problem& problem_;
  std::vector<std::int64_t> times_;
  std::vector<std::vector<std::size_t>> edges_;  ///< of each node
  std::vector<std::string> binaries_;
};

}  // namespace

void write_mps(std::ostream& out, const Problem& problem, const std::string& name) {
  MpsWriter(out, problem).write(name);
}

}  // namespace alpa
