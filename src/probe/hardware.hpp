#pragma once

#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"

namespace alpa::probe_detail {

/// Model of the processor as the system names it, "unknown processor" where it does not.
[[nodiscard]] std::string processor_name();

/// Names of the mathematics and message libraries in this process, with their versions as far as
/// file names tell.
[[nodiscard]] std::string library_versions();

/// Ranks of each host, in rank order. Collective.
/// @throws UserError (configuration) if a host's ranks are not consecutive
[[nodiscard]] std::vector<int> ranks_of_hosts(Communicator& world);

/// The text of each host's first rank, on every rank. Collective.
[[nodiscard]] std::vector<std::string> texts_of_hosts(Communicator& world,
                                                      const std::vector<int>& hosts,
                                                      const std::string& mine);

}  // namespace alpa::probe_detail
