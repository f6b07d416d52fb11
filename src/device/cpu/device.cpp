#include <cmath>
#include <cstring>
#include <optional>

#include "alpa/base/error.hpp"

#include "common/element.hpp"
#include "common/host_memory.hpp"
#include "common/letters.hpp"
#include "cpu/fast.hpp"
#include "cpu/nest.hpp"
#include "cpu/threads.hpp"
#include "reference/kernels.hpp"

namespace alpa {
namespace cpu {
namespace {

/// Copies elements at the nest's first number to those at its second.
void copy_nest(const Nest& nest, const Piece& from, const Piece& to, int threads) {
  const std::int64_t size = size_of(to.dtype);
  constexpr std::int64_t kGrain = 16384;
  const bool dense = nest.inner_stride(0) == 1 && nest.inner_stride(1) == 1;
  parallel_for(threads, nest.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    for_each_run(nest, begin, end, end - begin,
                 [&](std::span<const std::int64_t> at, std::int64_t n) {
                   const std::byte* source = from.data + at[0] * size;
                   std::byte* target = to.data + at[1] * size;
                   const std::int64_t runs = dense ? 1 : n;
                   const auto bytes = static_cast<std::size_t>(dense ? n * size : size);
                   for (std::int64_t i = 0; i < runs; ++i) {
                     std::memcpy(target + i * nest.inner_stride(1) * size,
                                 source + i * nest.inner_stride(0) * size, bytes);
                   }
                 });
  });
}

/// Runs one kernel: the fast one where there is one for its letters and dtypes, else the reference.
class Runner {
 public:
  Runner(const Kernel& kernel, const Launch& launch, const Level& level, int threads)
      : kernel_(kernel), launch_(launch), level_(level), threads_(threads) {}

  void run() const { std::visit(*this, kernel_); }
  [[nodiscard]] Bytes workspace() const {
    Bytes size{0};
    std::visit(
        [&](const auto& each) {
          if constexpr (requires { (*this)(each, size); }) (*this)(each, size);
        },
        kernel_);
    return size;
  }

  void operator()(const Einsum& kernel) const { run(kernel, 2, 1); }
  void operator()(const Map& kernel) const {
    const std::size_t count = kernel.operands.size();
    ALPA_CHECK(count == reference::operand_count(kernel.op, count));
    ALPA_CHECK(launch_.operands.size() == count && launch_.results.size() == 1);
    const DType result = launch_.results[0].dtype;
    if (count >= kMaxNumbers || result == DType::i32) return reference::run(kernel, launch_);
    (void)run_fast(result == DType::f64 ? DType::f64 : DType::f32);
  }
  void operator()(const Reduce& kernel) const { run(kernel, 1, 0); }
  void operator()(const SumExp& kernel) const { run(kernel, 1, 0); }
  void operator()(const Pick& kernel) const { run(kernel, 1, 0); }
  void operator()(const CrossEntropyGradient& kernel) const { run(kernel, 1, 1); }
  void operator()(const Embedding& kernel) const { run(kernel, 1, 1); }
  void operator()(const EmbeddingGradient& kernel) const { run(kernel, 1, 1); }
  void operator()(const NormMoments& kernel) const { run(kernel, 1, 0); }
  void operator()(const NormApply& kernel) const { run(kernel, 1, 1, {3, kernel.bias ? 4U : 3U}); }
  void operator()(const NormGradientMoments& kernel) const { run(kernel, 2, 0, {4}); }
  void operator()(const NormGradientInput& kernel) const { run(kernel, 2, 1, {4}); }
  void operator()(const NormGradientParameters& kernel) const { run(kernel, 2, 0); }
  void operator()(const NormStatistics& kernel) const { reference::run(kernel, launch_); }
  void operator()(const NormBlend& kernel) const { reference::run(kernel, launch_); }
  void operator()(const Select& kernel) const { select(kernel); }
  void operator()(const Stack& kernel) const { stack(kernel); }
  void operator()(const Dropout& kernel) const { run(kernel, 1, 1); }
  void operator()(const Attention& kernel) const { run(kernel, 3, 2); }
  void operator()(const AttentionGradient& kernel) const { run(kernel, 6, 3); }
  void operator()(const Rotary& kernel) const { run(kernel, 1, 1); }
  void operator()(const View& kernel) const { reference::run(kernel, launch_); }
  void operator()(const Route& kernel) const { run(kernel, 1, 0); }
  void operator()(const RouteGradient& kernel) const { run(kernel, 1, 1, {2}); }
  void operator()(const Dispatch& kernel) const {
    kernel.gated ? run(kernel, 1, 1, {3}) : run(kernel, 1, 1);
  }
  void operator()(const Combine& kernel) const {
    kernel.gated ? run(kernel, 1, 1, {3}) : run(kernel, 1, 1);
  }
  void operator()(const GateGradient& kernel) const { run(kernel, 2, 1); }
  void operator()(const Convolution& kernel) const { run(kernel, 2, 1); }
  void operator()(const ConvolutionGradientInput& kernel) const { run(kernel, 2, 1); }
  void operator()(const ConvolutionGradientWeight& kernel) const { run(kernel, 2, 1); }
  void operator()(const MaxPool& kernel) const { run(kernel, 1, 1); }
  void operator()(const MaxPoolGradient& kernel) const { run(kernel, 1, 1); }
  void operator()(const AveragePool& kernel) const { run(kernel, 1, 1); }
  void operator()(const AveragePoolGradient& kernel) const { run(kernel, 1, 1); }
  void operator()(const Accumulate& kernel) const { accumulate(kernel); }
  void operator()(const Update& kernel) const { update(kernel); }
  void operator()(const LambDirection& kernel) const { if_finite(kernel, 3, 2, 3); }
  void operator()(const SecondMoment& kernel) const { if_finite(kernel, 2, 1, 2); }
  void operator()(const FactoredDirection& kernel) const {
    const bool factored = !kernel.columns.empty();
    if_finite(kernel, factored ? 4 : 2, factored ? 3 : 2, 1);
  }
  void operator()(const ApplyDirection& kernel) const { if_finite(kernel, 2, 1, 1); }
  void operator()(const RunningAverage& kernel) const { reference::run(kernel, launch_); }
  void operator()(const Concatenate& kernel) const { reference::run(kernel, launch_); }
  void operator()(const Slice& kernel) const { reference::run(kernel, launch_); }
  void operator()(const Upsample& kernel) const { run(kernel, 1, 1); }
  void operator()(const UpsampleGradient& kernel) const { run(kernel, 1, 1); }
  void operator()(const CopyBox& kernel) const { reference::run(kernel, launch_); }
  void operator()(const Fill& kernel) const { run(kernel, 0, 1); }
  void operator()(const Contribute& kernel) const { reference::run(kernel, launch_); }

