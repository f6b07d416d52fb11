#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>

#include "alpa/base/error.hpp"

#include "cpu/convolution_library.hpp"
#include "cpu/onednn_threads.hpp"

namespace alpa::cpu {
namespace {

using dnnl::memory;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

memory::desc images(std::int64_t b, std::int64_t c, std::int64_t rows, std::int64_t columns) {
  return {{b, c, rows, columns}, memory::data_type::f32, memory::format_tag::nhwc};
}

/// One convolution, prepared: images as they are, weights in the order that the library wants,
/// which they are brought to (or from, as a result) in the workspace.
class Prepared {
 public:
  Prepared(ConvolutionPass pass, const ConvolutionShape& s)
      : pass_(pass),
        input_(images(s.b, s.c, s.y, s.x)),
        output_(images(s.b, s.o, s.h, s.w)),
        given_({s.o, s.c, s.k, s.l}, memory::data_type::f32, memory::format_tag::hwio) {
    const memory::desc any({s.o, s.c, s.k, s.l}, memory::data_type::f32, memory::format_tag::any);
    const memory::dims strides{s.stride, s.stride}, before{s.top, s.left};
    // Pixels after the last window are no padding; the library counts places rounding down.
    const auto beyond = [&](std::int64_t places, std::int64_t side, std::int64_t pixels,
                            std::int64_t low) {
      return std::max<std::int64_t>(0, (places - 1) * s.stride + side - pixels - low);
    };
    const memory::dims after{beyond(s.h, s.k, s.y, s.top), beyond(s.w, s.l, s.x, s.left)};
    const auto direct = dnnl::algorithm::convolution_direct;
    const dnnl::primitive_attr attributes = user_scratchpad();
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, direct, input_, any, output_, strides, before, after},
        attributes, cpu_engine());
    switch (pass) {
      case ConvolutionPass::forward:
        take(forward, forward.weights_desc());
        return;
      case ConvolutionPass::input: {
        const dnnl::convolution_backward_data::primitive_desc backward(
            {direct, input_, any, output_, strides, before, after}, attributes, cpu_engine(),
            forward);
        take(backward, backward.weights_desc());
        return;
      }
      case ConvolutionPass::weight: {
        const dnnl::convolution_backward_weights::primitive_desc backward(
            {direct, input_, any, output_, strides, before, after}, attributes, cpu_engine(),
            forward);
        take(backward, backward.diff_weights_desc());
        return;
      }
    }
  }

  [[nodiscard]] Bytes workspace() const {
    return Bytes{static_cast<std::int64_t>(weights_bytes() + scratch_.get_size() +
                                           reorder_scratch_.get_size() + kAlignment)};
  }

