#pragma once

#include <map>
#include <string>

#include "law/harness.hpp"

namespace alpa::law {

/// What plans that ran have used, against all that their graphs and rules allow.
class Coverage {
 public:
  /// Counts a plan that has run. An axis of one device splits nothing and does not count.
  void add(const Graph& graph, const Plan& plan, const Outcome& outcome);

  /// "kind factor" and "kind linearN" that some rule allows and no plan has used, and kinds of
  /// collectives that no rank has executed.
  [[nodiscard]] std::vector<std::string> missing() const;

  /// A line per kind of operator, one per collective.
  [[nodiscard]] std::string table() const;

 private:
  std::map<std::string, std::map<std::string, std::int64_t>> uses_;  ///< [kind][factor or group]
  std::map<std::string, std::int64_t> collectives_;
  int plans_ = 0;
};

}  // namespace alpa::law
