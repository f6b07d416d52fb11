#include "alpa/report/metrics.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

constexpr std::size_t kLongest = 65536;  ///< bytes of a line; ours have some hundreds
constexpr std::string_view kFirstKey = "{\"step\":";

/// JSON has no word for what is not finite.
std::string json_number(double value) { return std::isfinite(value) ? shortest(value) : "null"; }

/// Step of a whole line, or -1 for what to_json did not write.
std::int64_t step_of(std::string_view line) {
  if (!line.starts_with(kFirstKey) || !line.ends_with('}')) return -1;
  std::int64_t step = -1;
  const auto [end, error] =
      std::from_chars(line.data() + kFirstKey.size(), line.data() + line.size(), step);
  return error == std::errc() && *end == ',' ? step : -1;
}

/// Bytes up to which the file holds whole lines of ascending steps, none above `last`.
class KeptLines {
 public:
  explicit KeptLines(std::int64_t last) : last_(last) {}

  /// False once a line is not to be kept.
  bool take(std::string_view bytes) {
    for (const char c : bytes) {
      if (c != '\n') {
        if (line_.size() == kLongest) return false;
        line_ += c;
        continue;
      }
      const std::int64_t step = step_of(line_);
      if (step <= previous_ || step > last_) return false;
      previous_ = step;
      size_ += static_cast<std::int64_t>(line_.size()) + 1;
      line_.clear();
    }
    return true;
  }
  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  std::int64_t last_;
  std::int64_t previous_ = 0;
  std::int64_t size_ = 0;
  std::string line_;
};

/// Size of what to keep of the file; -1 with errno if it cannot be read.
std::int64_t kept_size(int fd, std::int64_t last) {
  KeptLines kept(last);
  std::array<char, 65536> block{};
  for (;;) {
    const ssize_t got = ::read(fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    const bool more = kept.take({block.data(), static_cast<std::size_t>(got)});
    if (got == 0 || !more) return kept.size();
  }
}

}  // namespace

std::string to_json(const StepMetrics& m) {
  std::string text = std::string(kFirstKey) + std::to_string(m.step);
  const auto add = [&](std::string_view key, const std::string& value) {
    text += ",\"" + std::string(key) + "\":" + value;
  };
  add("loss", json_number(m.loss));
  add("lr", json_number(m.lr));
  add("grad_norm", json_number(m.grad_norm));
  add("step_time", json_number(m.step_time.value));
  add(m.tokens ? "tokens_per_second" : "samples_per_second", json_number(m.rate));
  add("flops_per_second", json_number(m.flops_per_second));
  add("memory", std::to_string(m.memory.value));
  add("predicted_step_time",
      m.predicted_step_time ? json_number(m.predicted_step_time->value) : "null");
  add("skipped", m.skipped ? "true" : "false");
  if (m.loss_scale) add("loss_scale", json_number(*m.loss_scale));
  const auto add_known = [&](std::string_view key, const std::optional<double>& value) {
    if (value) add(key, json_number(*value));
  };
  add_known("accuracy", m.accuracy);
  if (m.evaluation) {
    add("eval_loss", json_number(m.evaluation->loss));
    add_known("eval_accuracy", m.evaluation->accuracy);
    add_known("eval_perplexity", m.evaluation->perplexity);
    add_known("eval_bits_per_byte", m.evaluation->bits_per_byte);
  }
  return text + "}";
}

MetricsWriter::MetricsWriter(std::filesystem::path path, std::int64_t resumed_step, Warn warn)
    : path_(std::move(path)), warn_(std::move(warn)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    fail("cannot open", errno);
    return;
  }
  size_ = kept_size(fd_, resumed_step);
  if (size_ < 0 || ::ftruncate(fd_, size_) != 0) {
    fail("cannot continue", errno);
    ::close(std::exchange(fd_, -1));
  }
}

MetricsWriter::~MetricsWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void MetricsWriter::write(const StepMetrics& metrics) {
  if (fd_ < 0) return;
  const std::string line = to_json(metrics) + "\n";
  errno = 0;
  if (::pwrite(fd_, line.data(), line.size(), size_) == static_cast<ssize_t>(line.size())) {
    size_ += static_cast<std::int64_t>(line.size());
    return;
  }
  const int error = errno == 0 ? ENOSPC : errno;
  if (::ftruncate(fd_, size_) != 0 && !warned_) fail("cannot cut the torn line of", errno);
  fail("cannot write", error);
}

void MetricsWriter::sync() {
  if (fd_ >= 0 && ::fdatasync(fd_) != 0 && errno != EINVAL) fail("cannot sync", errno);
}

void MetricsWriter::fail(const std::string& what, int error_number) {
  if (std::exchange(warned_, true)) return;
  if (warn_)
    warn_(io_message(what, path_, error_number) + "; training goes on without those lines");
}

}  // namespace alpa
