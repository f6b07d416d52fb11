#include <algorithm>
#include <limits>
#include <thread>

#include "alpa/base/error.hpp"

#include "device/cases.hpp"

namespace alpa::test {
namespace {

/// Results of 16 bits may be rounded to either neighbour: one unit in the last place.
double tolerance(DType dtype) {
  if (dtype == DType::bf16) return 0x1.1p-8;
  if (dtype == DType::f16) return 0x1.1p-11;
  return dtype == DType::f64 ? 1e-12 : 2e-6;
}

/// Longest sum of a case, on which f32 errors grow with the square root.
double growth(const Case& each, const Sizes& sizes) {
  if (each.name.starts_with("update") || each.name.starts_with("map")) return 2.0;
  double elements = 1.0;
  for (const auto& [letter, size] : sizes) elements *= static_cast<double>(size.extent);
  return 2.0 + 0.2 * std::sqrt(elements);
}

std::size_t num_letters(const Case& each) {
  std::string letters;
  for (const auto* arguments : {&each.operands, &each.results}) {
    for (const Argument& argument : *arguments) {
      for (const char letter : argument.dims) {
        if (letters.find(letter) == std::string::npos) letters += letter;
      }
    }
  }
  return letters.size();
}

/// A relative error of a sum is an absolute one of its logarithm, which may come close to 0.
double largest_at_least(const Argument& result) {
  return result.fill == Content::lse ? 1.0 : 1e-30;
}

void expect_reference(Device& device, const Case& each, const Sizes& sizes, DType dtype,
                      std::mt19937_64& random) {
  const auto reference = make_reference_device();
  const auto operands = make(each.operands, sizes, dtype, random);
  const auto results = make(each.results, sizes, dtype, random);
  Launch launch;
  launch.batch_origin = 2;
  launch.batch_size = 9;
  launch.first = std::uniform_int_distribution<int>(0, 1)(random) == 1;
  const auto expected = run(*reference, each.kernel, operands, results, launch);
  const auto actual = run(device, each.kernel, operands, results, launch);
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double allowed = tolerance(dtype) * (size_of(dtype) == 2 ? 1.0 : growth(each, sizes));
    EXPECT_LT(difference(actual[i], expected[i], largest_at_least(each.results[i])), allowed)
        << each.name << ", result " << i << ", " << to_string(dtype) << ", operand 0 "
        << (operands.empty() ? ""
                             : to_string(operands[0].box) + " of " + to_string(operands[0].full));
  }
}

TEST(Cpu, EveryKernelIsTheReference) {
  for (const std::string& level : cpu_levels()) {
    SCOPED_TRACE(level);
    for (const int threads : {1, 2}) {
      const auto device = make_cpu_device(threads, level);
      std::mt19937_64 random(17);
      for (const Case& each : all_cases()) {
        for (const std::int64_t largest : {3, 7, 12}) {
          for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
            if (num_letters(each) > 5 && largest > 7) continue;
            expect_reference(*device, each, random_sizes(each, largest, random), dtype, random);
          }
        }
      }
    }
  }
}

TEST(Cpu, LevelsAreThoseOfTheProcessor) {
  EXPECT_FALSE(cpu_levels().empty());
  EXPECT_THROW((void)make_cpu_device(1, "x86-64-v9"), UserError);
}

