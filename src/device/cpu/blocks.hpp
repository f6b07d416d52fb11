#pragma once

#include <functional>
#include <vector>

#include "alpa/device/device.hpp"
#include "alpa/graph/rule.hpp"

#include "cpu/fast.hpp"

namespace alpa::cpu {

/// Kernels on f32 pieces, with so many threads.
struct SingleKernels {
  std::function<Bytes(const Kernel& kernel, const Launch& launch, int threads)> workspace;
  std::function<void(const Kernel& kernel, const Launch& launch, int threads)> run;
  const FastKernels<float>& convert;
};

/// A launch with bf16 or f16 pieces, done in f32: the pieces are cut along letters that the
/// kernel's sharding rule allows to split, into blocks that stay in a cache; a block's operands are
/// brought to f32, the f32 kernel runs on them, its results are rounded back. Operands without any
/// of the letters (a weight, a norm's scale) are brought to f32 once. Products share a block's work
/// among the threads, other kernels give the threads blocks of their own.
///
/// Example: gelu's gradient of [8, 256, 1536] bf16: blocks of one sample and 10 rows. x [b t e] w
/// [e f] with b = 8, t = 256, e = 384, f = 1536: w once, then blocks of two samples.
class LowBlocks {
 public:
  LowBlocks(const Kernel& kernel, const Launch& launch, const SingleKernels& single, int threads);

  [[nodiscard]] Bytes workspace() const;
  /// @pre launch.workspace has workspace() bytes
  void run() const;

 private:
  struct Tensor {
    Piece piece;
    Dims dims;
    bool low = false;
    bool varies = false;     ///< from block to block
    bool buffered = false;   ///< needs a dense copy of its part
    std::int64_t bytes = 0;  ///< of that copy
  };
  struct Cut {
    char letter;
    std::int64_t extent, block;
    [[nodiscard]] std::int64_t count() const { return (extent + block - 1) / block; }
  };
  /// Begin and length of a block along each cut.
  struct Range {
    std::int64_t begin, length;
  };
  using Ranges = std::vector<Range>;

  void add_tensors(const ShardingRule& rule);
  void choose_cuts(const ShardingRule& rule);
  [[nodiscard]] Dims cut_order(const ShardingRule& rule) const;
  [[nodiscard]] std::int64_t elements(const Tensor& tensor) const;
  [[nodiscard]] std::int64_t low_elements() const;
  [[nodiscard]] std::int64_t blocks() const;
  [[nodiscard]] Ranges ranges(std::int64_t block) const;
  [[nodiscard]] Box box_in(const Tensor& tensor, const Ranges& ranges) const;
  [[nodiscard]] std::int64_t buffer_size(const Tensor& tensor) const;
  [[nodiscard]] std::int64_t shared_size() const;
  [[nodiscard]] std::int64_t worker_size() const;
  [[nodiscard]] std::int64_t most_inner_workspace() const;
  [[nodiscard]] int inner_threads() const { return workers_ > 1 ? 1 : threads_; }
  void run_block(std::int64_t block, std::byte* shared, std::byte* mine) const;
  void bring(const Tensor& tensor, const Box& part, std::byte* to, int threads) const;
  void put_back(const Tensor& tensor, const Box& part, const std::byte* from, int threads) const;

  const Kernel& kernel_;
  const Launch& launch_;
  const SingleKernels& single_;
  int threads_;
  int workers_ = 1;
  bool product_ = false;
  std::vector<Tensor> tensors_;  ///< operands, then results
  std::vector<Cut> cuts_;
  std::int64_t inner_workspace_ = 0;
};

}  // namespace alpa::cpu
