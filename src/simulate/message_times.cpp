#include "alpa/simulate/message_times.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "message_costs.hpp"

namespace alpa {
namespace {

Seconds longest(const std::vector<StageMessage>& messages, Phase phase, const MessageCosts& costs) {
  Seconds most{0.0};
  for (const auto& [ends, time] : transfer_times(messages, phase, costs)) {
    most = std::max(most, time);
  }
  return most;
}

}  // namespace

MessageTimes message_times(const std::vector<StageMessage>& messages, const ClusterSpec& cluster) {
  const MessageCosts costs(cluster, messages);
  std::map<std::pair<int, int>, std::map<Phase, std::vector<StageMessage>>> pairs;
  for (const StageMessage& m : messages) {
    pairs[{m.from_stage, m.to_stage}][m.phase].push_back(m);
  }
  MessageTimes times;
  std::map<Phase, Seconds> once;
  for (const auto& [stages, phases] : pairs) {
    for (const auto& [phase, sent] : phases) {
      const Seconds time = longest(sent, phase, costs);
      if (phase == Phase::forward || phase == Phase::backward) {
        times.transfers.push_back({stages.first, stages.second, phase == Phase::backward, time});
      } else {
        once[phase] = std::max(once[phase], time);
      }
    }
  }
  for (const auto& [phase, time] : once) times.once += time;
  return times;
}

}  // namespace alpa
