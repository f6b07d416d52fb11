#include "device/cases.hpp"

/// Pieces of a tensor, run one by one with their boxes, give what the whole gives: the law that
/// sharding rests on.
namespace alpa::test {
namespace {

std::vector<std::unique_ptr<Device>> devices() {
  std::vector<std::unique_ptr<Device>> all;
  all.push_back(make_reference_device());
  all.push_back(make_cpu_device(1));
  all.push_back(make_cpu_device(2));
  return all;
}

const Case& find(const std::vector<Case>& cases, const std::string& name) {
  const auto found =
      std::find_if(cases.begin(), cases.end(), [&](const Case& each) { return each.name == name; });
  if (found == cases.end()) throw std::runtime_error("no case " + name);
  return *found;
}

/// The whole's sizes: fixed, uneven.
Sizes sizes_of(const Case& each) {
  const std::map<char, std::int64_t> full = {
      {'b', 3}, {'t', 7}, {'s', 7}, {'e', 11}, {'h', 3}, {'d', 4}, {'v', 9}, {'k', 3},
      {'f', 5}, {'r', 4}, {'c', 5}, {'o', 4},  {'y', 6}, {'x', 5}, {'l', 3}, {'w', 1}};
  Sizes sizes;
  for (const auto* arguments : {&each.operands, &each.results}) {
    for (const Argument& argument : *arguments) {
      for (const char letter : argument.dims) sizes[letter] = {0, full.at(letter), full.at(letter)};
    }
  }
  fit_windows(each, sizes);
  fit_routing(each, sizes);
  return sizes;
}

std::vector<Tensor> cut_all(const std::vector<Argument>& arguments,
                            const std::vector<Tensor>& tensors, const Sizes& sizes) {
  std::vector<Tensor> parts;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    parts.push_back(cut(tensors[i], box_of(arguments[i].dims, sizes)));
  }
  return parts;
}

void expect_split_is_whole(Device& device, const std::string& name, char letter, DType dtype) {
  const auto cases = all_cases();
  const Case& each = find(cases, name);
  const Sizes sizes = sizes_of(each);
  std::mt19937_64 random(5);
  const auto operands = make(each.operands, sizes, dtype, random);
  const auto blank = make(each.results, sizes, dtype, random);
  const auto expected = run(device, each.kernel, operands, blank);
  auto joined = blank;
  for (Tensor& tensor : joined) std::fill(tensor.values.begin(), tensor.values.end(), 0.0);

  const std::int64_t full = sizes.at(letter).full;
  for (std::int64_t i = 0; i < 2; ++i) {
    Sizes piece = sizes;
    const std::int64_t begin = full * i / 2, end = full * (i + 1) / 2;
    piece[letter] = {begin, end - begin, full};
    const auto results = run(device, each.kernel, cut_all(each.operands, operands, piece),
                             cut_all(each.results, blank, piece));
    for (std::size_t r = 0; r < results.size(); ++r) join(joined[r], results[r], true);
  }
  for (std::size_t r = 0; r < expected.size(); ++r) {
    EXPECT_LT(difference(joined[r], expected[r]), dtype == DType::f64 ? 1e-13 : 1e-5)
        << device.name() << " " << name << " split over " << letter << ", result " << r;
  }
}

TEST(Split, PiecesMakeTheWhole) {
  const std::vector<std::pair<std::string, std::string>> splits = {
      {"einsum bte,ekhd->btkhd", "btekhd"},
      {"einsum bte,btkhd->ekhd", "btekhd"},
      {"map add bias", "bte"},
      {"map cross_entropy", "bt"},
      {"pick", "btv"},
      {"sum_exp", "btv"},
      {"cross_entropy_gradient btv", "btv"},
      {"embedding", "btve"},
      {"embedding_gradient", "btve"},
      {"norm_moments bte", "bte"},
      {"norm_apply bte", "bte"},
      {"norm_gradient_moments bte", "bte"},
      {"norm_gradient_input bte", "bte"},
      {"norm_gradient_parameters bte", "bte"},
      {"norm_moments betc over be", "betc"},
      {"norm_apply betc over be", "betc"},
      {"norm_gradient_moments betc over be", "betc"},
      {"norm_gradient_input betc over be", "betc"},
      {"norm_gradient_parameters betc over be", "betc"},
      {"convolution stride 2 padding 1", "bco"},
      {"convolution_gradient_input stride 2 padding 1", "bco"},
      {"convolution_gradient_weight stride 2 padding 1", "bco"},
      {"max_pool 3", "bc"},
      {"max_pool_gradient 3", "bc"},
      {"average_pool 3", "bc"},
      {"average_pool_gradient 3", "bc"},
      {"dropout", "bte"},
      {"attention causal dropout", "bth"},
      {"attention_gradient causal dropout", "bth"},
      {"attention grouped causal dropout", "bthr"},
      {"attention_gradient grouped causal dropout", "bthr"},
      {"attention grouped dropout documents", "bthr"},
      {"attention_gradient grouped dropout documents", "bthr"},
      {"attention_gradient causal documents", "bth"},
      {"rotary", "bth"},
      {"pick smoothed", "btv"},
      {"route top 2", "b"},
      {"route_gradient top 2", "b"},
      {"dispatch gated", "bxe"},
      {"combine gated", "bxe"},
      {"gate_gradient", "bxe"},
      {"cross_entropy_gradient btv smoothed", "btv"},
  };
  for (const auto& device : devices()) {
    for (const auto& [name, letters] : splits) {
      for (const char letter : letters) {
        expect_split_is_whole(*device, name, letter, DType::f64);
        expect_split_is_whole(*device, name, letter, DType::f32);
      }
    }
  }
}

TEST(Split, MicrobatchesDropWhatTheGlobalBatchDrops) {
  for (const auto& device : devices()) {
    for (const std::string name : {"dropout", "dropout batch inside", "attention causal dropout",
                                   "attention grouped causal dropout"}) {
      const auto cases = all_cases();
      const Case& each = *std::find_if(cases.rbegin(), cases.rend(),
                                       [&](const Case& c) { return c.name == name; });
      Sizes sizes = sizes_of(each);
      std::mt19937_64 random(6);
      const auto operands = make(each.operands, sizes, DType::f32, random);
      const auto blank = make(each.results, sizes, DType::f32, random);
      const auto expected = run(*device, each.kernel, operands, blank);
      auto joined = blank;
      for (std::int64_t sample = 0; sample < 3; ++sample) {
        Sizes one = sizes;
        one['b'] = {sample, 1, 3};
        auto parts = cut_all(each.operands, operands, one);
        auto results = cut_all(each.results, blank, one);
        for (auto* tensors : {&parts, &results}) {  // a microbatch is a tensor of its own
          for (std::size_t i = 0; i < tensors->size(); ++i) {
            const Dims& dims = (tensors == &parts ? each.operands : each.results)[i].dims;
            if (const auto b = dims.find('b'); b != Dims::npos) {
              (*tensors)[i].box.offset[b] = 0;
              (*tensors)[i].full[b] = 1;
            }
          }
        }
        Launch launch;
        launch.batch_origin = sample;
        launch.batch_size = 3;
        results = run(*device, each.kernel, parts, results, launch);
        for (std::size_t r = 0; r < results.size(); ++r) {
          const std::size_t b = each.results[r].dims.find('b');
          results[r].box.offset[b] = sample;
          join(joined[r], results[r], false);
        }
      }
      for (std::size_t r = 0; r < expected.size(); ++r) {
        EXPECT_LT(difference(joined[r], expected[r]), 1e-6) << device->name() << " " << name;
      }
    }
  }
}

TEST(CopyBox, MovesTheCommonPartAndNothingElse) {
  std::mt19937_64 random(8);
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  for (const auto& device : devices()) {
    for (int round = 0; round < 300; ++round) {
      Shape full(static_cast<std::size_t>(between(0, 4)));
      Box from, to;
      for (std::int64_t& n : full) {
        n = between(1, 5);
        for (Box* box : {&from, &to}) {
          box->offset.push_back(between(0, n));
          box->extent.push_back(between(0, n - box->offset.back()));
        }
      }
      for (const DType dtype : {DType::f64, DType::f32, DType::i32}) {
        Tensor source = zeros(dtype, from, full), target = zeros(dtype, to, full);
        for (std::size_t i = 0; i < source.values.size(); ++i) {
          source.values[i] = static_cast<double>(i + 1);
        }
        Tensor expected = target;
        join(expected, cut(source, intersect(from, to)), false);
        EXPECT_EQ(run(*device, CopyBox{}, {source}, {target})[0].values, expected.values)
            << to_string(from) << " to " << to_string(to);
      }
    }
  }
}

}  // namespace
}  // namespace alpa::test
