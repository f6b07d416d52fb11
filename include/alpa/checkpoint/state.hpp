#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"

namespace alpa {

/// One tensor of the training state, as a whole, whatever the plan: a parameter, an optimizer
/// moment, a running statistic.
struct StateTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;

  friend bool operator==(const StateTensor&, const StateTensor&) = default;
};

/// A box of a tensor, by its index in the list of tensors that all ranks share.
struct StatePiece {
  std::int32_t tensor = 0;
  Box box;

  friend bool operator==(const StatePiece&, const StatePiece&) = default;
};

/// What a whole checkpoint is of. `run_state` holds small facts by name: position in the data,
/// optimizer's step count, loss scale.
struct CheckpointInfo {
  std::int64_t step = 0;  ///< updates done
  std::string model;      ///< fingerprint of what must be the same to go on
  std::map<std::string, std::string> run_state;
  std::vector<StateTensor> tensors;

  friend bool operator==(const CheckpointInfo&, const CheckpointInfo&) = default;
};

/// One file of a checkpoint. `pieces` is empty for state.h5.
struct StateFile {
  std::string name;
  std::uint64_t size = 0;
  std::string sha256;
  std::vector<StatePiece> pieces;

  friend bool operator==(const StateFile&, const StateFile&) = default;
};

/// Text of a file record, to be sent to the rank that publishes, and back.
/// @throws UserError (76) if the text is not one record
[[nodiscard]] std::string to_text(const StateFile& file);
[[nodiscard]] StateFile state_file_from_text(std::string_view text);

/// "step_00001000"
[[nodiscard]] std::string checkpoint_name(std::int64_t step);

/// Throws if the pieces of the files do not cover every tensor exactly once.
/// @throws UserError (76) naming the tensor and the boxes
void check_coverage(const std::vector<StateTensor>& tensors, const std::vector<StateFile>& files);

}  // namespace alpa
