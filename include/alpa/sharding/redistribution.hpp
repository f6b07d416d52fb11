#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/cluster/mesh.hpp"
#include "alpa/sharding/sharding_spec.hpp"

namespace alpa {

/// One move of a redistribution.
///
/// Example on 2 devices, [4] elements:
///     all_reduce      +P0 (1,1,1,1 | 2,2,2,2)  ->  R   (3,3,3,3 | 3,3,3,3)
///     reduce_scatter  +P0 (1,1,1,1 | 2,2,2,2)  ->  S0  (3,3 | 3,3)
///     all_gather      S0  (1,2 | 3,4)          ->  R   (1,2,3,4 | 1,2,3,4)
///     slice           R   (1,2,3,4 | 1,2,3,4)  ->  S0  (1,2 | 3,4)       no traffic
///     to_partial      R   (1,2,3,4 | 1,2,3,4)  ->  +P0 (1,2,3,4 | 0,0,0,0)  no traffic
/// all_to_all moves a split from one dimension to another; margins fetches the elements beyond the
/// pieces from the devices that hold them, by an all-to-all of those elements alone.
struct Move {
  enum class Kind : std::uint8_t {
    all_reduce,
    reduce_scatter,
    all_gather,
    all_to_all,
    slice,
    to_partial,
    margins
  } kind = Kind::slice;
  std::vector<MeshAxis> axes;  ///< ascending; the group of the collective
  int from_dim = -1;           ///< of all_gather and all_to_all
  int to_dim = -1;             ///< of reduce_scatter, all_to_all and slice
  ShardingSpec before, after;
  friend bool operator==(const Move&, const Move&) = default;
};

[[nodiscard]] std::string to_string(Move::Kind kind);

/// The cheapest sequence of moves from one layout to another; empty if they are equal. Margins are
/// made last. Cost: bytes
/// that a ring sends per device plus a fixed charge per collective (see move_cost); ties are
/// broken by the layouts' order, so the answer is the same everywhere.
/// @pre both fit the mesh; where `from` has margins, `to` has the same and differs in its partial
/// axes only; a partial maximum is only ever resolved, never made.
[[nodiscard]] std::vector<Move> redistribution(const Shape& shape, DType dtype,
                                               const ShardingSpec& from, const ShardingSpec& to,
                                               const DeviceMesh& mesh);

/// The redistributions of one tensor on one mesh, for those who ask for many: layouts and moves are
/// numbered and remembered. One thread at a time.
class Redistributions {
 public:
  Redistributions(const Shape& shape, DType dtype, const DeviceMesh& mesh);
  ~Redistributions();

  /// Number of a layout.  @pre it fits the mesh
  [[nodiscard]] int number(const ShardingSpec& spec);
  /// Numbers of the moves of `redistribution` between two layouts that have numbers.
  /// @param charge times the fixed charge of a move, at least 1: what is chosen for a tensor in so
  /// many equal parts
  /// @return valid until the next call
  [[nodiscard]] const std::vector<int>& path(int from, int to, double charge = 1.0);
  [[nodiscard]] Move move(int number) const;
  [[nodiscard]] Move::Kind kind(int move) const;

 private:
  class Search;
  std::unique_ptr<Search> search_;
};

/// Bytes that one device sends in the move, with the ring algorithm, for the largest piece;
/// a slice costs a hundredth of its bytes, a collective 4096 bytes more than it sends.
[[nodiscard]] double move_cost(const Shape& shape, DType dtype, const Move& move,
                               const DeviceMesh& mesh);

}  // namespace alpa
