#pragma once

#include <stop_token>
#include <thread>

#include "alpa/base/units.hpp"

namespace alpa {

/// Asks to stop once so many seconds have passed since it was made.
class Deadline {
 public:
  explicit Deadline(Seconds after);

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread thread_;  ///< ends before `source_`
};

}  // namespace alpa
