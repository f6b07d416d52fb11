#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/runtime/executor.hpp"
#include "alpa/runtime/last_exit.hpp"

namespace alpa {

/// What one rank executed, as one element of the list `ranks` of exit.yaml. Each rank makes its own
/// and one rank gathers them as text.
/// @param steps that these figures are the sum of: those of this process, not of an earlier one
/// that
///        it goes on from, and no evaluation
/// @param memory bytes by MemoryClass, as ProgramTotals has them
[[nodiscard]] std::string rank_yaml(int rank, std::int64_t steps, const Executed& executed,
                                    std::span<const Bytes> memory);

/// exit.yaml: the record, then `ranks`.
[[nodiscard]] std::string exit_yaml(const ExitRecord& record, std::span<const std::string> ranks);

/// Writes exit.yaml durably. @throws SystemError (74)
void write_exit_yaml(const std::filesystem::path& run_directory, const ExitRecord& record,
                     std::span<const std::string> ranks);

}  // namespace alpa
