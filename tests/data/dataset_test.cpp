#include "alpa/data/dataset.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/data/permutation.hpp"

#include "data/batches.hpp"

namespace alpa {
namespace {

/// Tokens whose id is their position, so that a batch tells where it came from.
Tokens positions(std::int64_t n) {
  std::vector<std::uint32_t> ids(static_cast<std::size_t>(n));
  std::iota(ids.begin(), ids.end(), 0U);
  return Tokens(ids);
}

std::map<std::string, Dataset> all_datasets() {
  const BatchOptions batches{.global_batch = 6, .seed = 7, .evaluation_samples = 0};
  return {{"windows", token_dataset(positions(211), {.sequence = 8, .held_out = 0.3}, batches)},
          {"classes", synthetic_classes(5, 3, batches)},
          {"regression", synthetic_regression(5, 4, batches)},
          {"tokens", synthetic_tokens(8, 50, batches)},
          {"documents", synthetic_tokens(8, 50, batches, {.end_of_document = 3})},
          {"images", synthetic_images({6, 5, 3}, 4, batches)}};
}

/// The box read directly equals the same box cut out of the whole batch.
template <class T>
void expect_slices_agree(const Dataset& data, Split split, std::int64_t batch, const Field& field) {
  const Shape shape = batch_shape(data, field);
  const auto whole = fill<T>(data, split, batch, field.name, whole_box(shape));
  Box box = whole_box(shape);
  box.offset[0] = 2;
  box.extent[0] = 3;
  for (std::size_t d = 1; d < shape.size(); ++d) {
    box.offset[d] = 1;
    box.extent[d] = shape[d] - 2;
  }
  const auto part = fill<T>(data, split, batch, field.name, box);
  for (std::size_t i = 0; i < part.size(); ++i) {
    auto rest = static_cast<std::int64_t>(i);
    std::int64_t at = 0;
    std::int64_t stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      at += (box.offset[d] + rest % box.extent[d]) * stride;
      rest /= box.extent[d];
      stride *= shape[d];
    }
    EXPECT_EQ(part[i], whole[static_cast<std::size_t>(at)]) << field.name << " " << i;
  }
}

TEST(Dataset, ValuesDoNotDependOnTheSlicing) {
  for (const auto& [name, data] : all_datasets()) {
    SCOPED_TRACE(name);
    for (const Split split : {Split::training, Split::evaluation}) {
      for (const std::int64_t batch : {1, 3}) {
        for (const Field& field : data.fields()) {
          if (field.type == FieldType::integer) {
            expect_slices_agree<std::int32_t>(data, split, batch, field);
          } else {
            expect_slices_agree<double>(data, split, batch, field);
            expect_slices_agree<float>(data, split, batch, field);
          }
        }
      }
    }
  }
}

TEST(Dataset, BatchesAreAFunctionOfTheStepAlone) {
  const auto first = all_datasets();
  const auto second = all_datasets();
  for (const auto& [name, data] : first) {
    const std::string field = name == "regression" ? "targets" : "labels";
    const auto at = [&](const Dataset& d, std::int64_t step) {
      return name == "regression" ? reals(d, Split::training, step, field)
                                  : std::vector<double>([&] {
                                      const auto v = integers(d, Split::training, step, field);
                                      return std::vector<double>(v.begin(), v.end());
                                    }());
    };
    const auto later = at(data, 1000);
    EXPECT_EQ(at(second.at(name), 1000), later) << name;
    EXPECT_NE(at(data, 999), later) << name;
  }
}

TEST(Dataset, WeightOfABatchIsTheSumOfItsWeights) {
  for (const auto& [name, data] : all_datasets()) {
    double evaluated = 0;
    for (std::int64_t b = 0; b < data.num_evaluation_batches() + 1; ++b) {
      const auto w = reals(data, Split::evaluation, b, "weights");
      const double sum = std::accumulate(w.begin(), w.end(), 0.0);
      EXPECT_EQ(data.total_weight(Split::evaluation, b), sum) << name;
      EXPECT_EQ(sum > 0, b < data.num_evaluation_batches()) << name;
      evaluated += sum;
    }
    if (name == "windows") {
      EXPECT_EQ(evaluated, 63);  // floor(0.3 * 211)
    }
    const auto w = reals(data, Split::training, 5, "weights");
    EXPECT_EQ(data.total_weight(Split::training, 5), std::accumulate(w.begin(), w.end(), 0.0));
    if (name != "documents") {
      EXPECT_EQ(data.total_weight(Split::training, 5), static_cast<double>(w.size())) << name;
    }
  }
}

TEST(TokenDataset, LabelsAreTheTokensOneLater) {
  const Dataset data = all_datasets().at("windows");
  const auto tokens = integers(data, Split::training, 2, "tokens");
  const auto labels = integers(data, Split::training, 2, "labels");
  for (std::size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(labels[i], (tokens[i] + 1) % 148);
}

/// Labels of `epochs` epochs of training, G = 1.
std::vector<std::vector<std::int32_t>> epochs_of(const Dataset& data, int epochs) {
  std::vector<std::vector<std::int32_t>> all;
  std::int64_t step = 1;
  for (int e = 0; e < epochs; ++e) {
    std::vector<std::int32_t>& epoch = all.emplace_back();
    for (std::int64_t w = 0; w < data.samples_per_epoch(); ++w, ++step) {
      const auto labels = integers(data, Split::training, step, "labels");
      epoch.insert(epoch.end(), labels.begin(), labels.end());
    }
  }
  return all;
}

TEST(TokenDataset, EachWindowComesOnceAnEpochAndHeldOutTokensNever) {
  for (const bool shuffle : {false, true}) {
    const Dataset data =
        token_dataset(positions(1003), {.sequence = 8, .held_out = 0.1, .shuffle = shuffle},
                      {.global_batch = 1, .seed = 3, .evaluation_samples = 0});
    EXPECT_EQ(data.samples_per_epoch(), (903 - 1) / 8);
    const auto epochs = epochs_of(data, 3);
    for (const auto& epoch : epochs) {
      const std::set<std::int32_t> distinct(epoch.begin(), epoch.end());
      EXPECT_EQ(distinct.size(), epoch.size()) << "a label came twice in an epoch";
      EXPECT_LT(*distinct.rbegin(), 903) << "a held-out token was trained on";
    }
    EXPECT_EQ(epochs[0] == epochs[1], !shuffle);
    if (!shuffle) {
      EXPECT_TRUE(std::is_sorted(epochs[0].begin(), epochs[0].end()));
    }
    if (shuffle) {
      const auto boundary = [&](std::size_t e) { return epochs[e][0] % 8; };
      EXPECT_FALSE(boundary(0) == boundary(1) && boundary(1) == boundary(2));
    }
  }
}

TEST(TokenDataset, EvaluationPredictsEachHeldOutTokenOnceInOrder) {
  for (const std::int64_t size : {100, 101, 107, 108}) {
    const Dataset data = token_dataset(positions(size), {.sequence = 8, .held_out = 0.4},
                                       {.global_batch = 3, .seed = 0, .evaluation_samples = 0});
    std::vector<std::int32_t> seen;
    for (std::int64_t b = 0; b < data.num_evaluation_batches(); ++b) {
      const auto labels = integers(data, Split::evaluation, b, "labels");
      const auto tokens = integers(data, Split::evaluation, b, "tokens");
      const auto weights = reals(data, Split::evaluation, b, "weights");
      for (std::size_t i = 0; i < labels.size(); ++i) {
        if (weights[i] == 0) continue;
        EXPECT_EQ(labels[i], tokens[i] + 1);
        seen.push_back(labels[i]);
      }
    }
    const auto held = static_cast<std::int64_t>(static_cast<double>(size) * 0.4);
    std::vector<std::int32_t> expected(static_cast<std::size_t>(held));
    std::iota(expected.begin(), expected.end(), static_cast<std::int32_t>(size - held));
    EXPECT_EQ(seen, expected) << size;
  }
}

TEST(TokenDataset, FewerEvaluationSamplesAreTheFirst) {
  const Dataset data = token_dataset(positions(1000), {.sequence = 10, .held_out = 0.5},
                                     {.global_batch = 4, .seed = 0, .evaluation_samples = 6});
  EXPECT_EQ(data.num_evaluation_batches(), 2);
  EXPECT_EQ(data.total_weight(Split::evaluation, 1), 20);
  EXPECT_EQ(integers(data, Split::evaluation, 0, "labels")[0], 500);
}

TEST(TokenDataset, WithoutHeldOutPartThereIsNothingToEvaluate) {
  const Dataset data =
      token_dataset(positions(20), {.sequence = 4, .held_out = 0.0}, {.global_batch = 4});
  EXPECT_EQ(data.num_evaluation_batches(), 0);
}

TEST(TokenDataset, TooLittleDataIsToldWithTheNumbers) {
  try {
    (void)token_dataset(positions(20), {.sequence = 19, .held_out = 0.05}, {.global_batch = 4});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bad_data);
    EXPECT_NE(std::string(error.what()).find("19 are for training"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("needs 20"), std::string::npos);
  }
  EXPECT_EQ(token_dataset(positions(21), {.sequence = 19, .held_out = 0.05}, {.global_batch = 4})
                .samples_per_epoch(),
            1);
}

TEST(Permutation, HitsEveryPlaceOnce) {
  for (const std::int64_t n : {1, 2, 3, 4, 5, 16, 17, 100, 1025}) {
    std::set<std::int64_t> places;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t p = permuted(i, n, 99);
      EXPECT_TRUE(p >= 0 && p < n);
      places.insert(p);
    }
    EXPECT_EQ(static_cast<std::int64_t>(places.size()), n);
  }
}

TEST(Permutation, DependsOnTheKeyAndIsFarFromInOrder) {
  int same = 0;
  int fixed = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    same += permuted(i, 1000, 1) == permuted(i, 1000, 2) ? 1 : 0;
    fixed += permuted(i, 1000, 1) == i ? 1 : 0;
  }
  EXPECT_LT(same, 10);   // 1 on average
  EXPECT_LT(fixed, 10);  // 1 on average
}