/// Sizes beyond register tiles, cache blocks, runs and the grain of threads.
TEST(Cpu, LargeTensorsAreTheReference) {
  const std::vector<std::pair<std::string, Sizes>> large = {
      {"einsum bi,io->bo", {{'b', {0, 45, 45}}, {'i', {0, 401, 401}}, {'o', {0, 70, 70}}}},
      {"einsum bi,oi->bo", {{'b', {0, 210, 210}}, {'i', {0, 33, 33}}, {'o', {0, 150, 150}}}},
      {"einsum bi,oi->bo", {{'b', {0, 17, 17}}, {'i', {0, 333, 333}}, {'o', {0, 271, 271}}}},
      {"einsum bi,oi->bo", {{'b', {0, 65, 65}}, {'i', {0, 130, 130}}, {'o', {0, 71, 71}}}},
      {"einsum bi,bo->io", {{'b', {0, 33, 33}}, {'i', {0, 33, 33}}, {'o', {0, 1100, 1100}}}},
      {"einsum ef,bte->fbt",
       {{'e', {0, 65, 65}}, {'f', {3, 40, 50}}, {'b', {0, 3, 3}}, {'t', {0, 31, 31}}}},
      {"einsum bte,ekhd->btkhd",
       {{'b', {0, 2, 2}},
        {'t', {1, 17, 20}},
        {'e', {0, 48, 48}},
        {'k', {0, 3, 3}},
        {'h', {1, 3, 4}},
        {'d', {0, 12, 12}}}},
      {"einsum abcd,dbef->faec",
       {{'a', {0, 6, 6}},
        {'b', {0, 9, 9}},
        {'c', {0, 7, 7}},
        {'d', {0, 8, 8}},
        {'e', {0, 5, 5}},
        {'f', {0, 6, 6}}}},
      {"einsum bthd,bshd->bhts",
       {{'b', {0, 2, 2}},
        {'t', {0, 40, 40}},
        {'s', {0, 33, 33}},
        {'h', {0, 3, 3}},
        {'d', {0, 24, 24}}}},
      {"einsum ij,ij->", {{'i', {0, 100, 100}}, {'j', {0, 301, 301}}}},
      {"map gelu", {{'b', {0, 3, 3}}, {'t', {0, 70, 70}}, {'e', {0, 333, 333}}}},
      {"map add position", {{'b', {0, 9, 9}}, {'t', {0, 3, 3}}, {'e', {0, 1100, 1100}}}},
      {"map gelu transposed", {{'b', {0, 99, 99}}, {'t', {0, 301, 301}}}},
      {"reduce bte->e", {{'b', {0, 9, 9}}, {'t', {0, 70, 70}}, {'e', {0, 300, 300}}}},
      {"reduce btv->bt", {{'b', {0, 9, 9}}, {'t', {0, 7, 7}}, {'v', {0, 1300, 1300}}}},
      {"reduce ij->", {{'i', {0, 700, 700}}, {'j', {0, 1700, 1700}}}},
      {"sum_exp", {{'b', {0, 9, 9}}, {'t', {0, 7, 7}}, {'v', {0, 1300, 1300}}}},
      {"cross_entropy_gradient btv", {{'b', {0, 2, 2}}, {'t', {0, 37, 37}}, {'v', {5, 700, 900}}}},
      {"embedding_gradient",
       {{'b', {0, 9, 9}}, {'t', {0, 70, 70}}, {'v', {2, 20, 30}}, {'e', {0, 130, 130}}}},
      {"norm_gradient_parameters bte",
       {{'b', {0, 2, 2}}, {'t', {0, 70, 70}}, {'e', {9, 200, 300}}}},
      {"norm_apply bte", {{'b', {0, 2, 2}}, {'t', {0, 70, 70}}, {'e', {9, 200, 300}}}},
      {"dropout", {{'b', {0, 3, 3}}, {'t', {0, 70, 70}}, {'e', {9, 200, 300}}}},
      {"update adamw", {{'i', {0, 200, 200}}, {'j', {0, 321, 321}}}},
  };
  const auto cases = all_cases();
  std::vector<std::unique_ptr<Device>> devices;
  devices.push_back(make_cpu_device(1));
  for (const std::string& level : cpu_levels()) devices.push_back(make_cpu_device(3, level));
  for (const auto& device : devices) {
    std::mt19937_64 random(19);
    for (const auto& [name, sizes] : large) {
      bool found = false;
      for (const Case& each : cases) {
        if (each.name != name) continue;
        found = true;
        for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
          expect_reference(*device, each, sizes, dtype, random);
        }
      }
      EXPECT_TRUE(found) << name;
    }
    for (const Case& each : cases) {
      if (!each.name.starts_with("attention")) continue;
      const Sizes sizes = {{'b', {1, 2, 3}}, {'t', {23, 55, 78}}, {'s', {0, 78, 78}},
                           {'h', {1, 2, 4}}, {'r', {1, 2, 3}},    {'d', {0, 36, 36}}};
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        expect_reference(*device, each, sizes, dtype, random);
      }
    }
  }
}

