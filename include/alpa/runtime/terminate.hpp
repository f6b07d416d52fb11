#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace alpa {

/// What the terminate handler needs to know; replaced as more becomes known.
struct TerminateContext {
  int rank = 0;
  std::string host;
  std::filesystem::path run_directory;  ///< gets the exit record; may be empty
  std::function<std::string()> where;   ///< "train, step 20, ..."; may be empty
  std::function<std::int64_t()> step;   ///< updates done; may be empty
  std::function<void(int)> end;         ///< ends the job with that code (abort_all); may be empty
};

/// From now on an exception that nobody catches ends the job without unwinding: the first rank to
/// fail prints one message (rank, host, where, what; mistakes that every rank finds, before there
/// is a run directory, are left to rank 0) and the job ends with the exit code of the alpa::Error,
/// 71 for std::bad_alloc (with the memory in use), 70 for everything else. The second call replaces
/// the context. Does not return control: where `end` returns or is empty, std::_Exit.
void install_terminate_handler(TerminateContext context);

}  // namespace alpa
