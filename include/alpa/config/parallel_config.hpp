#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "alpa/base/recompute.hpp"
#include "alpa/base/units.hpp"
#include "alpa/config/value_types.hpp"

namespace alpa {

enum class Method : std::uint8_t {
  automatic,
  data,
  zero1,
  zero2,
  zero3,
  megatron,
  intra_only,
  inter_only,
  pipedream,
  heuristic,
  plan,
};
enum class PipelineSchedule : std::uint8_t {
  automatic,
  gpipe,
  one_forward_one_backward,
  interleaved,
  zero_bubble,
};

struct SearchConfig {
  Seconds seconds{60.0};
  std::optional<std::int64_t> nodes;
  friend bool operator==(const SearchConfig&, const SearchConfig&) = default;
};

/// Forwards before the first backward of each stage s of S under 1F1B: S - s, 2(S - s) - 1, or a
/// list.
struct LeastDepth {
  friend bool operator==(const LeastDepth&, const LeastDepth&) = default;
};
struct MostDepth {
  friend bool operator==(const MostDepth&, const MostDepth&) = default;
};
using WarmUpDepth = std::variant<LeastDepth, MostDepth, std::vector<std::int64_t>>;
/// "least", "most", "[3, 1]"
[[nodiscard]] std::string to_string(const WarmUpDepth& depth);

/// nullopt stands for `auto`, except in `plan`, where it is `none`.
struct ParallelConfig {
  Method method = Method::automatic;
  std::optional<std::string> plan;   ///< file; exactly with method plan
  std::optional<std::int64_t> data;  ///< degrees; with method megatron only
  std::optional<std::int64_t> tensor;
  std::optional<std::int64_t> pipeline;
  std::optional<std::int64_t> microbatches;  ///< divides training.global_batch
  std::optional<std::int64_t> stages;
  std::optional<std::vector<std::int64_t>> logical_mesh;  ///< one or two extents
  PipelineSchedule schedule = PipelineSchedule::automatic;
  std::optional<std::int64_t> chunks_per_stage;              ///< only with schedule interleaved
  std::optional<WarmUpDepth> warm_up;                        ///< only with schedule 1f1b
  std::optional<Recompute> recompute;                        ///< of every layer
  std::vector<std::pair<std::string, std::string>> layouts;  ///< operator name glob, strategy
  std::optional<Bytes> memory_limit;                         ///< per device
  SearchConfig search;
  friend bool operator==(const ParallelConfig&, const ParallelConfig&) = default;
};

[[nodiscard]] std::span<const EnumName<Method>> names_of(Method);
[[nodiscard]] std::span<const EnumName<PipelineSchedule>> names_of(PipelineSchedule);
[[nodiscard]] std::span<const EnumName<Recompute>> names_of(Recompute);

}  // namespace alpa
