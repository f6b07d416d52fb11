#pragma once

#include <type_traits>

#include "cpu/attention.hpp"
#include "cpu/channel_norm.hpp"
#include "cpu/convolution.hpp"
#include "cpu/convolution_library.hpp"
#include "cpu/direction.hpp"
#include "cpu/einsum.hpp"
#include "cpu/experts.hpp"
#include "cpu/fast.hpp"
#include "cpu/map.hpp"
#include "cpu/norm.hpp"
#include "cpu/pooling.hpp"
#include "cpu/resize.hpp"
#include "cpu/rotary.hpp"
#include "cpu/rows.hpp"
#include "cpu/update.hpp"

namespace alpa::cpu {

/// The kernels behind FastKernels<T>, one overload each.
template <class T>
struct Fast {
  static Bytes workspace(const Einsum& kernel, const Launch& launch, int threads);
  static Bytes workspace(const Attention& kernel, const Launch& launch, int threads);
  static Bytes workspace(const AttentionGradient& kernel, const Launch& launch, int threads);
  static Bytes workspace(const Rotary& kernel, const Launch& launch, int threads);

  static Bytes workspace(const Convolution& kernel, const Launch& launch, int threads) {
    return convolution_workspace(kernel, launch, threads);
  }
  static Bytes workspace(const ConvolutionGradientInput& kernel, const Launch& launch,
                         int threads) {
    return convolution_workspace(kernel, launch, threads);
  }
  static Bytes workspace(const ConvolutionGradientWeight& kernel, const Launch& launch,
                         int threads) {
    return convolution_workspace(kernel, launch, threads);
  }

  static bool run(const Convolution& kernel, const Launch& launch, int threads) {
    return convolve(kernel, launch, threads);
  }
  static bool run(const ConvolutionGradientInput& kernel, const Launch& launch, int threads) {
    return convolve(kernel, launch, threads);
  }
  static bool run(const ConvolutionGradientWeight& kernel, const Launch& launch, int threads) {
    return convolve(kernel, launch, threads);
  }
  static bool run(const Einsum& kernel, const Launch& launch, int threads);
  static bool run(const Map& kernel, const Launch& launch, int threads);
  static bool run(const Reduce& kernel, const Launch& launch, int threads);
  static bool run(const SumExp& kernel, const Launch& launch, int threads);
  static bool run(const Pick& kernel, const Launch& launch, int threads);
  static bool run(const CrossEntropyGradient& kernel, const Launch& launch, int threads);
  static bool run(const Embedding& kernel, const Launch& launch, int threads);
  static bool run(const EmbeddingGradient& kernel, const Launch& launch, int threads);
  static bool run(const NormMoments& kernel, const Launch& launch, int threads);
  static bool run(const NormApply& kernel, const Launch& launch, int threads);
  static bool run(const NormGradientMoments& kernel, const Launch& launch, int threads);
  static bool run(const NormGradientInput& kernel, const Launch& launch, int threads);
  static bool run(const NormGradientParameters& kernel, const Launch& launch, int threads);
  static bool run(const Dropout& kernel, const Launch& launch, int threads);
  static bool run(const MaxPool& kernel, const Launch& launch, int threads);
  static bool run(const MaxPoolGradient& kernel, const Launch& launch, int threads);
  static bool run(const AveragePool& kernel, const Launch& launch, int threads);
  static bool run(const AveragePoolGradient& kernel, const Launch& launch, int threads);
  static bool run(const Attention& kernel, const Launch& launch, int threads);
  static bool run(const AttentionGradient& kernel, const Launch& launch, int threads);
  static bool run(const Rotary& kernel, const Launch& launch, int threads);
  static bool run(const Route& kernel, const Launch& launch, int threads);
  static bool run(const RouteGradient& kernel, const Launch& launch, int threads);
  static bool run(const Dispatch& kernel, const Launch& launch, int threads);
  static bool run(const Combine& kernel, const Launch& launch, int threads);
  static bool run(const GateGradient& kernel, const Launch& launch, int threads);
  static bool run(const Fill& kernel, const Launch& launch, int threads);
  static bool run(const Update& kernel, const Launch& launch, int threads);
  static bool run(const LambDirection& kernel, const Launch& launch, int threads);
  static bool run(const SecondMoment& kernel, const Launch& launch, int threads);
  static bool run(const FactoredDirection& kernel, const Launch& launch, int threads);
  static bool run(const ApplyDirection& kernel, const Launch& launch, int threads);
  static bool run(const Upsample& kernel, const Launch& launch, int threads);
  static bool run(const UpsampleGradient& kernel, const Launch& launch, int threads);

