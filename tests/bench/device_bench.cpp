#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "alpa/device/device.hpp"

#include "machine.hpp"

/// Speed of the CPU device on the kernels of two GPTs: `device_bench [threads]`, best of several
/// runs. `device_bench --machine [threads]`: only what the processor does at best;
/// `--images [threads]`: convolution and batch norm alone. Rates are of the
/// floating-point operations that the kernel does, or of the bytes that it must read and write
/// once.
namespace alpa {
namespace {

struct Model {
  std::string name;
  std::map<char, std::int64_t> sizes;
};

struct Argument {
  Dims dims;
  DType dtype;
};

class Bench {
 public:
  Bench(Device& device, const Model& model) : device_(device), model_(model) {}

  /// Bytes of all pieces, once.
  double run(const std::string& name, const Kernel& kernel, const std::vector<Argument>& operands,
             const std::vector<Argument>& results, double flops) {
    std::vector<Piece> in, out;
    for (const Argument& argument : operands) in.push_back(make(argument));
    for (const Argument& argument : results) out.push_back(make(argument));
    Launch launch;
    launch.operands = in;
    launch.results = out;
    const Bytes workspace = device_.workspace_size(kernel, launch);
    std::byte* memory = device_.allocate(workspace);
    launch.workspace = {memory, static_cast<std::size_t>(workspace.value)};
    const double seconds = best([&] { device_.launch(Queue::compute, kernel, launch); });
    double bytes = 0.0;
    for (const auto* pieces : {&in, &out}) {
      for (const Piece& piece : *pieces) {
        bytes += static_cast<double>(bytes_of(piece.full, piece.dtype).value);
        device_.release(piece.data);
      }
    }
    device_.release(memory);
    std::printf("%-12s %-44s %9.1f us", model_.name.c_str(), name.c_str(), seconds * 1e6);
    if (flops > 0.0) std::printf(" %8.1f GFLOP/s", flops / seconds * 1e-9);
    std::printf(" %8.1f GB/s  workspace %.1f KiB\n", bytes / seconds * 1e-9,
                static_cast<double>(workspace.value) / 1024.0);
    return seconds;
  }

  [[nodiscard]] double elements(const Dims& dims) const {
    double product = 1.0;
    for (const char letter : dims) product *= static_cast<double>(model_.sizes.at(letter));
    return product;
  }

 private:
  [[nodiscard]] Piece make(const Argument& argument) const {
    Shape shape;
    for (const char letter : argument.dims) shape.push_back(model_.sizes.at(letter));
    Piece piece{device_.allocate(bytes_of(shape, argument.dtype)), argument.dtype, whole_box(shape),
                shape};
    for (std::int64_t i = 0; i < num_elements(shape); ++i) {
      const double value = 1.0 + 0.01 * static_cast<double>(i * 7919 % 101);
      if (argument.dtype == DType::f64) reinterpret_cast<double*>(piece.data)[i] = value;
      if (argument.dtype == DType::f32) {
        reinterpret_cast<float*>(piece.data)[i] = static_cast<float>(value - 1.5);
      }
      if (argument.dtype == DType::i32) {
        reinterpret_cast<std::int32_t*>(piece.data)[i] = static_cast<std::int32_t>(i * 31 % 256);
      }
    }
    return piece;
  }

  static double best(const std::function<void()>& work) {
    using Clock = std::chrono::steady_clock;
    double least = 1e9;
    const auto end = Clock::now() + std::chrono::milliseconds(250);
    for (int run = 0; run < 3 || Clock::now() < end; ++run) {
      const auto start = Clock::now();
      work();
      least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
    }
    return least;
  }

