#include "in_process/group.hpp"

#include <algorithm>
#include <string>

namespace alpa {
namespace {

/// Takes the seat. @pre the group's mutex is held
void sit_down(Meeting& meeting, std::size_t party, Offer offer) {
  meeting.offers[party] = std::move(offer);
  meeting.present[party] = true;
  --meeting.missing;
}

/// What keeps `party` from meeting those already there; empty if nothing does.
std::string conflict(const Meeting& meeting, std::size_t party) {
  for (std::size_t other = 0; other < meeting.offers.size(); ++other) {
    if (other == party || !meeting.present[other]) continue;
    const std::string why = disagreement(meeting, party, other);
    if (!why.empty()) {
      return "rank " + std::to_string(meeting.ranks[party]) + " and rank " +
             std::to_string(meeting.ranks[other]) + " disagree: " + why;
    }
    // Agreement is transitive except for the pairwise sizes of an all_to_all.
    if (meeting.offers[party].kind != CallKind::all_to_all) return {};
  }
  return {};
}

}  // namespace

Group::Group(Fabric& fabric, std::vector<int> members)
    : fabric_(fabric), members_(std::move(members)) {}

Seat Group::call(int party, std::int64_t number, Offer offer) {
  Seat seat{nullptr, static_cast<std::size_t>(party), number};
  bool complete = false;
  std::string why;
  {
    const std::scoped_lock lock(mutex_);
    // A call is complete only once those before it are: each member makes them in order.
    const auto index = static_cast<std::size_t>(number - first_number_);
    if (index == calls_.size()) calls_.push_back(std::make_shared<Meeting>(members_));
    seat.meeting = calls_[index];
    sit_down(*seat.meeting, seat.party, std::move(offer));
    why = conflict(*seat.meeting, seat.party);
    complete = seat.meeting->missing == 0;
    if (complete) {
      calls_.pop_front();
      ++first_number_;
    }
  }
  if (!why.empty()) {
    fabric_.fail(members_[seat.party], why + "\n  in " + to_text(seat));
  }
  fabric_.note_progress();
  if (complete) begin_work(*seat.meeting);
  return seat;
}

Seat Group::send(int from, int to, int tag, std::span<const std::byte> data) {
  return message({from, to, tag}, 0, Offer{.in = data, .out = {}, .in_sizes = {}, .out_sizes = {}});
}

Seat Group::receive(int from, int to, int tag, std::span<std::byte> data) {
  return message({from, to, tag}, 1, Offer{.in = {}, .out = data, .in_sizes = {}, .out_sizes = {}});
}

Seat Group::message(const Route& route, std::size_t party, Offer offer) {
  const auto [from, to, tag] = route;
  Seat seat{nullptr, party, tag};
  bool complete = false;
  {
    const std::scoped_lock lock(mutex_);
    auto& unmet = messages_[route];
    complete = !unmet.empty() && !unmet.front()->present[party];
    if (complete) {
      seat.meeting = std::move(unmet.front());
      unmet.pop_front();
    } else {
      seat.meeting = std::make_shared<Meeting>(std::vector<int>{
          members_[static_cast<std::size_t>(from)], members_[static_cast<std::size_t>(to)]});
      unmet.push_back(seat.meeting);
    }
    sit_down(*seat.meeting, party, std::move(offer));
    if (unmet.empty()) messages_.erase(route);
  }
  fabric_.note_progress();
  if (complete) {
    const std::string why = disagreement(*seat.meeting, 0, 1);
    if (!why.empty()) {
      fabric_.fail(seat.meeting->ranks[party], why + "\n  in " + to_text(seat));
    }
    begin_work(*seat.meeting);
  }
  return seat;
}

std::shared_ptr<Group> Group::subgroup(std::span<const int> parties, int tag, int nth) {
  std::vector<int> ranks;
  for (const int party : parties) ranks.push_back(members_[static_cast<std::size_t>(party)]);
  const std::scoped_lock lock(mutex_);
  const GroupKey key{ranks, tag, nth};
  Unmet& unmet = subgroups_[key];
  if (!unmet.group) unmet = {std::make_shared<Group>(fabric_, ranks), ranks.size()};
  const std::shared_ptr<Group> group = unmet.group;
  if (--unmet.missing == 0) subgroups_.erase(key);
  return group;
}

}  // namespace alpa
