#include "kernel_times.hpp"

#include <algorithm>
#include <ctime>

#include "team.hpp"

namespace alpa::probe_detail {
namespace {

constexpr double kWindow = 2e-4;  ///< seconds of launches that one measurement times together
constexpr int kMostLaunches = 64;
constexpr int kRepeats = 3;
constexpr double kShare = 4.0;  ///< of an equal part of the time that one series may take

/// Times one kernel again and again.
class Stopwatch {
 public:
  Stopwatch(Budget& budget, Device& device, WorkingSet& memory, bool processor_time)
      : budget_(budget), device_(device), memory_(memory), processor_time_(processor_time) {}

  /// Seconds of a launch on this rank: within half of the time left, or two launches.
  double time(const Sample& sample) {
    const double seconds = 0.5 * budget_.left();
    const double first = run(sample, 1);  // with what happens only once
    slowest_ = budget_.agree(first);
    if (slowest_ > seconds) return first;
    const double second = run(sample, 1);
    slowest_ = budget_.agree(second);
    const int launches =
        static_cast<int>(std::clamp(kWindow / slowest_, 1.0, double(kMostLaunches)));
    const double end = budget_.left() - seconds;
    std::vector<double> times;
    while (std::ssize(times) < kRepeats && (times.empty() || budget_.left() > end)) {
      times.push_back(run(sample, launches));
      (void)budget_.agree(0.0);
    }
    return median(std::move(times));
  }

  /// Time of the last kernel on the slowest rank.
  [[nodiscard]] double slowest() const { return slowest_; }

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

double work(const SampleSeries& series, std::size_t i) {
  const KernelWork& w = series.samples[i].work;
  return series.by_flops ? w.flops.value : static_cast<double>(w.moved.value);
}

/// Goes up the series until the next sample would take more than is left.
std::vector<double> series_times(const SampleSeries& series, Stopwatch& watch,
                                 const WorkingSet& memory, const Budget& budget) {
  std::vector<double> times(series.samples.size(), 0.0);
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (!memory.fits(series.samples[i])) break;
    const double growth = i > 0 ? work(series, i) / work(series, i - 1) : 1.0;
    if (i > 0 && 2.0 * watch.slowest() * growth > budget.left()) break;
    times[i] = watch.time(series.samples[i]);
  }
  return times;
}

}  // namespace

std::vector<std::vector<double>> kernel_times(const std::vector<SampleSeries>& all,
                                              Communicator& team, Device& device,
                                              WorkingSet& memory, bool processor_time,
                                              double seconds,
                                              const std::function<void(double share)>& progress) {
  for (const SampleSeries& series : all) {  // what libraries set up only once
    if (memory.fits(series.samples.front())) memory.launch(series.samples.front());
  }
  device.synchronize();
  Budget budget(team, seconds, all.size(), processor_time);
  Stopwatch watch(budget, device, memory, processor_time);
  std::vector<std::vector<double>> times;
  for (const SampleSeries& series : all) {
    if (progress) progress(static_cast<double>(times.size()) / static_cast<double>(all.size()));
    budget.next(kShare);
    times.push_back(series_times(series, watch, memory, budget));
  }
  return times;
}

}  // namespace alpa::probe_detail
