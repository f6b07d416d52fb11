#include "kernel_times.hpp"

#include <algorithm>
#include <optional>

#include "team.hpp"

namespace alpa::probe_detail {
namespace {

constexpr double kWindow = 2e-4;  ///< seconds of launches that one measurement times together
constexpr int kMostLaunches = 64;
constexpr int kRepeats = 5;
constexpr double kShare = 4.0;  ///< of an equal part of the time that one series may take
/// Seconds: what took less says little about what larger samples take, least on a busy host.
constexpr double kShort = 1e-2;

/// Times one kernel again and again. What runs beside the probe only adds to time on the wall, so
/// there the least of several is taken; of processor time, the median.
class Stopwatch {
 public:
  Stopwatch(Budget& budget, Device& device, WorkingSet& memory, bool processor_time)
      : budget_(budget), device_(device), memory_(memory), processor_time_(processor_time) {}

  /// Seconds of the second launch or so on this rank: the first has what happens only once.
  double quick(const Sample& sample) {
    double least = run(sample, 1);
    const double first = budget_.agree(least);
    const int more = first < kShort ? 2 : first < budget_.left() ? 1 : 0;
    for (int i = 0; i < more; ++i) least = std::min(least, run(sample, 1));
    slowest_ = budget_.agree(least);
    return least;
  }

  /// Seconds of a launch on this rank, with more care; `slowest` as of the quick look at it.
  double careful(const Sample& sample, double slowest) {
    const int launches =
        static_cast<int>(std::clamp(kWindow / slowest, 1.0, double(kMostLaunches)));
    std::vector<double> times;
    while (std::ssize(times) < kRepeats && (times.empty() || budget_.left() > 0.0)) {
      times.push_back(run(sample, launches));
      (void)budget_.agree(0.0);
    }
    if (processor_time_) return median(std::move(times));
    return *std::min_element(times.begin(), times.end());
  }

  /// Time of the last quick look on the slowest rank.
  [[nodiscard]] double slowest() const { return slowest_; }
  [[nodiscard]] double left() const { return budget_.left(); }

 private:
  double run(const Sample& sample, int launches) {
    const double start = clock_seconds(processor_time_);
    for (int i = 0; i < launches; ++i) memory_.launch(sample);
    device_.synchronize();
    return std::max(clock_seconds(processor_time_) - start, 1e-9) / launches;
  }

  Budget& budget_;
  Device& device_;
  WorkingSet& memory_;
  bool processor_time_;
  double slowest_ = 0.0;
};

/// The largest sample after `last` of `size` for which there is time, should time grow with work;
/// after a short one, at least the next. Nothing: `last` is the end.
std::optional<std::size_t> next_of(const SampleSeries& series, std::size_t last, std::size_t size,
                                   const Stopwatch& watch) {
  for (std::size_t i = size - 1; i > last; --i) {
    const double growth = work_of_sample(series, i) / work_of_sample(series, last);
    if (3.0 * watch.slowest() * growth < watch.left()) return i;
  }
  if (last + 1 < size && watch.slowest() < kShort) return last + 1;
  return std::nullopt;
}

/// Goes up to the largest sample in large steps, so that whatever happens later the table's end is
/// measured, and down again with more care while time is left.
/// @param cut set if there was no time for the largest
std::vector<double> series_times(const SampleSeries& series, Stopwatch& watch,
                                 const WorkingSet& memory, bool& cut) {
  std::vector<double> times(series.samples.size(), 0.0), slowest(times);
  std::size_t size = 0;
  while (size < times.size() && memory.fits(series.samples[size])) ++size;
  std::optional<std::size_t> at;
  if (size > 0) at = 0;
  std::size_t top = 0;
  while (at) {
    top = *at;
    times[top] = watch.quick(series.samples[top]);
    slowest[top] = watch.slowest();
    at = next_of(series, top, size, watch);
  }
  cut |= top + 1 < size;
  double above = size > 0 ? slowest[top] : 0.0;  // larger work takes no less
  for (std::size_t i = size > 0 ? top + 1 : 0; i-- > 0 && watch.left() > 0.0;) {
    if (slowest[i] > 0.0) above = std::min(above, slowest[i]);
    times[i] = watch.careful(series.samples[i], above);
  }
  return times;
}

}  // namespace

KernelTimes kernel_times(const std::vector<SampleSeries>& all, Communicator& team, Device& device,
                         WorkingSet& memory, bool processor_time, double seconds,
                         const std::function<void(double share)>& progress) {
  for (const SampleSeries& series : all) {  // what libraries set up only once
    if (memory.fits(series.samples.front())) memory.launch(series.samples.front());
  }
  device.synchronize();
  Budget budget(team, seconds, all.size(), processor_time);
  Stopwatch watch(budget, device, memory, processor_time);
  KernelTimes measured;
  for (const SampleSeries& series : all) {
    if (progress)
      progress(static_cast<double>(measured.seconds.size()) / static_cast<double>(all.size()));
    budget.next(kShare);
    measured.seconds.push_back(series_times(series, watch, memory, measured.cut));
  }
  return measured;
}

}  // namespace alpa::probe_detail