  void operator()(const Einsum& /*kernel*/, Bytes& size) const { workspace(2, 1, size); }
  void operator()(const Attention& /*kernel*/, Bytes& size) const { workspace(3, 2, size); }
  void operator()(const AttentionGradient& /*kernel*/, Bytes& size) const { workspace(6, 3, size); }
  void operator()(const Rotary& /*kernel*/, Bytes& size) const { workspace(1, 1, size); }
  void operator()(const Convolution& /*kernel*/, Bytes& size) const { workspace(2, 1, size); }
  void operator()(const ConvolutionGradientInput& /*kernel*/, Bytes& size) const {
    workspace(2, 1, size);
  }
  void operator()(const ConvolutionGradientWeight& /*kernel*/, Bytes& size) const {
    workspace(2, 1, size);
  }

 private:
  /// The dtype that the first `operands` operands, the first `results` results and `more` operands
  /// share, if it is f64 or f32 for all.
  [[nodiscard]] std::optional<DType> common_type(std::size_t operands, std::size_t results,
                                                 std::initializer_list<unsigned> more) const {
    std::optional<DType> common;
    bool equal = true;
    const auto meet = [&](std::span<const Piece> pieces, std::size_t i) {
      ALPA_CHECK(i < pieces.size());
      equal = equal && (!common || *common == pieces[i].dtype);
      common = pieces[i].dtype;
    };
    for (std::size_t i = 0; i < operands; ++i) meet(launch_.operands, i);
    for (const unsigned i : more) meet(launch_.operands, i);
    for (std::size_t i = 0; i < results; ++i) meet(launch_.results, i);
    if (!equal || (common != DType::f64 && common != DType::f32)) return std::nullopt;
    return common;
  }

  template <class K>
  void run(const K& kernel, std::size_t operands, std::size_t results,
           std::initializer_list<unsigned> more = {}) const {
    const auto dtype = common_type(operands, results, more);
    if (!dtype || !run_fast(*dtype)) reference::run(kernel, launch_);
  }

  /// @pre dtype is f64 or f32
  [[nodiscard]] bool run_fast(DType dtype) const {
    return dtype == DType::f64 ? level_.f64.run(kernel_, launch_, threads_)
                               : level_.f32.run(kernel_, launch_, threads_);
  }

  void workspace(std::size_t operands, std::size_t results, Bytes& size) const {
    const auto dtype = common_type(operands, results, {});
    if (dtype == DType::f64) size = level_.f64.workspace(kernel_, launch_, threads_);
    if (dtype == DType::f32) size = level_.f32.workspace(kernel_, launch_, threads_);
  }

  void select(const Select& kernel) const {
    ALPA_CHECK(launch_.operands.size() == 1 && launch_.results.size() == 1);
    const Piece &operand = launch_.operands[0], &result = launch_.results[0];
    ALPA_CHECK(operand.dtype == result.dtype);
    const Dims rest = kernels::without(kernel.operand, kernel.letter);
    kernels::Letters sizes;
    sizes.add(kernel.operand, operand);
    sizes.add(rest, result);
    const auto& along = sizes.at(kernel.letter);
    ALPA_CHECK(kernel.index >= along.offset && kernel.index < along.offset + along.extent);
    copy_slice(kernel.operand, kernel.letter, kernel.index - along.offset, sizes, operand, result,
               true);
  }