/// Tensors of more than one block, of the letters that blocks are cut along.
TEST(Cpu, BlocksOf16BitNumbersAreTheReference) {
  const auto size = [](std::int64_t n) { return Size{0, n, n}; };
  const Sizes rows = {{'b', size(3)}, {'t', size(301)}, {'e', size(130)}};
  const std::vector<std::pair<std::string, Sizes>> large = {
      {"norm_apply bte", rows},
      {"norm_gradient_parameters bte", rows},
      {"norm_gradient_input bte", rows},
      {"dropout", rows},
      {"reduce bte->e", rows},
      {"sum_exp", {{'b', size(3)}, {'t', size(301)}, {'v', size(130)}}},
      {"cross_entropy_gradient btv", {{'b', size(3)}, {'t', size(301)}, {'v', {5, 130, 150}}}},
      {"embedding_gradient", {{'b', size(3)}, {'t', size(301)}, {'v', size(50)}, {'e', size(130)}}},
      {"attention causal",
       {{'b', size(2)}, {'t', size(129)}, {'s', size(129)}, {'h', size(3)}, {'d', size(40)}}},
      {"attention_gradient causal",
       {{'b', size(2)}, {'t', size(129)}, {'s', size(129)}, {'h', size(3)}, {'d', size(40)}}},
      {"einsum bte,ef->btf",
       {{'b', size(5)}, {'t', size(203)}, {'e', size(40)}, {'f', size(1103)}}},
      {"einsum bte,btf->ef",
       {{'b', size(5)}, {'t', size(203)}, {'e', size(40)}, {'f', size(1103)}}},
      {"einsum bi,oi->bo", {{'b', size(37)}, {'i', size(40)}, {'o', size(30011)}}},
  };
  const auto cases = all_cases();
  for (const int threads : {1, 3}) {
    const auto device = make_cpu_device(threads);
    std::mt19937_64 random(43);
    for (const auto& [name, sizes] : large) {
      const auto each =
          std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == name; });
      ASSERT_NE(each, cases.end()) << name;
      for (const DType dtype : {DType::bf16, DType::f16}) {
        expect_reference(*device, *each, sizes, dtype, random);
      }
    }
  }
}

/// Products so large that what is transposed first is transposed in parts, against fp64.
TEST(Cpu, LargeProductsAreThoseOfWiderNumbers) {
  const auto device = make_cpu_device(2);
  for (const auto& [rows, depth, columns] :
       {std::array<std::int64_t, 3>{301, 5000, 261}, std::array<std::int64_t, 3>{201, 303, 5301},
        std::array<std::int64_t, 3>{33, 1111, 900}}) {
    for (const Einsum& product : {Einsum{"bi", "oi", "bo"}, Einsum{"bi", "io", "bo"}}) {
      const Sizes sizes = {
          {'b', {0, rows, rows}}, {'i', {0, depth, depth}}, {'o', {0, columns, columns}}};
      std::vector<Tensor> results;
      for (const DType dtype : {DType::f32, DType::f64}) {
        std::mt19937_64 random(23);
        const auto operands = make({{product.left}, {product.right}}, sizes, dtype, random);
        const auto result = make({{product.result}}, sizes, dtype, random);
        results.push_back(run(*device, product, operands, result, Launch{}).at(0));
      }
      EXPECT_LT(difference(results[0], results[1]), 1e-5) << product.right << " " << rows;
    }
  }
}