  Device& device_;
  const Model& model_;
};

void bench_products(Bench& bench, DType dtype) {
  const std::vector<std::array<Dims, 3>> products = {
      {"bte", "ekhd", "btkhd"}, {"btkhd", "ekhd", "bte"}, {"bte", "btkhd", "ekhd"},
      {"bthd", "hde", "bte"},   {"bte", "hde", "bthd"},   {"bthd", "bte", "hde"},
      {"bte", "ef", "btf"},     {"btf", "fe", "bte"},     {"btf", "ef", "bte"},
      {"bte", "btf", "ef"},     {"bte", "ve", "btv"},     {"btv", "ve", "bte"},
      {"btv", "bte", "ve"}};
  for (const auto& [left, right, result] : products) {
    Dims all = left;
    for (const char letter : right + result) {
      if (all.find(letter) == Dims::npos) all += letter;
    }
    bench.run(std::string(to_string(dtype)) + " " + left + "," + right + "->" + result,
              Einsum{left, right, result}, {{left, dtype}, {right, dtype}}, {{result, dtype}},
              2.0 * bench.elements(all));
  }
}

void bench_attention(Bench& bench, DType dtype, double probability) {
  const Attention attention{true, 0.125, {probability, 7}};
  const Argument q{"bthd", dtype}, k{"bshd", dtype}, lse{"bth", dtype}, scalar{"", DType::f64};
  const double square = bench.elements("bthsd");  // 2 t s d of each product; causal: about half
  const std::string name =
      std::string(to_string(dtype)) + " attention" + (probability > 0 ? " dropout" : "");
  bench.run(name + " (full square)", attention, {q, k, k, scalar, scalar}, {q, lse}, 4.0 * square);
  bench.run(name + " gradient (full square)", AttentionGradient{attention},
            {q, k, k, q, lse, q, scalar, scalar}, {q, k, k}, 10.0 * square);
}

void bench_streams(Bench& bench) {
  const Argument x{"bte", DType::f32}, row{"bt", DType::f64}, e{"e", DType::f32};
  const Argument f{"btf", DType::f32}, scalar{"", DType::f64}, w{"ef", DType::f32};
  const NormAttributes norm{"bte"};
  bench.run("gelu", Map{MapOp::gelu, {"btf"}, "btf"}, {f}, {f}, 0);
  bench.run("gelu_gradient", Map{MapOp::gelu_gradient, {"btf", "btf"}, "btf"}, {f, f}, {f}, 0);
  bench.run("gelu_tanh", Map{MapOp::gelu_tanh, {"btf"}, "btf"}, {f}, {f}, 0);
  bench.run("gelu_tanh_gradient", Map{MapOp::gelu_tanh_gradient, {"btf", "btf"}, "btf"}, {f, f},
            {f}, 0);
  bench.run("add bias", Map{MapOp::add, {"bte", "e"}, "bte"}, {x, e}, {x}, 0);
  bench.run("add", Map{MapOp::add, {"bte", "bte"}, "bte"}, {x, x}, {x}, 0);
  bench.run("bias gradient", Reduce{ReduceOp::sum, false, "btf", "f"}, {f}, {{"f", DType::f32}}, 0);
  bench.run("square norm", Reduce{ReduceOp::sum, true, "btf", ""}, {f}, {scalar}, 0);
  bench.run("norm_moments", NormMoments{"bte"}, {x}, {row, row}, 0);
  bench.run("norm_apply", NormApply{norm, true}, {x, row, row, e, e}, {x}, 0);
  bench.run("norm_gradient_moments", NormGradientMoments{norm}, {x, x, row, row, e}, {row, row}, 0);
  bench.run("norm_gradient_input", NormGradientInput{norm}, {x, x, row, row, e, row, row}, {x}, 0);
  bench.run("norm_gradient_parameters", NormGradientParameters{norm, true}, {x, x, row, row},
            {e, e}, 0);
  bench.run("dropout", Dropout{"bte", {0.1, 3}}, {x, scalar, scalar}, {x}, 0);
  bench.run("stack", Stack{"bt3hd", '3'}, std::vector<Argument>(3, {"bthd", DType::f32}),
            {{"bt3hd", DType::f32}}, 0);
  bench.run("select", Select{"bt3hd", '3', 1}, {{"bt3hd", DType::f32}}, {{"bthd", DType::f32}}, 0);
  bench.run("accumulate", Accumulate{"btf"}, {f}, {f}, 0);
  bench.run("adamw", Update{.operand = "ef", .weight_decay = 0.1, .clip_norm = 1.0},
            {w, scalar, scalar, scalar}, {w, w, w}, 0);
}

void bench_loss(Bench& bench) {
  const Argument logits{"btv", DType::f32}, row{"bt", DType::f32}, labels{"bt", DType::i32};
  bench.run("row max", Reduce{ReduceOp::max, false, "btv", "bt"}, {logits}, {row}, 0);
  bench.run("sum_exp", SumExp{"btv", "bt"}, {logits, row}, {row}, 0);
  bench.run("pick", Pick{"btv", "bt", 'v'}, {logits, labels}, {row}, 0);
  bench.run("cross_entropy_gradient", CrossEntropyGradient{"btv", "bt", 'v'},
            {logits, row, row, labels, row, {"", DType::f64}}, {logits}, 0);
  bench.run("embedding", Embedding{"ve", "bt", "bte"}, {{"ve", DType::f32}, labels},
            {{"bte", DType::f32}}, 0);
  bench.run("embedding_gradient", EmbeddingGradient{"bte", "bt", "ve"},
            {{"bte", DType::f32}, labels}, {{"ve", DType::f32}}, 0);
}

Model gpt(const std::string& name, std::int64_t e, std::int64_t h, std::int64_t b, std::int64_t t) {
  return {name,
          {{'b', b},
           {'t', t},
           {'s', t},
           {'e', e},
           {'h', h},
           {'d', e / h},
           {'k', 3},
           {'3', 3},
           {'f', 4 * e},
           {'v', 256}}};
}

/// A 3x3 convolution and batch norm of 256 channels on images of 32 x 32.
void bench_images(Bench& bench) {
  const Argument x{"byxc", DType::f32}, w{"klco", DType::f32}, y{"bhwo", DType::f32};
  const Argument row{"o", DType::f64}, o{"o", DType::f32};
  const Window window{.stride = 1, .padding = 1};
  const double flops = 2.0 * bench.elements("bhwklco");
  double seconds = bench.run("convolution", Convolution{window}, {x, w}, {y}, flops);
  seconds +=
      bench.run("convolution_gradient_input", ConvolutionGradientInput{window}, {y, w}, {x}, flops);
  seconds += bench.run("convolution_gradient_weight", ConvolutionGradientWeight{window}, {x, y},
                       {w}, flops);
  std::printf("convolution, forward and backward: %.1f ms\n", seconds * 1e3);
  const NormAttributes norm{.operand = "bhwo", .over = "bhw", .parameters = "o"};
  bench.run("batch norm moments", NormMoments{"bhwo", "bhw"}, {y}, {row, row}, 0);
  bench.run("batch norm", NormApply{norm, true}, {y, row, row, o, o}, {y}, 0);
  bench.run("batch norm gradient moments", NormGradientMoments{norm}, {y, y, row, row, o},
            {row, row}, 0);
  bench.run("batch norm gradient input", NormGradientInput{norm}, {y, y, row, row, o, row, row},
            {y}, 0);
  bench.run("batch norm gradient parameters", NormGradientParameters{norm, true}, {y, y, row, row},
            {o, o}, 0);
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) {
  const bool only_machine = argc > 1 && std::string(argv[1]) == "--machine";
  const bool only_images = argc > 1 && std::string(argv[1]) == "--images";
  const int at = only_machine || only_images ? 2 : 1;
  const char* count = argc > at ? argv[at] : "1";
  const int threads = std::atoi(count);
  if (threads < 1) {
    std::fprintf(stderr, "usage: %s [--machine | --images] [threads >= 1]\n", argv[0]);
    return 64;
  }
  const alpa::bench::Machine machine = alpa::bench::measure_machine(threads);
  std::printf("machine, %d threads: fp32 %.1f GFLOP/s, AdamW stream %.1f GB/s\n", threads,
              machine.flops * 1e-9, machine.stream * 1e-9);
  if (only_machine) return 0;
  const auto device = alpa::make_cpu_device(threads);
  const alpa::Model image{"image 256",
                          {{'b', 8},
                           {'y', 32},
                           {'x', 32},
                           {'h', 32},
                           {'w', 32},
                           {'k', 3},
                           {'l', 3},
                           {'c', 256},
                           {'o', 256}}};
  alpa::Bench images(*device, image);
  alpa::bench_images(images);
  if (only_images) return 0;
  for (const alpa::Model& model :
       {alpa::gpt("gpt 6x384", 384, 6, 8, 256), alpa::gpt("gpt 4x128", 128, 4, 8, 128)}) {
    alpa::Bench bench(*device, model);
    alpa::bench_products(bench, alpa::DType::f32);
    alpa::bench_products(bench, alpa::DType::f64);
    for (const double probability : {0.0, 0.1}) {
      alpa::bench_attention(bench, alpa::DType::f32, probability);
    }
    alpa::bench_attention(bench, alpa::DType::f64, 0.0);
    alpa::bench_streams(bench);
    alpa::bench_loss(bench);
  }
  return 0;
}