  void run(const float* left, const float* right, float* result, std::span<std::byte> workspace) {
    dnnl::stream stream(cpu_engine());
    const auto address = reinterpret_cast<std::uintptr_t>(workspace.data());
    std::byte* place = workspace.data() + (kAlignment - address % kAlignment) % kAlignment;
    const auto next = [&](const memory::desc& desc) {
      std::byte* const here = place;
      place += rounded(desc.get_size());
      return memory(desc, cpu_engine(), here);
    };
    const auto given = [](const memory::desc& desc, const float* data) {
      return memory(desc, cpu_engine(), const_cast<float*>(data));  // read only
    };
    const bool makes_weights = pass_ == ConvolutionPass::weight;
    const memory theirs = given(given_, makes_weights ? result : right);
    const memory weights = reorder_ ? next(wanted_) : theirs;
    const memory scratch = next(scratch_);
    const memory reorder_scratch = next(reorder_scratch_);
    const auto bring = [&](const memory& from, const memory& to) {
      reorder_.execute(
          stream,
          {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, reorder_scratch}});
    };
    if (reorder_ && !makes_weights) bring(theirs, weights);
    primitive_.execute(stream, arguments(left, right, result, weights, scratch));
    if (reorder_ && makes_weights) bring(weights, theirs);
    stream.wait();
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  static std::size_t rounded(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  [[nodiscard]] std::size_t weights_bytes() const {
    return (reorder_ ? rounded(wanted_.get_size()) : 0) + 2 * kAlignment;
  }

  template <class Description>
  void take(const Description& description, const memory::desc& weights) {
    using Primitive = std::conditional_t<
        std::is_same_v<Description, dnnl::convolution_forward::primitive_desc>,
        dnnl::convolution_forward,
        std::conditional_t<
            std::is_same_v<Description, dnnl::convolution_backward_data::primitive_desc>,
            dnnl::convolution_backward_data, dnnl::convolution_backward_weights>>;
    primitive_ = Primitive(description);
    scratch_ = description.scratchpad_desc();
    wanted_ = weights;
    if (wanted_ == given_) return;
    const bool makes_weights = pass_ == ConvolutionPass::weight;
    const dnnl::reorder::primitive_desc order(cpu_engine(), makes_weights ? wanted_ : given_,
                                              cpu_engine(), makes_weights ? given_ : wanted_,
                                              user_scratchpad());
    reorder_ = dnnl::reorder(order);
    reorder_scratch_ = order.scratchpad_desc();
  }

  [[nodiscard]] std::unordered_map<int, memory> arguments(const float* left, const float* right,
                                                          float* result, const memory& weights,
                                                          const memory& scratch) const {
    const auto data = [](const memory::desc& desc, const float* values) {
      return memory(desc, cpu_engine(), const_cast<float*>(values));  // operands are read only
    };
    switch (pass_) {
      case ConvolutionPass::forward:
        return {{DNNL_ARG_SRC, data(input_, left)},
                {DNNL_ARG_WEIGHTS, weights},
                {DNNL_ARG_DST, data(output_, result)},
                {DNNL_ARG_SCRATCHPAD, scratch}};
      case ConvolutionPass::input:
        return {{DNNL_ARG_DIFF_DST, data(output_, left)},
                {DNNL_ARG_WEIGHTS, weights},
                {DNNL_ARG_DIFF_SRC, data(input_, result)},
                {DNNL_ARG_SCRATCHPAD, scratch}};
      case ConvolutionPass::weight:
        return {{DNNL_ARG_SRC, data(input_, left)},
                {DNNL_ARG_DIFF_DST, data(output_, right)},
                {DNNL_ARG_DIFF_WEIGHTS, weights},
                {DNNL_ARG_SCRATCHPAD, scratch}};
    }
    check_failed("known pass", SourceLine::here());
  }

  ConvolutionPass pass_;
  memory::desc input_, output_, given_, wanted_, scratch_, reorder_scratch_;
  dnnl::primitive primitive_;
  dnnl::reorder reorder_;
};

/// Preparing takes longer than a small convolution. Each thread that runs a device keeps its own.
Prepared& prepared(ConvolutionPass pass, const ConvolutionShape& shape, int threads) {
  thread_local std::map<std::tuple<ConvolutionPass, ConvolutionShape, int>, Prepared> known;
  const std::tuple key(pass, shape, threads);
  auto found = known.find(key);
  if (found == known.end()) found = known.try_emplace(key, pass, shape).first;
  return found->second;
}

/// Calls f with the library's threads set; its errors become ours.
template <class F>
auto with_library(int threads, const F& f) {
  const ThreadsForNow for_now(threads);
  try {
    return f();
  } catch (const dnnl::error& error) {
    throw SystemError(std::string("oneDNN: convolution: ") + error.what(),
                      error.status == dnnl_out_of_memory ? ExitCode::out_of_memory : ExitCode::bug);
  }
}

}  // namespace

bool has_convolution() { return true; }

Bytes library_workspace(ConvolutionPass pass, const ConvolutionShape& shape, int threads) {
  return with_library(threads, [&] { return prepared(pass, shape, threads).workspace(); });
}

void library_convolution(ConvolutionPass pass, const ConvolutionShape& shape, const float* left,
                         const float* right, float* result, std::span<std::byte> workspace,
                         int threads) {
  with_library(threads, [&] {
    Prepared& convolution = prepared(pass, shape, threads);
    ALPA_CHECK(static_cast<std::int64_t>(workspace.size()) >= convolution.workspace().value);
    convolution.run(left, right, result, workspace);
  });
}

}  // namespace alpa::cpu
