#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "in_process/fabric.hpp"
#include "in_process/meeting.hpp"

namespace alpa {

/// Where the members of one communicator meet: collective calls by their number, messages by
/// sender, receiver and tag. Any member may call any of it; `party` is a rank of this group.
class Group {
 public:
  /// @param members ranks of the world, ascending
  Group(Fabric& fabric, std::vector<int> members);

  [[nodiscard]] Fabric& fabric() const noexcept { return fabric_; }
  [[nodiscard]] const std::vector<int>& members() const noexcept { return members_; }

  /// Call `number` (from 0, no gaps) of this member. Throws SystemError if it does not fit what the
  /// others called.
  [[nodiscard]] Seat call(int party, std::int64_t number, Offer offer);

  [[nodiscard]] Seat send(int from, int to, int tag, std::span<const std::byte> data);
  [[nodiscard]] Seat receive(int from, int to, int tag, std::span<std::byte> data);

  /// The `nth` group of these parties and tag; the same object for every member that asks.
  [[nodiscard]] std::shared_ptr<Group> subgroup(std::span<const int> parties, int tag, int nth);

 private:
  struct Unmet {
    std::shared_ptr<Group> group;
    std::size_t missing = 0;
  };
  using Route = std::tuple<int, int, int>;  ///< from, to, tag
  using GroupKey = std::tuple<std::vector<int>, int, int>;

  [[nodiscard]] Seat message(const Route& route, std::size_t party, Offer offer);

  Fabric& fabric_;
  std::vector<int> members_;
  std::mutex mutex_;                            ///< guards all below
  std::deque<std::shared_ptr<Meeting>> calls_;  ///< that miss a member, in order
  std::int64_t first_number_ = 0;               ///< of calls_
  std::map<Route, std::deque<std::shared_ptr<Meeting>>> messages_;  ///< that miss one side
  std::map<GroupKey, Unmet> subgroups_;                             ///< that miss a member
};

}  // namespace alpa
