#pragma once

#include <cstdint>

#include "alpa/device/device.hpp"

#include "common/element.hpp"
#include "common/letters.hpp"

namespace alpa::kernels {

/// Which slots the tokens of one launch were given: the integers [b s k] of kernels Dispatch,
/// Combine and GateGradient, and where token rows [b s e] and slot rows [x b c e] lie.
class Routing {
 public:
  /// @pre the pieces agree in the letters they share; s, k and c are whole
  Routing(const Piece& tokens, const Piece& slots, const Piece& expert, const Piece& slot)
      : expert_(integers(expert)), slot_(integers(slot)) {
    sizes_.add("bse", tokens);
    sizes_.add("xbce", slots);
    sizes_.add("bsk", expert);
    sizes_.add("bsk", slot);
  }

  [[nodiscard]] std::int64_t groups() const { return sizes_.extent('b'); }
  [[nodiscard]] std::int64_t group_tokens() const { return sizes_.extent('s'); }
  [[nodiscard]] std::int64_t choices() const { return sizes_.extent('k'); }
  [[nodiscard]] std::int64_t experts() const { return sizes_.extent('x'); }
  [[nodiscard]] std::int64_t capacity() const { return sizes_.extent('c'); }
  [[nodiscard]] std::int64_t width() const { return sizes_.extent('e'); }
  /// Rows of all tokens; token row s of group b is b * group_tokens() + s.
  [[nodiscard]] std::int64_t token_rows() const { return groups() * group_tokens(); }

  /// Row of [x b c] that holds the k-th choice of a token row, or -1 if it was dropped or its
  /// expert lies outside the box of x.
  [[nodiscard]] std::int64_t slot_row(std::int64_t token_row, std::int64_t k) const {
    const std::int64_t choice = token_row * choices() + k;
    const std::int64_t expert = expert_[choice] - sizes_.at('x').offset;
    const std::int64_t slot = slot_[choice];
    if (expert < 0 || expert >= experts() || slot < 0 || slot >= capacity()) return -1;
    return (expert * groups() + token_row / group_tokens()) * capacity() + slot;
  }

 private:
  const std::int32_t* expert_;
  const std::int32_t* slot_;
  Letters sizes_;
};

}  // namespace alpa::kernels