/// softmax(scale q k^T) v, with -infinity above the diagonal, step by step.
TEST(Cpu, AttentionIsTheUnfusedComputation) {
  const std::int64_t length = 37, depth = 20;
  const Shape shape = {1, length, 1, depth};
  const Sizes sizes = {{'b', {0, 1, 1}},
                       {'t', {0, length, length}},
                       {'s', {0, length, length}},
                       {'h', {0, 1, 1}},
                       {'d', {0, depth, depth}}};
  std::mt19937_64 random(23);
  const auto qkv = make({{"bthd"}, {"bshd"}, {"bshd"}}, sizes, DType::f32, random);
  Tensor expected = zeros(DType::f32, whole_box(shape), shape);
  const auto at = [&](std::int64_t row, std::int64_t i) {
    return static_cast<std::size_t>(row * depth + i);
  };
  for (std::int64_t t = 0; t < length; ++t) {
    std::vector<double> weights;
    double sum = 0.0;
    for (std::int64_t s = 0; s <= t; ++s) {
      double score = 0.0;
      for (std::int64_t i = 0; i < depth; ++i) {
        score += qkv[0].values[at(t, i)] * qkv[1].values[at(s, i)];
      }
      weights.push_back(std::exp(0.3 * score));
      sum += weights.back();
    }
    for (std::int64_t s = 0; s <= t; ++s) {
      for (std::int64_t i = 0; i < depth; ++i) {
        expected.values[at(t, i)] +=
            weights[static_cast<std::size_t>(s)] / sum * qkv[2].values[at(s, i)];
      }
    }
  }
  const Tensor lse = zeros(DType::f32, whole_box({1, length, 1}), {1, length, 1});
  const auto device = make_cpu_device(1);
  const auto actual = run(*device, Attention{true, 0.3, {}},
                          {qkv[0], qkv[1], qkv[2], constant(1), constant(1)}, {expected, lse});
  EXPECT_LT(difference(actual[0], expected), 1e-6);
}

TEST(Cpu, ScoresFarApartDoNotOverflow) {
  const auto device = make_cpu_device(1);
  const Shape shape = {1, 3, 1, 1};
  const Tensor q{DType::f32, whole_box(shape), shape, {100.0, 100.0, -100.0}};
  const Tensor lse = zeros(DType::f32, whole_box({1, 3, 1}), {1, 3, 1});
  const auto out =
      run(*device, Attention{true, 1.0, {}}, {q, q, q, constant(1), constant(1)}, {q, lse});
  EXPECT_EQ(out[0].values, (std::vector<double>{100.0, 100.0, -100.0}));
  EXPECT_NEAR(out[1].values[1], 10000.0 + std::log(2.0), 1e-2);
}

/// Runs an elementwise kernel with its result on its first operand.
Tensor run_in_place(Device& device, const Kernel& kernel, const std::vector<Tensor>& operands) {
  std::vector<Piece> pieces;
  for (const Tensor& tensor : operands) pieces.push_back(upload(device, tensor));
  Launch launch;
  launch.operands = pieces;
  launch.results = {pieces.data(), 1};
  device.launch(Queue::compute, kernel, launch);
  Tensor result = operands[0];
  download(device, pieces[0], result);
  return result;
}

/// What is not a number among others must show in the loss and in its gradient.
TEST(Cpu, NanIsNotHidden) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::string& level : cpu_levels()) {
    const auto device = make_cpu_device(1, level);
    for (const Case& each : all_cases()) {
      const bool watched = each.name.starts_with("sum_exp") || each.name.starts_with("map gelu") ||
                           each.name.starts_with("cross_entropy_gradient btv");
      if (!watched) continue;
      std::mt19937_64 random(29);
      Sizes sizes;
      for (const char letter : each.operands[0].dims) sizes[letter] = {0, 40, 40};
      auto operands = make(each.operands, sizes, DType::f32, random);
      operands[0].values[7] = static_cast<double>(nan);
      const auto results = make(each.results, sizes, DType::f32, random);
      const auto outcome = run(*device, each.kernel, operands, results, Launch{});
      EXPECT_TRUE(std::any_of(outcome[0].values.begin(), outcome[0].values.end(),
                              [](double value) { return std::isnan(value); }))
          << each.name << " " << level;
    }
  }
}

TEST(Cpu, ElementwiseKernelsWorkInPlace) {
  std::mt19937_64 random(29);
  const Sizes sizes = {{'i', {0, 40, 40}}, {'j', {0, 700, 700}}};
  const std::vector<std::pair<Kernel, std::vector<Argument>>> kernels = {
      {Map{MapOp::gelu, {"ij"}, "ij"}, {{"ij"}}},
      {Map{MapOp::add, {"ij", "j"}, "ij"}, {{"ij"}, {"j"}}},
      {Map{MapOp::add, {"ij", "ij", "ij"}, "ij"}, {{"ij"}, {"ij"}, {"ij"}}},
      {Map{MapOp::relu_gradient, {"ij", "ij"}, "ij"}, {{"ij"}, {"ij"}}},
      {Dropout{"ij", {0.4, 5}}, {{"ij"}, {"", Content::constant, 3}, {"", Content::constant, 1}}},
      {Dropout{"ij", {0.4, 5}}, {{"ij"}, {"", Content::constant, 3}, {"", Content::constant, 0}}},
      {CopyBox{}, {{"ij"}}},
  };
  for (const auto& device : {make_reference_device(), make_cpu_device(1), make_cpu_device(2)}) {
    for (const auto& [kernel, arguments] : kernels) {
      for (const DType dtype : {DType::f64, DType::f32}) {
        const auto operands = make(arguments, sizes, dtype, random);
        const auto apart = run(*device, kernel, operands, {operands[0]});
        EXPECT_EQ(run_in_place(*device, kernel, operands).values, apart[0].values);
      }
    }
  }
}