  void stack(const Stack& kernel) const {
    ALPA_CHECK(launch_.results.size() == 1);
    const Piece& result = launch_.results[0];
    const Dims rest = kernels::without(kernel.result, kernel.letter);
    kernels::Letters sizes;
    sizes.add(kernel.result, result);
    const auto count = static_cast<std::int64_t>(launch_.operands.size());
    ALPA_CHECK(sizes.extent(kernel.letter) == count && sizes.at(kernel.letter).full == count);
    for (std::int64_t i = 0; i < count; ++i) {
      const Piece& operand = launch_.operands[static_cast<std::size_t>(i)];
      ALPA_CHECK(operand.dtype == result.dtype);
      sizes.add(rest, operand);
      copy_slice(kernel.result, kernel.letter, i, sizes, operand, result, false);
    }
  }

  /// Copies between index `index` of `letter` of a tensor `dims` and a tensor without the letter.
  void copy_slice(const Dims& dims, char letter, std::int64_t index, const kernels::Letters& sizes,
                  const Piece& from, const Piece& to, bool out_of_dims) const {
    const Dims rest = kernels::without(dims, letter);
    const kernels::Loops all = kernels::loops_over(letter + rest, sizes);
    kernels::Affine in_dims = kernels::element_of(dims, all, sizes);
    in_dims.base += index * in_dims.strides.front();
    in_dims.strides.erase(in_dims.strides.begin());
    const kernels::Loops loops = kernels::loops_over(rest, sizes);
    const kernels::Affine in_rest = kernels::element_of(rest, loops, sizes);
    const std::array<kernels::Affine, 2> numbers = {out_of_dims ? in_dims : in_rest,
                                                    out_of_dims ? in_rest : in_dims};
    copy_nest(collapse(loops, numbers), from, to, threads_);
  }

  void accumulate(const Accumulate& kernel) const {
    ALPA_CHECK(launch_.operands.size() == 1 && launch_.results.size() == 1);
    const std::array<Piece, 2> both = {launch_.operands[0], launch_.results[0]};
    const Dims& dims = kernel.operand;
    Launch launch = launch_;
    if (!launch_.first) launch.operands = both;
    const Kernel map =
        Map{launch_.first ? MapOp::copy : MapOp::add,
            launch_.first ? std::vector<Dims>{dims} : std::vector<Dims>{dims, dims}, dims};
    Runner(map, launch, level_, threads_).run();
  }

  void update(const Update& kernel) const {
    ALPA_CHECK(launch_.operands.size() == 4);
    ALPA_CHECK(launch_.results.size() == reference::result_count(kernel.kind));
    const double norm_squared = kernels::scalar(launch_.operands[3]);
    if (!std::isfinite(norm_squared)) return;
    run(kernel, 1, launch_.results.size());
  }

  /// The fast kernel where operand `norm`, the squared norm of the gradient, is finite.
  template <class K>
  void if_finite(const K& kernel, std::size_t norm, std::size_t operands,
                 std::size_t results) const {
    ALPA_CHECK(norm < launch_.operands.size());
    if (!std::isfinite(kernels::scalar(launch_.operands[norm]))) {
      return reference::run(kernel, launch_);
    }
    run(kernel, operands, results);
  }

  const Kernel& kernel_;
  const Launch& launch_;
  const Level& level_;
  int threads_;
};

}  // namespace
}  // namespace cpu

namespace {

/// Runs each launch before it returns, so the queues have nothing to wait for.
class CpuDevice final : public Device {
 public:
  CpuDevice(int threads, const cpu::Level& level) : threads_(threads), level_(level) {
    ALPA_CHECK(threads >= 1);
  }

  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] std::byte* allocate(Bytes size) override { return memory_.allocate(size, "cpu"); }
  void release(std::byte* memory) override { memory_.release(memory); }

  [[nodiscard]] Bytes workspace_size(const Kernel& kernel, const Launch& launch) const override {
    return cpu::Runner(kernel, launch, level_, threads_).workspace();
  }
  void launch(Queue /*queue*/, const Kernel& kernel, const Launch& launch) override {
    cpu::Runner(kernel, launch, level_, threads_).run();
  }

  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    if (!host.empty()) std::memcpy(device, host.data(), host.size());
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    if (!host.empty()) std::memcpy(host.data(), device, host.size());
  }
  void synchronize() override {}
  [[nodiscard]] bool host_accessible() const override { return true; }

 private:
  int threads_;
  const cpu::Level& level_;
  kernels::HostMemory memory_;
};

}  // namespace

std::vector<std::string> cpu_levels() {
  std::vector<std::string> names;
  for (const cpu::Level& level : cpu::levels()) {
    if (level.supported) names.push_back(level.name);
  }
  return names;
}

std::unique_ptr<Device> make_cpu_device(int threads, std::optional<std::string> level) {
  const std::string name = level.value_or(cpu_levels().back());
  for (const cpu::Level& each : cpu::levels()) {
    if (each.name == name && each.supported) return std::make_unique<CpuDevice>(threads, each);
  }
  throw UserError("CPU kernels for '" + name + "': not in this build, or not for this processor");
}

}  // namespace alpa
