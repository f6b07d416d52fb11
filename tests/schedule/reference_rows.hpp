#pragma once

#include <string>
#include <vector>

/// Pipeline schedules with known makespans: unit order, no communication time, found with a
/// discrete simulation and checked against (B+S-1)(f+b) where all stages are equal.
namespace alpa::test {

struct ScheduleRow {
  std::string schedule;
  int microbatches;
  std::vector<double> forward, backward;  ///< per stage
  double makespan;
  std::vector<int> in_flight;      ///< largest, per stage
  std::vector<std::string> order;  ///< per stage, "F0 F1 B0 B1"; empty: not given
};

inline const std::vector<ScheduleRow> kScheduleRows = {
    {"gpipe", 4, {1}, {2}, 12, {4}, {"F0 F1 F2 F3 B0 B1 B2 B3"}},
    {"gpipe",
     8,
     {1, 1, 1, 1},
     {2, 2, 2, 2},
     33,
     {8, 8, 8, 8},
     {"F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
      "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
      "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
      "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7"}},
    {"gpipe",
     8,
     {1, 3, 2, 1},
     {2, 6, 4, 2},
     84,
     {8, 8, 8, 8},
     {"F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
      "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
      "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
      "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7"}},
    {"1f1b", 4, {1}, {2}, 12, {1}, {"F0 B0 F1 B1 F2 B2 F3 B3"}},
    {"1f1b",
     8,
     {1, 1, 1, 1},
     {2, 2, 2, 2},
     33,
     {4, 3, 2, 1},
     {"F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7",
      "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7",
      "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7",
      "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7"}},
    {"1f1b",
     8,
     {1.5, 1.5, 1.5, 1.5},
     {2.25, 2.25, 2.25, 2.25},
     41.25,
     {4, 3, 2, 1},
     {"F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7",
      "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7",
      "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7",
      "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7"}},
    {"1f1b",
     8,
     {1, 3, 2, 1},
     {2, 6, 4, 2},
     78,
     {4, 3, 2, 1},
     {"F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7",
      "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7",
      "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7",
      "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7"}},
};

}  // namespace alpa::test
