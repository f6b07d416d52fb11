#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "alpa/base/error.hpp"

#include "cpu/onednn_threads.hpp"
#include "cpu/sgemm.hpp"

namespace alpa::cpu {
namespace {

std::string text_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
}

[[noreturn]] void no_memory(const std::string& product) {
  throw SystemError("oneDNN has no memory left for a product of " + product,
                    ExitCode::out_of_memory);
}

bool multiplies_bf16() {
  constexpr auto kWanted = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_bf16);
  static const bool does =
      (static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & kWanted) == kWanted;
  return does;
}

const dnnl::engine& the_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc desc_of(const LowMatrices& matrices, std::int64_t batches, std::int64_t rows,
                           std::int64_t columns) {
  return {{batches, rows, columns},
          dnnl::memory::data_type::bf16,
          {matrices.batch, matrices.row, matrices.column}};
}

/// Empty where the library has none. Taken from the library's own cache after the first time.
dnnl::matmul::primitive_desc matmul_of(const LowProduct& p) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::desc desc(desc_of(p.left, p.batches, p.m, p.k),
                                desc_of(p.right, p.batches, p.k, p.n),
                                desc_of(p.result, p.batches, p.m, p.n));
  return {desc, attributes, the_engine(), /*allow_empty=*/true};
}

}  // namespace

bool has_sgemm() { return true; }

void sgemm(const Sgemm& shape, const float* left, const float* right, float* result, int threads) {
  const ThreadsForNow for_now(threads);
  const dnnl_status_t status =
      dnnl_sgemm(shape.transpose_left ? 'T' : 'N', shape.transpose_right ? 'T' : 'N', shape.m,
                 shape.n, shape.k, shape.scale, left, shape.leading_left, right,
                 shape.leading_right, 0.0F, result, shape.leading_result);
  if (status == dnnl_out_of_memory) {
    no_memory(text_of(shape.m, shape.n, shape.k));
  }
  ALPA_CHECK(status == dnnl_success);  // what is left are arguments it refuses
}

std::optional<Bytes> low_product_workspace(const LowProduct& shape, int threads) {
  if (!multiplies_bf16()) return std::nullopt;
  const ThreadsForNow for_now(threads);
  const auto matmul = matmul_of(shape);
  if (!matmul) return std::nullopt;
  return Bytes{static_cast<std::int64_t>(matmul.scratchpad_desc().get_size())};
}

void low_product(const LowProduct& shape, const std::byte* left, const std::byte* right,
                 std::byte* result, std::span<std::byte> workspace, int threads) {
  const ThreadsForNow for_now(threads);
  const auto matmul = matmul_of(shape);
  ALPA_CHECK(matmul && workspace.size() >= matmul.scratchpad_desc().get_size());
  const auto memory = [](const dnnl::memory::desc& desc, const void* data) {
    return dnnl::memory(desc, the_engine(), const_cast<void*>(data));
  };
  try {
    dnnl::stream stream(the_engine());
    dnnl::matmul(matmul).execute(
        stream, {{DNNL_ARG_SRC, memory(matmul.src_desc(), left)},
                 {DNNL_ARG_WEIGHTS, memory(matmul.weights_desc(), right)},
                 {DNNL_ARG_DST, memory(matmul.dst_desc(), result)},
                 {DNNL_ARG_SCRATCHPAD, memory(matmul.scratchpad_desc(), workspace.data())}});
    stream.wait();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) no_memory(text_of(shape.m, shape.n, shape.k));
    throw SystemError(std::string("oneDNN: ") + error.what() + " in a product of " +
                          text_of(shape.m, shape.n, shape.k),
                      ExitCode::bug);
  }
}

}  // namespace alpa::cpu
