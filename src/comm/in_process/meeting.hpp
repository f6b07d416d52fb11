#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"

#include "in_process/shared_work.hpp"

namespace alpa {

enum class CallKind : std::uint8_t { all_reduce, all_gather, reduce_scatter, all_to_all, message };

/// What one rank brings to a call. `in` is read and `out` written, by any rank, until the call
/// ends.
struct Offer {
  CallKind kind = CallKind::message;
  DType dtype = DType::i32;       ///< of reductions
  Reduction op = Reduction::sum;  ///< of reductions
  std::span<const std::byte> in;
  std::span<std::byte> out;
  std::vector<std::int64_t> in_sizes;   ///< parts of `in` by rank, where it has parts
  std::vector<std::int64_t> out_sizes;  ///< parts of `out` by rank, where it has parts
};

/// One collective call, or one message (parties: sender, receiver). The members below `work` are
/// written under the group's mutex until the last party is present, and constant from then on.
struct Meeting {
  SharedWork work;
  std::vector<int> ranks;  ///< of the parties, in the world; set when made
  std::vector<Offer> offers;
  std::vector<std::atomic<bool>> present;
  int missing = 0;

  explicit Meeting(std::vector<int> parties)
      : ranks(std::move(parties)),
        offers(ranks.size()),
        present(ranks.size()),
        missing(static_cast<int>(ranks.size())) {}
};

/// A rank's part in one meeting.
struct Seat {
  std::shared_ptr<Meeting> meeting;
  std::size_t party = 0;
  std::int64_t number = 0;  ///< of the collective call in its group, or the tag of the message
};

/// What a rank waits for in a meeting that is not complete:
/// "all_reduce of 64 bytes f32 sum (call 3 of ranks 0 1 2)", "receive of 8 bytes from rank 2 (tag
/// 0)"
[[nodiscard]] std::string to_text(const Seat& seat);

/// "all_reduce of 4096 bytes f32 sum"
[[nodiscard]] std::string to_text(const Offer& offer);

/// Why the offers of two parties cannot belong to one call; empty if they can.
[[nodiscard]] std::string disagreement(const Meeting& meeting, std::size_t first,
                                       std::size_t second);

/// Starts the work of a meeting at which all are present, and does it at once if it is small.
/// @pre no two offers disagree
void begin_work(Meeting& meeting);

}  // namespace alpa
