#pragma once

#include <cstdint>
#include <vector>

#include "alpa/base/units.hpp"

#include "account.hpp"

namespace alpa::intra_op {

/// Values that live within one segment, and when.
class Transients {
 public:
  /// @param times layers, this one included, for which the value's layer stands
  void add(Life life, int layer, std::int64_t bytes, int times);

  /// The most at one time; of the values of one layer, that layer alone.
  [[nodiscard]] Bytes most() const;
  [[nodiscard]] Bytes most_of(int layer) const;

  /// What is there at a time, of one layer alone.
  [[nodiscard]] Bytes at(int time, int layer) const;

 private:
  struct Held {
    Life life;
    int layer = 0;
    std::int64_t bytes = 0;
    int times = 1;
  };
  std::vector<Held> held_;
};

}  // namespace alpa::intra_op