TEST(SyntheticClasses, SamplesLieAroundTheirCentreWithUnitVariance) {
  const Dataset data =
      synthetic_classes(4, 3, {.global_batch = 3000, .seed = 5, .evaluation_samples = 0});
  const auto x = reals(data, Split::training, 1, "features");
  const auto y = integers(data, Split::training, 1, "labels");
  const auto x2 = reals(data, Split::evaluation, 0, "features");
  const auto y2 = integers(data, Split::evaluation, 0, "labels");
  EXPECT_NE(x, x2);
  std::vector<double> mean(12, 0.0), mean2(12, 0.0), count(3, 0.0), count2(3, 0.0);
  for (std::size_t s = 0; s < y.size(); ++s) {
    count[static_cast<std::size_t>(y[s])] += 1;
    count2[static_cast<std::size_t>(y2[s])] += 1;
    for (std::size_t f = 0; f < 4; ++f) {
      mean[static_cast<std::size_t>(y[s]) * 4 + f] += x[s * 4 + f];
      mean2[static_cast<std::size_t>(y2[s]) * 4 + f] += x2[s * 4 + f];
    }
  }
  double variance = 0;
  for (std::size_t i = 0; i < 12; ++i) {
    mean[i] /= count[i / 4];
    EXPECT_NEAR(mean[i], mean2[i] / count2[i / 4], 0.2) << "evaluation has other centres";
  }
  for (std::size_t s = 0; s < y.size(); ++s) {
    for (std::size_t f = 0; f < 4; ++f) {
      variance += std::pow(x[s * 4 + f] - mean[static_cast<std::size_t>(y[s]) * 4 + f], 2);
    }
  }
  EXPECT_NEAR(variance / 12000, 1.0, 0.05);
  for (const double c : count) EXPECT_NEAR(c, 1000, 120);
}

