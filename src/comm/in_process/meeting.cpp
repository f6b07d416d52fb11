#include "in_process/meeting.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "alpa/base/error.hpp"

#include "reduce.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kChunk = 64 * 1024;  ///< bytes of one all_reduce task; a multiple of 8
constexpr std::int64_t kSmall = 64 * 1024;  ///< bytes moved below which sharing the work costs more

std::string_view name(CallKind kind) {
  switch (kind) {
    case CallKind::all_reduce:
      return "all_reduce";
    case CallKind::all_gather:
      return "all_gather";
    case CallKind::reduce_scatter:
      return "reduce_scatter";
    case CallKind::all_to_all:
      return "all_to_all";
    case CallKind::message:
      return "message";
  }
  check_failed("known call", SourceLine::here());
}

std::string list(const std::vector<std::int64_t>& sizes) {
  std::string text = "[";
  for (const std::int64_t size : sizes) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

std::size_t offset(const std::vector<std::int64_t>& sizes, std::size_t part) {
  const auto end = sizes.begin() + static_cast<std::ptrdiff_t>(part);
  return static_cast<std::size_t>(std::accumulate(sizes.begin(), end, std::int64_t{0}));
}

void copy_bytes(const std::byte* from, std::byte* to, std::int64_t bytes) {
  if (bytes > 0 && from != to) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

std::vector<const std::byte*> inputs_at(const Meeting& meeting, std::size_t begin) {
  std::vector<const std::byte*> inputs;
  inputs.reserve(meeting.offers.size());
  for (const Offer& offer : meeting.offers) inputs.push_back(offer.in.data() + begin);
  return inputs;
}

/// Reduces chunk `task` and writes it to every rank. Nobody else touches that chunk, so in place.
void all_reduce_chunk(const Meeting& meeting, std::int64_t task) {
  const Offer& first = meeting.offers[0];
  const std::int64_t begin = task * kChunk;
  const std::int64_t bytes = std::min(kChunk, std::ssize(first.out) - begin);
  if (bytes == 0) return;
  const auto at = static_cast<std::size_t>(begin);
  const auto inputs = inputs_at(meeting, at);
  const auto result = first.out.subspan(at, static_cast<std::size_t>(bytes));
  reduce_in_order(inputs, result, first.dtype, first.op);
  for (std::size_t r = 1; r < meeting.offers.size(); ++r) {
    copy_bytes(result.data(), meeting.offers[r].out.data() + at, bytes);
  }
}

/// Copies the piece of rank `part` to every rank.
void gather_piece(const Meeting& meeting, std::size_t part) {
  const Offer& source = meeting.offers[part];
  const std::size_t at = offset(source.out_sizes, part);
  for (const Offer& target : meeting.offers) {
    copy_bytes(source.in.data(), target.out.data() + at, std::ssize(source.in));
  }
}

void reduce_piece(const Meeting& meeting, std::size_t part) {
  const Offer& target = meeting.offers[part];
  if (target.out.empty()) return;
  const auto inputs = inputs_at(meeting, offset(target.in_sizes, part));
  reduce_in_order(inputs, target.out, target.dtype, target.op);
}

/// Fills the buffer of rank `receiver`.
void transpose_to(const Meeting& meeting, std::size_t receiver) {
  const Offer& target = meeting.offers[receiver];
  std::size_t at = 0;
  for (std::size_t sender = 0; sender < meeting.offers.size(); ++sender) {
    const Offer& source = meeting.offers[sender];
    const std::int64_t bytes = target.out_sizes[sender];
    copy_bytes(source.in.data() + offset(source.in_sizes, receiver), target.out.data() + at, bytes);
    at += static_cast<std::size_t>(bytes);
  }
}

void run_task(const Meeting& meeting, std::int64_t task) {
  const auto part = static_cast<std::size_t>(task);
  switch (meeting.offers[0].kind) {
    case CallKind::all_reduce:
      return all_reduce_chunk(meeting, task);
    case CallKind::all_gather:
      return gather_piece(meeting, part);
    case CallKind::reduce_scatter:
      return reduce_piece(meeting, part);
    case CallKind::all_to_all:
      return transpose_to(meeting, part);
    case CallKind::message: {
      const auto from = meeting.offers[0].in;
      return copy_bytes(from.data(), meeting.offers[1].out.data(), std::ssize(from));
    }
  }
}

std::int64_t number_of_tasks(const Meeting& meeting) {
  switch (meeting.offers[0].kind) {
    case CallKind::all_reduce:
      return std::max<std::int64_t>(1, (std::ssize(meeting.offers[0].out) + kChunk - 1) / kChunk);
    case CallKind::all_gather:
    case CallKind::reduce_scatter:
    case CallKind::all_to_all:
      return std::ssize(meeting.offers);
    case CallKind::message:
      return 1;
  }
  check_failed("known call", SourceLine::here());
}

std::int64_t bytes_touched(const Meeting& meeting) {
  std::int64_t bytes = 0;
  for (const Offer& offer : meeting.offers) bytes += std::ssize(offer.in) + std::ssize(offer.out);
  return bytes;
}

}  // namespace

std::string to_text(const Offer& offer) {
  std::string text(name(offer.kind));
  text += " of " + std::to_string(std::max(offer.in.size(), offer.out.size())) + " bytes";
  if (offer.kind == CallKind::all_reduce || offer.kind == CallKind::reduce_scatter) {
    text += " " + std::string(to_string(offer.dtype));
    text += offer.op == Reduction::sum ? " sum" : " max";
  }
  return text;
}

std::string to_text(const Seat& seat) {
  const Meeting& meeting = *seat.meeting;
  const Offer& offer = meeting.offers[seat.party];
  const std::string number = std::to_string(seat.number);
  if (offer.kind == CallKind::message) {
    const bool sends = seat.party == 0;
    const std::size_t bytes = sends ? offer.in.size() : offer.out.size();
    return (sends ? "send of " : "receive of ") + std::to_string(bytes) + " bytes " +
           (sends ? "to" : "from") + " rank " + std::to_string(meeting.ranks[sends ? 1 : 0]) +
           " (tag " + number + ")";
  }
  std::string text = to_text(offer) + " (call " + number + " of ranks";
  for (const int rank : meeting.ranks) text += " " + std::to_string(rank);
  return text + ")";
}

std::string disagreement(const Meeting& meeting, std::size_t first, std::size_t second) {
  const Offer& a = meeting.offers[first];
  const Offer& b = meeting.offers[second];
  const bool same_call = a.kind == b.kind && a.dtype == b.dtype && a.op == b.op;
  if (!same_call) return to_text(a) + " against " + to_text(b);
  switch (a.kind) {
    case CallKind::all_reduce:
      if (a.out.size() != b.out.size()) return to_text(a) + " against " + to_text(b);
      return {};
    case CallKind::all_gather:
    case CallKind::reduce_scatter: {
      const bool gather = a.kind == CallKind::all_gather;
      const auto& ours = gather ? a.out_sizes : a.in_sizes;
      const auto& theirs = gather ? b.out_sizes : b.in_sizes;
      if (ours == theirs) return {};
      return to_text(a) + " with sizes " + list(ours) + " against " + list(theirs);
    }
    case CallKind::all_to_all:
      if (a.in_sizes[second] == b.out_sizes[first] && a.out_sizes[second] == b.in_sizes[first]) {
        return {};
      }
      return "all_to_all sends " + std::to_string(a.in_sizes[second]) + " and expects " +
             std::to_string(a.out_sizes[second]) + " bytes; the other side expects " +
             std::to_string(b.out_sizes[first]) + " and sends " + std::to_string(b.in_sizes[first]);
    case CallKind::message:
      if (a.in.size() == b.out.size()) return {};
      return "the message has " + std::to_string(a.in.size()) + " bytes, the receive " +
             std::to_string(b.out.size());
  }
  check_failed("known call", SourceLine::here());
}

void begin_work(Meeting& meeting) {
  meeting.work.begin(number_of_tasks(meeting),
                     [&meeting](std::int64_t task) { run_task(meeting, task); });
  // Whether it is finished shows in each party's own test().
  if (bytes_touched(meeting) <= kSmall) static_cast<void>(meeting.work.help());
}

}  // namespace alpa
