#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <type_traits>

#include "alpa/base/error.hpp"

#include "common/element.hpp"
#include "common/host_memory.hpp"
#include "common/letters.hpp"
#include "cpu/blocks.hpp"
#include "cpu/contraction.hpp"
#include "cpu/convert.hpp"
#include "cpu/fast.hpp"
#include "cpu/nest.hpp"
#include "cpu/sgemm.hpp"
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

/// An einsum of bf16 that the library takes as it is.
struct LibraryLowProduct {
  LowProduct shape;
  bool swapped;  ///< result^T = right^T left^T
  Bytes workspace;
};

std::optional<LibraryLowProduct> library_low_product(const Kernel& kernel, const Launch& launch,
                                                     int threads) {
  constexpr std::int64_t kWorthIt = 16 * 16 * 16;
  const auto* einsum = std::get_if<Einsum>(&kernel);
  const auto is_bf16 = [](const Piece& piece) { return piece.dtype == DType::bf16; };
  if (einsum == nullptr || einsum->scale != 1.0 || !is_bf16(launch.results[0]) ||
      !std::all_of(launch.operands.begin(), launch.operands.end(), is_bf16)) {
    return std::nullopt;
  }
  const Contraction c = contraction_of(*einsum, launch);
  if (c.batch.size() > 1 || c.batches() * c.m.size() * c.n.size() * c.k.size() < kWorthIt) {
    return std::nullopt;
  }
  const auto left = dense_matrix(c.m, c.m.first, c.k, c.k.first);
  const auto right = dense_matrix(c.k, c.k.second, c.n, c.n.first);
  const auto result = dense_matrix(c.m, c.m.second, c.n, c.n.second);
  if (!left || !right || !result) return std::nullopt;
  const auto matrices = [&](const DenseMatrix& matrix, const std::vector<std::int64_t>& batch) {
    const std::int64_t row = matrix.transposed ? 1 : matrix.leading;
    const std::int64_t column = matrix.transposed ? matrix.leading : 1;
    // Of one batch element the library wants a stride all the same.
    const std::int64_t step = batch.empty() ? std::max(row, column) : batch[0];
    return result->transposed ? LowMatrices{step, column, row} : LowMatrices{step, row, column};
  };
  LowProduct shape{c.batches(),
                   c.m.size(),
                   c.n.size(),
                   c.k.size(),
                   matrices(*left, c.batch_left),
                   matrices(*right, c.batch_right),
                   matrices(*result, c.batch_result)};
  if (result->transposed) {
    std::swap(shape.m, shape.n);
    std::swap(shape.left, shape.right);
  }
  const auto workspace = low_product_workspace(shape, threads);
  if (!workspace) return std::nullopt;
  return LibraryLowProduct{shape, result->transposed, *workspace};
}

template <class K, class... Kernels>
inline constexpr bool is_one_of = (std::is_same_v<K, Kernels> || ...);

/// Runs one kernel: the fast one where there is one for its letters and dtypes, else the reference.
class Runner {
 public:
  Runner(const Kernel& kernel, const Launch& launch, const Level& level, int threads)
      : kernel_(kernel), launch_(launch), level_(level), threads_(threads) {}

  void run() const {
    if (const auto product = library_low_product(kernel_, launch_, threads_)) {
      return low_product(product->shape, launch_.operands[product->swapped ? 1 : 0].data,
                         launch_.operands[product->swapped ? 0 : 1].data, launch_.results[0].data,
                         launch_.workspace, threads_);
    }
    if (in_blocks()) return LowBlocks(kernel_, launch_, single(), threads_).run();
    std::visit(*this, kernel_);
  }
  [[nodiscard]] Bytes workspace() const {
    if (const auto product = library_low_product(kernel_, launch_, threads_)) {
      return product->workspace;
    }
    if (in_blocks()) return LowBlocks(kernel_, launch_, single(), threads_).workspace();
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
  void operator()(const Embedding& kernel) const {
    const DType type = launch_.operands[0].dtype;
    if (!is_low(type) || type != launch_.results[0].dtype) return run(kernel, 1, 1);
    if (!run_fast(DType::f32)) reference::run(kernel, launch_);
  }
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
  /// Whether a kernel on bf16 or f16 is one on f32, block by block. Not those that only copy, nor
  /// elementwise ones, which convert as they read, nor what changes state, which is never low.
  [[nodiscard]] bool in_blocks() const {
    const auto low = [](const Piece& piece) { return is_low(piece.dtype); };
    const bool any = std::any_of(launch_.operands.begin(), launch_.operands.end(), low) ||
                     std::any_of(launch_.results.begin(), launch_.results.end(), low);
    return any && std::visit(
                      []<class K>(const K&) {
                        return !is_one_of<K, Map, Accumulate, Update, RunningAverage, Embedding,
                                          Select, Stack, View, Concatenate, Slice, LambDirection,
                                          SecondMoment, FactoredDirection, ApplyDirection, CopyBox>;
                      },
                      kernel_);
  }
  [[nodiscard]] SingleKernels single() const {
    return {[this](const Kernel& kernel, const Launch& launch, int threads) {
              return Runner(kernel, launch, level_, threads).workspace();
            },
            [this](const Kernel& kernel, const Launch& launch, int threads) {
              Runner(kernel, launch, level_, threads).run();
            },
            level_.f32};
  }

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
    const std::size_t count = launch_.operands.size();
    ALPA_CHECK((count == 1 || count == 2) && launch_.results.size() == 1);
    const double factor = count == 2 ? kernels::scalar(launch_.operands[1]) : 1.0;
    const std::array<Piece, 2> both = {launch_.results[0], launch_.operands[0]};
    const std::span<const Piece> sum = both;
    const Dims& dims = kernel.operand;
    Launch launch = launch_;
    launch.operands = launch_.first ? sum.subspan(1) : sum;
    const MapOp plain = launch_.first ? MapOp::copy : MapOp::add;
    const MapOp scaled = launch_.first ? MapOp::scale : MapOp::add_scaled;
    const Kernel map = Map{count == 2 ? scaled : plain,
                           std::vector<Dims>(launch.operands.size(), dims), dims, factor};
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
