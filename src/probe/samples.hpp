#pragma once

#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/graph/kernel.hpp"
#include "alpa/graph/kernel_work.hpp"

namespace alpa::probe_detail {

/// Operand or result of a kernel to be timed.
struct SamplePiece {
  DType dtype = DType::f32;
  Shape extent;
  Shape full;             ///< of the tensor whose first part this is
  bool in_place = false;  ///< a result that the kernel reads, too
  bool choice = false;    ///< of integers: one of few, which the kernel takes for an index as it is
};

/// A kernel on pieces of sizes that training uses.
struct Sample {
  Kernel kernel;
  std::vector<SamplePiece> operands, results;
  KernelWork work;
};

/// Samples of one kind by rising work: the points of one KernelTable.
struct SampleSeries {
  std::vector<Sample> samples;
  bool by_flops = false;
  double intensity = 0.0;  ///< as KernelTable::intensity
};

/// What the points of the series' table are over: FLOPs, or bytes.
[[nodiscard]] double work_of_sample(const SampleSeries& series, std::size_t i);

/// Samples of every kind of kernel, floating-point numbers in `dtype`. A kernel that is new does
/// not compile without samples here.
[[nodiscard]] std::vector<SampleSeries> all_samples(DType dtype);

}  // namespace alpa::probe_detail
