#include "kernel_times.hpp"

#include <algorithm>
#include <ctime>

#include "team.hpp"

namespace alpa::probe_detail {
namespace {

/// Seconds of processor time of this thread, or of the clock on the wall.
double now(bool processor) {
  timespec time{};
  clock_gettime(processor ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

constexpr double kWindow = 2e-4;  ///< seconds of launches that one measurement times together
constexpr int kMostLaunches = 64;
constexpr int kMostRepeats = 3;
constexpr double kShare = 4.0;  ///< of an equal part of the time that one series may take

/// Times one kernel again and again.
class Stopwatch {
 public:
  Stopwatch(Communicator& team, Device& device, WorkingSet& memory, bool processor_time)
      : team_(team), device_(device), memory_(memory), processor_time_(processor_time) {}

  /// Seconds of a launch, on this rank. Takes no longer than about `seconds`, or a single launch;
  /// adds what it took to `spent`, equal on all members, and notes the time of the slowest.
  double time(const Sample& sample, double seconds, double& spent) {
    const double first = largest(team_, run(sample, 1));  // with what is set up only once
    spent += first;
    if (first > seconds) {
      slowest_ = first;
      return first;
    }
    slowest_ = largest(team_, run(sample, 1));
    const int launches =
        static_cast<int>(std::clamp(kWindow / slowest_, 1.0, double(kMostLaunches)));
    const double window = slowest_ * launches;
    const int repeats = static_cast<int>(std::clamp(seconds / window, 1.0, double(kMostRepeats)));
    spent += slowest_ + window * repeats;
    std::vector<double> times;
    for (int r = 0; r < repeats; ++r) {
      times.push_back(run(sample, launches));
      (void)largest(team_, 0.0);
    }
    return median(std::move(times));
  }

  [[nodiscard]] double slowest() const { return slowest_; }

 private:
  double run(const Sample& sample, int launches) {
    const double start = now(processor_time_);
    for (int i = 0; i < launches; ++i) memory_.launch(sample);
    device_.synchronize();
    return std::max(now(processor_time_) - start, 1e-9) / launches;
  }

  Communicator& team_;
  Device& device_;
  WorkingSet& memory_;
  bool processor_time_;
  double slowest_ = 0.0;
};

double work(const SampleSeries& series, std::size_t i) {
  const KernelWork& w = series.samples[i].work;
  return series.by_flops ? w.flops.value : static_cast<double>(w.moved.value);
}

/// Goes up the series until the next sample would take more than is left of `seconds`.
std::vector<double> series_times(const SampleSeries& series, Stopwatch& watch,
                                 const WorkingSet& memory, double seconds, double& spent) {
  std::vector<double> times(series.samples.size(), 0.0);
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (!memory.fits(series.samples[i])) break;
    const double growth = i > 0 ? work(series, i) / work(series, i - 1) : 1.0;
    if (i > 0 && watch.slowest() * growth > seconds - spent) break;
    times[i] = watch.time(series.samples[i], 0.5 * (seconds - spent), spent);
  }
  return times;
}

}  // namespace

std::vector<std::vector<double>> kernel_times(const std::vector<SampleSeries>& all,
                                              Communicator& team, Device& device,
                                              WorkingSet& memory, bool processor_time,
                                              double seconds,
                                              const std::function<void(double share)>& progress) {
  Stopwatch watch(team, device, memory, processor_time);
  for (const SampleSeries& series : all) {  // what libraries set up only once
    if (memory.fits(series.samples.front())) memory.launch(series.samples.front());
  }
  device.synchronize();
  Budget budget(seconds, all.size());
  std::vector<std::vector<double>> times;
  for (const SampleSeries& series : all) {
    if (progress) progress(static_cast<double>(times.size()) / static_cast<double>(all.size()));
    double spent = 0.0;
    times.push_back(series_times(series, watch, memory, kShare * budget.part(), spent));
    budget.spend(spent);
  }
  return times;
}

}  // namespace alpa::probe_detail
