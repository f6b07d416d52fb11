#include "alpa/report/progress.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

namespace alpa {
namespace {

std::string format(const char* pattern, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), pattern, value);
  return text.data();
}

std::size_t width_of(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80U;
}

}  // namespace

std::string duration_text(Seconds seconds) {
  if (!std::isfinite(seconds.value) || seconds.value >= 1e15) return "-";
  const auto total = static_cast<long long>(std::max(0.0, std::round(seconds.value)));
  const auto days = total / 86400;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%lld:%02lld:%02lld", total / 3600 % 24, total / 60 % 60,
                total % 60);
  return (days > 0 ? std::to_string(days) + "d " : "") + text.data();
}

std::string evaluation_text(const EvaluationMetrics& e) {
  std::string text = format("%.4f", e.loss);
  if (e.accuracy) text += format("  accuracy %.1f %%", 100.0 * *e.accuracy);
  if (e.perplexity) text += format("  perplexity %.4g", *e.perplexity);
  if (e.bits_per_byte) text += format("  %.4g bits/byte", *e.bits_per_byte);
  return text;
}

std::string progress_text(const StepMetrics& m, std::int64_t steps, std::optional<double> peak,
                          Seconds seconds_left) {
  std::string text = "step " + std::to_string(m.step) + "/" + std::to_string(steps);
  text += format("  loss %.4f", m.loss) + format("  lr %.3g", m.lr);
  text += format("  norm %.3g", m.grad_norm);
  if (m.accuracy) text += format("  accuracy %.1f %%", 100.0 * *m.accuracy);
  if (m.evaluation) text += "  eval " + evaluation_text(*m.evaluation);
  if (m.skipped) text += "  (skipped)";
  text += "  ";
  if (m.predicted_step_time) {
    text += "predicted " + to_text(*m.predicted_step_time) + " vs measured ";
  }
  text += to_text(m.step_time) + "  " + with_prefix(m.rate);
  text += m.tokens ? " tokens/s" : " samples/s";
  text += peak && *peak > 0 ? format("  %.1f %% of peak", 100.0 * m.flops_per_second / *peak)
                            : "  n/a of peak";
  return text + "  " + to_text(m.memory) + "  left " + duration_text(seconds_left);
}

Progress::Progress(int fd, bool terminal, Warn warn)
    : fd_(fd), warn_(std::move(warn)), terminal_(terminal) {}

void Progress::update(const std::string& line) {
  if (!terminal_) return put(line + "\n");
  put("\r\x1b[K" + line.substr(0, width_of(fd_) - 1));
  open_line_ = true;
}

void Progress::print(const std::string& text) {
  put((std::exchange(open_line_, false) ? "\r\x1b[K" : "") + text + "\n");
}

void Progress::finish() {
  if (std::exchange(open_line_, false)) put("\n");
}

void Progress::put(const std::string& text) {
  std::size_t done = 0;
  while (!failed_ && done < text.size()) {
    const ssize_t written = ::write(fd_, text.data() + done, text.size() - done);
    if (written > 0) {
      done += static_cast<std::size_t>(written);
    } else if (written == 0 || errno != EINTR) {
      failed_ = true;
      if (warn_) {
        warn_(std::string("cannot write to stdout: ") + std::strerror(errno) +
              "; training goes on without progress lines");
      }
    }
  }
}

}  // namespace alpa
