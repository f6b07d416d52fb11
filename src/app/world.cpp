#include "world.hpp"

#include <cstring>
#include <numeric>
#include <span>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::vector<double> reduce(Communicator& world, std::vector<double> values, Reduction op) {
  const auto request = world.all_reduce(std::as_writable_bytes(std::span(values)), DType::f64, op);
  wait(*request);
  return values;
}

}  // namespace

std::string broadcast_text(Communicator& world, std::string text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  world.broadcast(bytes, 0);
  text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text;
}

std::vector<std::string> gather_texts(Communicator& world, const std::string& mine) {
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<std::int64_t> sizes(ranks, 0);
  const std::vector<std::int64_t> size_of_size(ranks, 8);
  const auto my_size = static_cast<std::int64_t>(mine.size());
  wait(*world.all_gather(std::as_bytes(std::span(&my_size, 1)),
                         std::as_writable_bytes(std::span(sizes)), size_of_size));
  const auto total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  std::string whole(static_cast<std::size_t>(total), '\0');
  wait(*world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(whole)),
                         sizes));
  std::vector<std::string> texts;
  std::size_t at = 0;
  for (const std::int64_t size : sizes) {
    texts.push_back(whole.substr(at, static_cast<std::size_t>(size)));
    at += static_cast<std::size_t>(size);
  }
  return texts;
}

std::vector<double> world_sum(Communicator& world, std::vector<double> values) {
  return reduce(world, std::move(values), Reduction::sum);
}

std::vector<double> world_max(Communicator& world, std::vector<double> values) {
  return reduce(world, std::move(values), Reduction::max);
}

void check_equal_everywhere(Communicator& world, const std::string& what, const std::string& mine) {
  const auto texts = gather_texts(world, mine);
  std::string differing;
  for (std::size_t r = 1; r < texts.size(); ++r) {
    if (texts[r] != texts[0]) differing += (differing.empty() ? "" : ", ") + std::to_string(r);
  }
  if (!differing.empty()) {
    throw UserError("the " + what + " of rank " + differing +
                    " differs from that of rank 0: start all ranks with the same program, "
                    "arguments and files");
  }
}

}  // namespace alpa