TEST(SyntheticRegression, TargetsAreLinearInTheFeatures) {
  // With as many samples as needed, T = X W exactly: check that equal combinations of rows agree by
  // solving for W from the first F samples and predicting the others.
  const std::size_t f = 2;
  const Dataset data = synthetic_regression(2, 1, {.global_batch = 8, .seed = 5});
  const auto x = reals(data, Split::training, 1, "features");
  const auto t = reals(data, Split::training, 1, "targets");
  const double det = x[0] * x[3] - x[1] * x[2];
  const double w0 = (t[0] * x[3] - x[1] * t[1]) / det;
  const double w1 = (x[0] * t[1] - t[0] * x[2]) / det;
  for (std::size_t s = 2; s < 8; ++s) EXPECT_NEAR(x[s * f] * w0 + x[s * f + 1] * w1, t[s], 1e-9);
}

TEST(SyntheticTokens, NineOfTenTokensFollowFromTheOneBefore) {
  const Dataset data = synthetic_tokens(50, 20, {.global_batch = 100, .seed = 1});
  const auto tokens = integers(data, Split::training, 1, "tokens");
  const auto labels = integers(data, Split::training, 1, "labels");
  std::map<std::int32_t, std::map<std::int32_t, int>> after;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    ++after[tokens[i]][labels[i]];
    if (i % 50 != 49) {
      EXPECT_EQ(tokens[i + 1], labels[i]);
    }
    EXPECT_TRUE(labels[i] >= 0 && labels[i] < 20);
  }
  int usual = 0;
  for (const auto& [token, next] : after) {
    usual += std::max_element(next.begin(), next.end(), [](const auto& a, const auto& b) {
               return a.second < b.second;
             })->second;
  }
  EXPECT_NEAR(usual / 5000.0, 0.905, 0.02);
}

}  // namespace
}  // namespace alpa
