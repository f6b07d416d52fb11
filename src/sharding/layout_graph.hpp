#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/cluster/mesh.hpp"
#include "alpa/sharding/redistribution.hpp"
#include "alpa/sharding/sharding_spec.hpp"

namespace alpa {

/// What a move costs: `charges` times the charge, and bytes.
struct MoveCost {
  double charges = 0.0, bytes = 0.0;
  [[nodiscard]] double at(double charge) const { return charge * charges + bytes; }
};

/// @param n devices of a group  @param before, after bytes of the largest pieces
[[nodiscard]] MoveCost cost_of(Move::Kind kind, double n, double before, double after);

/// Bytes of the largest of `parts` pieces of `elements`, which differ by at most one.
[[nodiscard]] double ceiling_share(std::int64_t elements, std::int64_t parts);

/// Layouts of one tensor on one mesh without margins, as numbered places, and the moves between
/// them but margins, as arcs. Both are found when they are first asked for.
class LayoutGraph {
 public:
  static constexpr int kNowhere = -1;

  struct Arc {
    MoveCost cost;
    int before = kNowhere, after = kNowhere;
    int from_dim = -1, to_dim = -1;
    std::uint16_t axes = 0;  ///< a bit each
    Move::Kind kind = Move::Kind::slice;
  };
  struct Range {
    int begin = 0, end = 0;
  };

  LayoutGraph(Shape shape, DType dtype, DeviceMesh mesh);

  /// @pre the layout has no margins
  [[nodiscard]] int place_of(const ShardingSpec& spec);
  [[nodiscard]] std::size_t num_places() const { return places_.size(); }
  /// Whether the layout of one place comes before that of another.
  [[nodiscard]] bool is_before(int place, int other) const;

  [[nodiscard]] const Arc& arc(int number) const { return arcs_[static_cast<std::size_t>(number)]; }
  [[nodiscard]] Move move(const Arc& arc) const;
  /// Arcs that may lead to any target.
  [[nodiscard]] Range arcs_from(int place);
  /// What a layout is that others are not, by number: where it has which axis. Slices and masks
  /// may work towards it.
  [[nodiscard]] const std::vector<int>& features(int place) const;
  /// A free move of an axis over which the value is whole, to where a feature has it; kNowhere:
  /// there is none.
  [[nodiscard]] int arc_towards(int place, int feature);

 private:
  /// A layout as a string: for each dimension its axes + 1 and a 0, then the partial axes + 1, a 0
  /// and the kind of partial value. Strings compare as the layouts do. Example: [S1,R]+P0 is
  /// 2 0 0 1 0 0.
  using Code = std::string;
  static constexpr int kUnknown = -2;
  static constexpr std::size_t kMostAxes = 16;
  static constexpr std::size_t kMostSegments = 16;

  struct Place {
    Code code;
    double bytes = 0.0;  ///< of the largest piece; negative: some piece would be empty
    Range arcs{.begin = kUnknown};
    std::vector<int> towards;   ///< [feature] the arc
    std::vector<int> features;  ///< axis a in segment s of the code: s * number of axes + a
  };

  static char letter(MeshAxis axis) { return static_cast<char>(axis + 1); }
  static MeshAxis axis_of(char letter) { return static_cast<MeshAxis>(letter) - 1; }
  [[nodiscard]] Place& at(int place) { return places_[static_cast<std::size_t>(place)]; }
  [[nodiscard]] const Place& at(int place) const {
    return places_[static_cast<std::size_t>(place)];
  }
  [[nodiscard]] int place_of(Code code);
  [[nodiscard]] ShardingSpec spec_of(int place) const;
  [[nodiscard]] double bytes_of_piece(const Code& code) const;
  [[nodiscard]] std::vector<int> features_of(const Code& code) const;
  void look_at(int place);
  [[nodiscard]] std::size_t end_of(std::size_t segment) const { return begins_[segment + 1] - 1; }
  [[nodiscard]] Code axes_of(std::size_t segment) const;
  [[nodiscard]] Code changed(const Code& partial, std::size_t dim, const Code& more) const;
  void add(Move::Kind kind, const Code& axes, int from_dim, int to_dim, Code after);
  void resolve_partial();
  void gather_and_exchange();
  void cut_or_mask(std::size_t segment, char axis);

  Shape shape_;
  double element_;  ///< bytes
  DeviceMesh mesh_;
  std::unordered_map<Code, int> numbers_;  ///< of places
  std::vector<Place> places_;
  std::vector<Arc> arcs_;
  // The place whose neighbours are being found:
  int here_ = kNowhere;
  Code code_;
  std::array<std::size_t, kMostSegments> begins_{};  ///< of each segment of the code, and the kind
};

}  // namespace alpa
