#include "alpa/runtime/fault.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/storage/escape.hpp"

namespace alpa {
namespace {

enum class Deed : std::uint8_t { kill9, segv, abort, raise_error, stop, sleep, slow, oom, ask };

struct Fault {
  std::optional<int> rank;
  std::string at;
  Deed deed = Deed::kill9;
  FaultAction action = FaultAction::none;  ///< of Deed::ask
  double argument = 0.0;                   ///< seconds or factor
  bool happened = false;
};

constexpr std::string_view kExpected =
    "expected [rank=R;]at=POINT;do=DEED, several separated by commas, with POINT one of init, "
    "plan, "
    "load, finalize, step:N.{data,forward,backward,reduce,update}, "
    "checkpoint:N.{stage,write:K,fsync,rename,prune} and DEED one of kill9, segv, abort, throw, "
    "stop, sleep:SECONDS, slow:FACTOR, oom, nan, inf, bitflip, enospc, eio, shortwrite, badtoken";

constexpr std::array<std::pair<std::string_view, Deed>, 6> kDeeds{{
    {"kill9", Deed::kill9},
    {"segv", Deed::segv},
    {"abort", Deed::abort},
    {"throw", Deed::raise_error},
    {"stop", Deed::stop},
    {"oom", Deed::oom},
}};

constexpr std::array<std::pair<std::string_view, FaultAction>, 7> kActions{{
    {"nan", FaultAction::nan},
    {"inf", FaultAction::inf},
    {"bitflip", FaultAction::bit_flip},
    {"enospc", FaultAction::no_space},
    {"eio", FaultAction::io_error},
    {"shortwrite", FaultAction::short_write},
    {"badtoken", FaultAction::bad_token},
}};

[[noreturn]] void malformed(std::string_view found) {
  throw UserError("ALPA_FAULT: found \"" + printable(found) + "\"; " + std::string(kExpected),
                  ExitCode::usage);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_count(std::string_view text) {
  const auto value = number<std::int64_t>(text);
  return value && *value >= 1 && text.front() != '0';
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool is_point(std::string_view text) {
  if (is_one_of(text, {"init", "plan", "load", "finalize"})) return true;
  const std::size_t colon = text.find(':');
  const std::size_t dot = text.find('.');
  if (colon == std::string_view::npos || dot == std::string_view::npos || dot < colon) return false;
  const std::string_view kind = text.substr(0, colon);
  const std::string_view part = text.substr(dot + 1);
  if (!is_count(text.substr(colon + 1, dot - colon - 1))) return false;
  if (kind == "step") {
    return is_one_of(part, {"data", "forward", "backward", "reduce", "update"});
  }
  if (kind != "checkpoint") return false;
  if (part.starts_with("write:")) return is_count(part.substr(6));
  return is_one_of(part, {"stage", "fsync", "rename", "prune"});
}

bool set_deed(Fault& fault, std::string_view text) {
  for (const auto& [name, deed] : kDeeds) {
    if (text == name) {
      fault.deed = deed;
      return true;
    }
  }
  for (const auto& [name, action] : kActions) {
    if (text == name) {
      fault.deed = Deed::ask;
      fault.action = action;
      return true;
    }
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view name = text.substr(0, colon);
  const auto argument = number<double>(text.substr(colon + 1));
  if (!is_one_of(name, {"sleep", "slow"}) || !argument) return false;
  fault.deed = name == "sleep" ? Deed::sleep : Deed::slow;
  fault.argument = *argument;
  return fault.argument >= (name == "sleep" ? 0.0 : 1.0) && fault.argument < 1e9;
}

Fault parse_fault(std::string_view text) {
  Fault fault;
  bool has_deed = false;
  for (const std::string_view field : split(text, ';')) {
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos) malformed(field.empty() ? text : field);
    const std::string_view key = field.substr(0, equals);
    const std::string_view value = field.substr(equals + 1);
    if (key == "rank" && !fault.rank) {
      fault.rank = number<int>(value);
      if (!fault.rank || *fault.rank < 0) malformed(field);
    } else if (key == "at" && fault.at.empty() && is_point(value)) {
      fault.at = value;
    } else if (key == "do" && !has_deed && set_deed(fault, value)) {
      has_deed = true;
    } else {
      malformed(field);
    }
  }
  if (fault.at.empty() || !has_deed) malformed(text);
  return fault;
}

double thread_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void sleep_for(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// A real allocation that no machine can serve; volatile, or the compiler leaves it out.
void run_out_of_memory() {
  volatile std::size_t size = std::size_t{1} << 62U;
  void* volatile block = ::operator new(size);
  ::operator delete(block);
}

void send_self(int signal) { ::kill(::getpid(), signal); }

}  // namespace

std::string to_string(FaultAction action) {
  for (const auto& [name, value] : kActions) {
    if (value == action) return std::string(name);
  }
  return "none";
}

struct FaultPlan::State {
  std::mutex mutex;
  std::vector<Fault> faults;
  std::optional<int> rank;
  std::map<std::int64_t, int> writes;  ///< of each step's checkpoint so far
  double slow_factor = 1.0;
  std::thread::id slow_thread;
  double slow_since = 0.0;  ///< CPU seconds of that thread

  [[nodiscard]] Fault* find(std::string_view point) {
    for (Fault& fault : faults) {
      const bool mine = !fault.rank || fault.rank == rank;
      if (mine && !fault.happened && fault.at == point) return &fault;
    }
    return nullptr;
  }

  /// The slow thread's own work counts, not its waiting for others: else delays would add up.
  double slow_delay() {
    if (slow_factor <= 1.0 || slow_thread != std::this_thread::get_id()) return 0.0;
    const double now = thread_cpu_seconds();
    return (slow_factor - 1.0) * (now - std::exchange(slow_since, now));
  }

  void begin_slow(double factor) {
    slow_factor = factor;
    slow_thread = std::this_thread::get_id();
    slow_since = thread_cpu_seconds();
  }

  FaultAction perform(const Fault& fault) {
    switch (fault.deed) {
      case Deed::kill9:
        send_self(SIGKILL);
        break;
      case Deed::segv:
        std::signal(SIGSEGV, SIG_DFL);
        send_self(SIGSEGV);
        break;
      case Deed::abort:
        std::abort();
      case Deed::raise_error:
        throw Error(ExitCode::bug, "injected fault at " + fault.at, SourceLine::here());
      case Deed::stop:
        send_self(SIGSTOP);
        break;
      case Deed::sleep:
        sleep_for(fault.argument);
        break;
      case Deed::slow:
        break;  // begun where the fault was found
      case Deed::oom:
        run_out_of_memory();
        break;
      case Deed::ask:
        return fault.action;
    }
    return FaultAction::none;
  }
};

FaultPlan::FaultPlan(std::string_view text) : state_(std::make_shared<State>()) {
  for (const std::string_view part : split(text, ',')) {
    state_->faults.push_back(parse_fault(part));
  }
}

FaultPlan FaultPlan::from_environment() {
  const char* text = std::getenv("ALPA_FAULT");
  return text == nullptr || *text == '\0' ? FaultPlan{} : FaultPlan(text);
}

void FaultPlan::set_rank(int rank) {
  if (!state_) return;
  const std::lock_guard held(state_->mutex);
  state_->rank = rank;
}

bool FaultPlan::due(std::string_view point) const {
  if (!state_) return false;
  const std::lock_guard held(state_->mutex);
  return state_->find(point) != nullptr;
}

FaultAction FaultPlan::reach(std::string_view point) {
  if (!state_) return FaultAction::none;
  std::optional<Fault> fault;
  double delay = 0.0;
  {
    const std::lock_guard held(state_->mutex);
    delay = state_->slow_delay();
    if (Fault* found = state_->find(point)) {
      found->happened = true;
      fault = *found;
      if (fault->deed == Deed::slow) state_->begin_slow(fault->argument);
    }
  }
  if (delay > 0.0) sleep_for(delay);
  return fault ? state_->perform(*fault) : FaultAction::none;
}

FaultAction FaultPlan::reach_step(std::int64_t step, std::string_view part) {
  if (!state_) return FaultAction::none;
  return reach("step:" + std::to_string(step) + "." + std::string(part));
}

IoHook FaultPlan::checkpoint_hook(std::int64_t step) const {
  if (!state_) return {};
  return [plan = *this, step](std::string_view call) mutable {
    std::string point = "checkpoint:" + std::to_string(step) + "." + std::string(call);
    if (call == "write") {
      const std::lock_guard held(plan.state_->mutex);
      point += ":" + std::to_string(++plan.state_->writes[step]);
    }
    switch (plan.reach(point)) {
      case FaultAction::no_space:
        return IoFault::no_space;
      case FaultAction::io_error:
        return IoFault::io_error;
      case FaultAction::short_write:
        return IoFault::short_write;
      case FaultAction::bit_flip:
        return IoFault::bit_flip;
      case FaultAction::none:
      case FaultAction::nan:
      case FaultAction::inf:
      case FaultAction::bad_token:
        break;
    }
    return IoFault::none;
  };
}

}  // namespace alpa