TEST(Cpu, SameInputsGiveTheSameBits) {
  std::mt19937_64 random(31);
  const auto device = make_cpu_device(1), other = make_cpu_device(1);
  for (const Case& each : all_cases()) {
    const Sizes sizes = random_sizes(each, 9, random);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const auto operands = make(each.operands, sizes, dtype, random);
      const auto results = make(each.results, sizes, dtype, random);
      const auto once = run(*device, each.kernel, operands, results);
      const auto twice = run(*other, each.kernel, operands, results);
      for (std::size_t i = 0; i < once.size(); ++i) {
        EXPECT_EQ(once[i].values, twice[i].values) << each.name;
      }
    }
  }
}

TEST(Cpu, DevicesOfDifferentThreadsDoNotDisturbEachOther) {
  const auto cases = all_cases();
  std::vector<std::vector<Tensor>> first(4);
  std::vector<std::thread> ranks;
  for (std::size_t rank = 0; rank < first.size(); ++rank) {
    ranks.emplace_back([&cases, &mine = first[rank]] {
      const auto device = make_cpu_device(1);
      std::mt19937_64 random(37);  // every rank does the same work
      for (const Case& each : cases) {
        const Sizes sizes = random_sizes(each, 8, random);
        const auto operands = make(each.operands, sizes, DType::f32, random);
        const auto results = make(each.results, sizes, DType::f32, random);
        for (Tensor& tensor : run(*device, each.kernel, operands, results)) {
          mine.push_back(std::move(tensor));
        }
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (std::size_t rank = 1; rank < first.size(); ++rank) {
    ASSERT_EQ(first[rank].size(), first[0].size());
    for (std::size_t i = 0; i < first[0].size(); ++i) {
      EXPECT_EQ(first[rank][i].values, first[0][i].values);
    }
  }
}

TEST(Cpu, ConvertsBetweenFloatingTypes) {
  const auto reference = make_reference_device(), cpu = make_cpu_device(1);
  std::mt19937_64 random(41);
  const Sizes sizes = {{'i', {0, 1500, 1500}}};
  const Tensor x = make({{"i"}}, sizes, DType::f32, random)[0];
  for (const DType half : {DType::bf16, DType::f16}) {
    std::vector<std::vector<double>> back;
    for (Device* device : {reference.get(), cpu.get()}) {
      const Piece wide = upload(*device, x);
      const Piece narrow{device->allocate(bytes_of({1500}, half)), half, x.box, x.full};
      const Map copy{MapOp::copy, {"i"}, "i"};
      Launch launch;
      launch.operands = {&wide, 1};
      launch.results = {&narrow, 1};
      device->launch(Queue::compute, copy, launch);
      std::swap(launch.operands, launch.results);
      device->launch(Queue::compute, copy, launch);
      Tensor out = x;
      download(*device, wide, out);
      back.push_back(out.values);
    }
    EXPECT_EQ(back[0], back[1]);
    EXPECT_NE(back[0], x.values);
  }
}

TEST(Cpu, MemoryThatTheHostLacksIsReported) {
  for (const auto& device : {make_cpu_device(1), make_reference_device(), make_debug_device()}) {
    try {
      (void)device->allocate(Bytes{std::int64_t{1} << 60});
      FAIL() << device->name();
    } catch (const SystemError& error) {
      EXPECT_EQ(error.code(), ExitCode::out_of_memory);
      EXPECT_NE(std::string(error.what()).find(device->name()), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace alpa::test
