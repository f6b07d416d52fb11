#pragma once

#include <stdexcept>
#include <string>

namespace alpa {

/// A line of source. Stands in for std::source_location, which clang 14 lacks.
struct SourceLine {
  const char* file;
  int line;

  static constexpr SourceLine here(const char* file = __builtin_FILE(),
                                   int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// What the process returns, and what a batch script may decide on.
enum class ExitCode : int {
  done = 0,
  usage = 64,             ///< command line
  bad_data = 65,
  input_missing = 66,
  no_plan = 69,           ///< no plan fits
  bug = 70,
  out_of_memory = 71,
  run_directory = 73,
  io = 74,
  rank_lost = 75,         ///< a rank was lost or hung: start again
  checkpoint = 76,        ///< invalid, or of another model
  configuration = 78,
  numerics = 79,          ///< NaN, loss scale
  stopped = 85,           ///< on request, after saving: start again
  no_progress = 93,       ///< over three restarts
};

/// Base of everything this project throws; carries the line that raised it and the exit code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& what, SourceLine where)
      : std::runtime_error(what), code_(code), where_(where) {}

  [[nodiscard]] ExitCode code() const noexcept { return code_; }
  [[nodiscard]] SourceLine where() const noexcept { return where_; }

 private:
  ExitCode code_;
  SourceLine where_;
};

/// The input is wrong: bad YAML, missing file, impossible option. The user can fix it.
class UserError : public Error {
 public:
  explicit UserError(const std::string& what, ExitCode code = ExitCode::configuration,
                     SourceLine where = SourceLine::here())
      : Error(code, what, where) {}
};

/// A plan that breaks its own rules or does not belong to this model and cluster.
class PlanError : public Error {
 public:
  explicit PlanError(const std::string& what, ExitCode code = ExitCode::configuration,
                     SourceLine where = SourceLine::here())
      : Error(code, what, where) {}
};

/// A library or the machine failed: MPI, NCCL, CUDA, HDF5, a full disk.
class SystemError : public Error {
 public:
  explicit SystemError(const std::string& what, ExitCode code = ExitCode::io,
                       SourceLine where = SourceLine::here())
      : Error(code, what, where) {}
};

/// Prints the broken condition and ends the process. Never returns.
[[noreturn]] void check_failed(const char* condition, SourceLine where);

}  // namespace alpa

/// Aborts if a fact that only a bug can break does not hold. Active in every build.
#define ALPA_CHECK(condition) \
  ((condition) ? void() : ::alpa::check_failed(#condition, ::alpa::SourceLine::here()))
