#include "alpa/runtime/terminate.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/runtime/last_exit.hpp"
#include "alpa/storage/escape.hpp"

namespace alpa {
namespace {

/// One per process, as the handler is; never destroyed, since a failure may come while main
/// returns.
struct Handler {
  std::mutex mutex;
  TerminateContext context;
};
Handler& handler() {
  static auto* const made = new Handler;
  return *made;
}

struct Failure {
  ExitCode code = ExitCode::bug;
  std::string what;
};

/// "1234 kB" from /proc, or empty.
std::string memory_in_use() {
  std::ifstream status("/proc/self/status");
  constexpr std::string_view key = "VmRSS:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return line.substr(line.find_first_not_of(" \t", key.size()));
  }
  return "";
}

Failure failure_in_flight() {
  const std::exception_ptr error = std::current_exception();
  if (!error) return {ExitCode::bug, "the program ended itself without an exception (a bug)"};
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return {e.code(), e.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::out_of_memory,
            "out of host memory, with " + memory_in_use() + " in use by this process"};
  } catch (const std::exception& e) {
    return {ExitCode::bug, std::string("unexpected: ") + e.what() + " (a bug)"};
  } catch (...) {
    return {ExitCode::bug, "an exception of unknown type (a bug)"};
  }
}

void say(const std::string& text) {
  // stderr may be gone; there is nowhere else to say so
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

/// Messages of configuration errors have lines of their own.
std::string printable_lines(std::string_view text) {
  std::string out;
  for (;;) {
    const std::size_t end = text.find('\n');
    out += printable(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string message(const TerminateContext& context, const Failure& failure,
                    const std::string& where) {
  std::string text = "alpa: error on rank " + std::to_string(context.rank);
  if (!context.host.empty()) text += ", host " + printable(context.host);
  if (!where.empty()) text += " (" + printable(where) + ")";
  return text + ": " + printable_lines(failure.what) + "\n";
}

/// Mistakes that every rank finds in what all of them read.
bool is_common(ExitCode code) {
  return code == ExitCode::usage || code == ExitCode::configuration || code == ExitCode::no_plan;
}

/// Whether this rank is the one to speak. The others give it a second, in which it ends the job.
bool speaks(const TerminateContext& context, const Failure& failure, std::int64_t step) {
  const auto silence = std::chrono::seconds(1);
  if (context.run_directory.empty()) {
    if (context.rank > 0 && is_common(failure.code)) std::this_thread::sleep_for(silence);
    return true;
  }
  const bool first = record_exit(context.run_directory, {.code = static_cast<int>(failure.code),
                                                         .reason = failure.what,
                                                         .step = step,
                                                         .rank = context.rank});
  if (!first) std::this_thread::sleep_for(silence);
  return first;
}

[[noreturn]] void on_terminate() {
  // A second failure while the first is being told (another thread's, or the handler's own).
  static std::atomic_flag entered;
  if (entered.test_and_set()) {
    std::this_thread::sleep_for(std::chrono::seconds(5));
    std::_Exit(static_cast<int>(ExitCode::bug));
  }
  const Failure failure = failure_in_flight();
  TerminateContext context;
  {
    const std::lock_guard held(handler().mutex);
    context = handler().context;
  }
  const std::string where = context.where ? context.where() : "";
  const std::int64_t step = context.step ? context.step() : 0;
  const int code = static_cast<int>(failure.code);
  if (speaks(context, failure, step)) say(message(context, failure, where));
  if (context.end) context.end(code);
  std::_Exit(code);
}

}  // namespace

void install_terminate_handler(TerminateContext context) {
  const std::lock_guard held(handler().mutex);
  handler().context = std::move(context);
  std::set_terminate(on_terminate);
}

}  // namespace alpa
