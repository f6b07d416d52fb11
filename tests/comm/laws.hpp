#pragma once

#include <ostream>
#include <vector>

#include "alpa/comm/communicator.hpp"

namespace alpa::test {

/// A law that holds on any communicator. Every rank runs `check`; expectations only, so that a rank
/// that sees a violation goes on and the others do not hang.
struct CommunicatorLaw {
  const char* name;
  void (*check)(Communicator&);
};

[[nodiscard]] const std::vector<CommunicatorLaw>& communicator_laws();

inline void PrintTo(const CommunicatorLaw& law, std::ostream* out) { *out << law.name; }

}  // namespace alpa::test