 private:
  /// The library knows no window that starts inside the piece.
  static bool by_library(const ConvolutionShape& shape) {
    return std::is_same_v<T, float> && has_convolution() && shape.top >= 0 && shape.left >= 0;
  }

  template <class K>
  static Bytes convolution_workspace(const K& kernel, const Launch& launch, int threads) {
    const ConvolutionShape shape = shape_of(kernel, launch);
    return by_library(shape) ? library_workspace(pass_of(kernel), shape, threads)
                             : ConvolutionWorkspace<T>(pass_of(kernel), shape, threads).size();
  }

  template <class K>
  static bool convolve(const K& kernel, const Launch& launch, int threads) {
    const ConvolutionShape shape = shape_of(kernel, launch);
    if constexpr (std::is_same_v<T, float>) {
      if (by_library(shape)) {
        library_convolution(pass_of(kernel), shape, data_of<T>(launch.operands[0]),
                            data_of<T>(launch.operands[1]), mutable_data_of<T>(launch.results[0]),
                            launch.workspace, threads);
        return true;
      }
    }
    run_convolution<T>(pass_of(kernel), shape, launch, threads);
    return true;
  }
};

template <class T>
Bytes Fast<T>::workspace(const Einsum& kernel, const Launch& launch, int threads) {
  return einsum_workspace<T>(kernel, launch, threads);
}

template <class T>
Bytes Fast<T>::workspace(const Attention& kernel, const Launch& launch, int threads) {
  return attention_workspace<T, ForwardBuffers<T>>(shape_of(kernel, launch), threads);
}

template <class T>
Bytes Fast<T>::workspace(const AttentionGradient& kernel, const Launch& launch, int threads) {
  return attention_workspace<T, BackwardBuffers<T>>(shape_of(kernel, launch), threads);
}

template <class T>
Bytes Fast<T>::workspace(const Rotary& kernel, const Launch& launch, int /*threads*/) {
  return rotary_workspace<T>(kernel, launch);
}

template <class T>
bool Fast<T>::run(const Einsum& kernel, const Launch& launch, int threads) {
  run_einsum<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Map& kernel, const Launch& launch, int threads) {
  run_map<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Reduce& kernel, const Launch& launch, int threads) {
  return run_reduce<T>(kernel, launch, threads);
}

template <class T>
bool Fast<T>::run(const SumExp& kernel, const Launch& launch, int threads) {
  return run_sum_exp<T>(kernel, launch, threads);
}

template <class T>
bool Fast<T>::run(const Pick& kernel, const Launch& launch, int threads) {
  return run_pick<T>(kernel, launch, threads);
}

template <class T>
bool Fast<T>::run(const CrossEntropyGradient& kernel, const Launch& launch, int threads) {
  return run_cross_entropy_gradient<T>(kernel, launch, threads);
}

template <class T>
bool Fast<T>::run(const Embedding& kernel, const Launch& launch, int threads) {
  const DType type = launch.operands[0].dtype;
  ALPA_CHECK(type == launch.results[0].dtype && (type == kDTypeOf<T> || is_low(type)));
  return is_low(type) ? run_embedding<std::uint16_t>(kernel, launch, threads)
                      : run_embedding<T>(kernel, launch, threads);
}

template <class T>
bool Fast<T>::run(const EmbeddingGradient& kernel, const Launch& launch, int threads) {
  return run_embedding_gradient<T>(kernel, launch, threads);
}

template <class T>
bool Fast<T>::run(const NormMoments& kernel, const Launch& launch, int threads) {
  const bool rows = by_rows(kernel.operand, kernel.over, kernel.group);
  if (!rows && !by_channels(kernel.operand, kernel.over)) return false;
  rows ? run_norm_moments<T>(kernel, launch, threads) : channel_moments<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const NormApply& kernel, const Launch& launch, int threads) {
  if (!by_rows(kernel.norm) && !by_channels(kernel.norm)) return false;
  by_rows(kernel.norm) ? run_norm_apply<T>(kernel, launch, threads)
                       : channel_apply<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const NormGradientMoments& kernel, const Launch& launch, int threads) {
  if (!by_rows(kernel.norm) && !by_channels(kernel.norm)) return false;
  by_rows(kernel.norm) ? run_norm_gradient_moments<T>(kernel, launch, threads)
                       : channel_gradient_moments<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const NormGradientInput& kernel, const Launch& launch, int threads) {
  if (!by_rows(kernel.norm) && !by_channels(kernel.norm)) return false;
  by_rows(kernel.norm) ? run_norm_gradient_input<T>(kernel, launch, threads)
                       : channel_gradient_input<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const NormGradientParameters& kernel, const Launch& launch, int threads) {
  if (!by_rows(kernel.norm) && !by_channels(kernel.norm)) return false;
  by_rows(kernel.norm) ? run_norm_gradient_parameters<T>(kernel, launch, threads)
                       : channel_gradient_parameters<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const MaxPool& kernel, const Launch& launch, int threads) {
  run_max_pool<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const MaxPoolGradient& kernel, const Launch& launch, int threads) {
  run_max_pool_gradient<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const AveragePool& kernel, const Launch& launch, int threads) {
  run_average_pool<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const AveragePoolGradient& kernel, const Launch& launch, int threads) {
  run_average_pool_gradient<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Dropout& kernel, const Launch& launch, int threads) {
  run_dropout<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Attention& kernel, const Launch& launch, int threads) {
  run_attention<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const AttentionGradient& kernel, const Launch& launch, int threads) {
  run_attention_gradient<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Rotary& kernel, const Launch& launch, int threads) {
  run_rotary<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Route& kernel, const Launch& launch, int threads) {
  run_route<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const RouteGradient& kernel, const Launch& launch, int threads) {
  run_route_gradient<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Dispatch& kernel, const Launch& launch, int threads) {
  run_dispatch<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Combine& kernel, const Launch& launch, int threads) {
  run_combine<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const GateGradient& /*kernel*/, const Launch& launch, int threads) {
  run_gate_gradient<T>(launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Fill& kernel, const Launch& launch, int threads) {
  T* data = mutable_data_of<T>(launch.results[0]);
  parallel_for(threads, num_elements(launch.results[0].box.extent), 16 * kGrain,
               [&](std::int64_t begin, std::int64_t end) {
                 std::fill(data + begin, data + end, static_cast<T>(kernel.value));
               });
  return true;
}

template <class T>
bool Fast<T>::run(const Update& kernel, const Launch& launch, int threads) {
  run_update<T>(kernel, launch, kernels::scalar(launch.operands[3]), threads);
  return true;
}

template <class T>
bool Fast<T>::run(const LambDirection& kernel, const Launch& launch, int threads) {
  run_lamb_direction<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const SecondMoment& kernel, const Launch& launch, int threads) {
  run_second_moment<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const FactoredDirection& kernel, const Launch& launch, int threads) {
  run_factored_direction<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const ApplyDirection& kernel, const Launch& launch, int threads) {
  run_apply_direction<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const Upsample& kernel, const Launch& launch, int threads) {
  run_upsample<T>(kernel, launch, threads);
  return true;
}

template <class T>
bool Fast<T>::run(const UpsampleGradient& kernel, const Launch& launch, int threads) {
  run_upsample_gradient<T>(kernel, launch, threads);
  return true;
}

template <class T, class Level>
FastKernels<T> fast_kernels() {
  return {
      [](const Kernel& kernel, const Launch& launch, int threads) {
        return std::visit(
            [&](const auto& each) {
              if constexpr (requires { Fast<T>::workspace(each, launch, threads); })
                return Fast<T>::workspace(each, launch, threads);
              else
                return Bytes{0};
            },
            kernel);
      },
      [](const Kernel& kernel, const Launch& launch, int threads) {
        return std::visit(
            [&](const auto& each) {
              if constexpr (requires { Fast<T>::run(each, launch, threads); })
                return Fast<T>::run(each, launch, threads);
              else
                return false;
            },
            kernel);
      },
      [](DType from, const std::byte* data, T* to, std::int64_t n) { widen(from, data, 1, to, n); },
      [](DType to, const T* from, std::byte* data, std::int64_t n) {
        narrow(to, from, data, 1, n);
      }};
}

}  // namespace alpa::cpu
