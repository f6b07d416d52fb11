#pragma once

#include <vector>

#include "segment_builder.hpp"

namespace alpa {

/// This rank's part of a tensor's way from one mesh to another.
struct CrossingMessages {
  std::vector<Message> out, in;
};

/// Packs what this rank sends of the crossing tensor, at the end of `segment` (which made it).
/// Every element of a receiver's piece has one sender; copies on the sending mesh take turns.
///
/// Example: [4] split over 2 senders (ranks 0, 1), whole on 2 receivers (2, 3): the arrival layout
/// cuts it over the receivers, so rank 0 sends [0,2) to rank 2 and rank 1 sends [2,4) to rank 3;
/// the receivers then gather it among themselves.
[[nodiscard]] std::vector<Message> send_messages(SegmentBuilder& builder, int segment,
                                                 const Crossing& crossing);

/// Makes room for what this rank receives and tells the builder to unpack it on first use.
[[nodiscard]] std::vector<Message> receive_messages(SegmentBuilder& builder,
                                                    const Crossing& crossing);

}  // namespace alpa
