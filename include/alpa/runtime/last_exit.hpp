#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace alpa {

/// The head of exit.yaml: why a run ended.
struct ExitRecord {
  int code = 0;  ///< an ExitCode
  std::string reason;
  std::int64_t step = 0;  ///< updates done
  int rank = 0;           ///< that it is about
  friend bool operator==(const ExitRecord&, const ExitRecord&) = default;
};

/// Four lines of YAML; the reason as a JSON string.
[[nodiscard]] std::string to_yaml(const ExitRecord& record);
/// Reads what to_yaml wrote at the start of the text; nullopt for anything else.
[[nodiscard]] std::optional<ExitRecord> parse_exit_record(std::string_view text);

/// Writes exit.yaml for an abnormal end unless another rank has: true for the one rank that did,
/// which also is to speak on stderr. A folder that cannot be written gives true as well.
bool record_exit(const std::filesystem::path& run_directory, const ExitRecord& record) noexcept;

/// How the run before this one ended.
struct LastExit {
  enum class Kind : std::uint8_t {
    none,        ///< there was none
    orderly,     ///< done, or stopped on request after saving
    terminated,  ///< all ranks ended by SIGTERM or SIGINT, or it never came to training
    failed,      ///< an error or a hang, or a rank was lost
  };
  Kind kind = Kind::none;
  std::string cause;  ///< for people; "rank 2 on host a was lost: train, step 20, ..."
};
/// From exit.yaml, else from the heartbeats: a rank whose heartbeat is neither done nor terminated,
/// while those of the others are, was lost.
[[nodiscard]] LastExit cause_of_last_exit(const std::filesystem::path& run_directory);

/// Call on one rank at the start, under the run directory's lock, before any heartbeat is written:
/// counts starts that follow a failure without a later checkpoint than the failed run had
/// (`resumed_step`; 0 without one) in the file `restarts`, then clears exit.yaml and the heartbeats
/// for this run. Returns how the last run ended.
/// @throws UserError (93) with the causes for the third such start
/// @throws SystemError (74) if the files cannot be written
LastExit note_start(const std::filesystem::path& run_directory, std::int64_t resumed_step);

}  // namespace alpa
