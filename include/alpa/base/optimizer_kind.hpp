#pragma once

#include <cstdint>

namespace alpa {

/// Update rules: what a configuration names and a kernel does.
enum class OptimizerKind : std::uint8_t { sgd, momentum, adam, adamw, adafactor, lamb };

}  // namespace alpa
