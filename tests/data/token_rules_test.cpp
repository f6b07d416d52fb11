#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/data/dataset.hpp"

#include "data/batches.hpp"

namespace alpa {
namespace {

constexpr std::int32_t kEnd = 0;

/// Documents of 3, 4, 5, … tokens 1 2 3 …, each ended by 0.
Tokens documents_of(std::int64_t size) {
  std::vector<std::uint32_t> ids;
  for (std::uint32_t length = 3; static_cast<std::int64_t>(ids.size()) < size; ++length) {
    for (std::uint32_t i = 1; i <= length; ++i) ids.push_back(i);
    ids.push_back(kEnd);
  }
  ids.resize(static_cast<std::size_t>(size));
  return Tokens(ids);
}

TEST(Documents, CountUpAfterEachEndAndNoLabelCrosses) {
  const Dataset data =
      token_dataset(documents_of(320), {.sequence = 16, .held_out = 0.2, .shuffle = false},
                    {.global_batch = 4, .seed = 2}, {.end_of_document = kEnd});
  for (const Split split : {Split::training, Split::evaluation}) {
    const std::int64_t batch = split == Split::training ? 1 : 0;
    const auto tokens = integers(data, split, batch, "tokens");
    const auto labels = integers(data, split, batch, "labels");
    const auto documents = integers(data, split, batch, "documents");
    const auto weights = reals(data, split, batch, "weights");
    std::int32_t crossed = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i % 16 == 0) {
        EXPECT_EQ(documents[i], 0);
      } else {
        EXPECT_EQ(documents[i] - documents[i - 1], tokens[i - 1] == kEnd ? 1 : 0);
      }
      EXPECT_EQ(weights[i], tokens[i] == kEnd ? 0 : 1);  // after an end comes another document
      if (weights[i] != 0 && tokens[i] != kEnd && labels[i] != kEnd) {
        EXPECT_EQ(labels[i], tokens[i] + 1);
      }
      crossed += tokens[i] == kEnd ? 1 : 0;
    }
    EXPECT_GT(crossed, 0);
    EXPECT_EQ(data.total_weight(split, batch), 64 - crossed);
  }
}

TEST(Documents, PaddingIsADocumentOfItsOwn) {
  const Dataset data = token_dataset(documents_of(105), {.sequence = 8, .held_out = 0.1},
                                     {.global_batch = 2, .seed = 2}, {.end_of_document = kEnd});
  const auto weights = reals(data, Split::evaluation, 0, "weights");
  const auto documents = integers(data, Split::evaluation, 0, "documents");
  EXPECT_EQ(weights[9], 1);
  EXPECT_EQ(weights[10], 0);  // 10 held-out tokens
  EXPECT_EQ(documents[10], documents[9] + 1);
  EXPECT_EQ(documents[15], documents[10]);
}

TEST(IgnoredLabels, HaveNoWeight) {
  const Dataset data = synthetic_tokens(32, 5, {.global_batch = 8, .seed = 1}, {.ignore_label = 3});
  const auto labels = integers(data, Split::training, 7, "labels");
  const auto weights = reals(data, Split::training, 7, "weights");
  const auto ignored = std::count(labels.begin(), labels.end(), 3);
  EXPECT_GT(ignored, 20);
  for (std::size_t i = 0; i < labels.size(); ++i) EXPECT_EQ(weights[i], labels[i] == 3 ? 0 : 1);
  EXPECT_EQ(data.total_weight(Split::training, 7), static_cast<double>(256 - ignored));
}

Dataset masked(double probability, std::uint64_t seed = 1) {
  return synthetic_tokens(
      50, 1000, {.global_batch = 200, .seed = seed},
      {.masking = Masking{.probability = probability, .token = 999, .vocabulary = 1000}});
}

TEST(Masking, HidesEightOfTenChosenTokensAndWeighsTheChosenOnes) {
  const Dataset data = masked(0.15);
  const auto tokens = integers(data, Split::training, 3, "tokens");
  const auto labels = integers(data, Split::training, 3, "labels");
  const auto weights = reals(data, Split::training, 3, "weights");
  double chosen = 0, hidden = 0, kept = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (weights[i] == 0) {
      EXPECT_EQ(tokens[i], labels[i]);
      continue;
    }
    ++chosen;
    hidden += tokens[i] == 999 ? 1 : 0;
    kept += tokens[i] == labels[i] ? 1 : 0;
  }
  EXPECT_NEAR(chosen / 10000, 0.15, 0.012);  // three standard deviations
  EXPECT_NEAR(hidden / chosen, 0.8, 0.04);
  EXPECT_NEAR(kept / chosen, 0.1, 0.03);
  EXPECT_EQ(data.total_weight(Split::training, 3), chosen);
}

TEST(Masking, IsOfTheSeedAndTheBatchAndFixedInEvaluation) {
  const auto mask = [](const Dataset& data, Split split, std::int64_t batch) {
    return reals(data, split, batch, "weights");
  };
  EXPECT_EQ(mask(masked(0.2), Split::training, 4), mask(masked(0.2), Split::training, 4));
  EXPECT_NE(mask(masked(0.2), Split::training, 4), mask(masked(0.2), Split::training, 5));
  EXPECT_NE(mask(masked(0.2), Split::training, 4), mask(masked(0.2, 2), Split::training, 4));
  EXPECT_EQ(mask(masked(0.2), Split::evaluation, 0), mask(masked(0.2), Split::evaluation, 0));
}

TEST(Masking, EachHeldOutTokenIsThereOnceAndPaddingIsNeverChosen) {
  std::vector<std::uint32_t> ids(110);
  std::iota(ids.begin(), ids.end(), 0U);
  const Dataset data =
      token_dataset(Tokens(ids), {.sequence = 8, .held_out = 0.1}, {.global_batch = 2, .seed = 2},
                    {.end_of_document = 100,
                     .masking = Masking{.probability = 1.0, .token = 5, .vocabulary = 200}});
  const auto labels = integers(data, Split::evaluation, 0, "labels");
  const auto weights = reals(data, Split::evaluation, 0, "weights");
  const auto tokens = integers(data, Split::evaluation, 0, "tokens");
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(labels[i], i < 11 ? 99 + static_cast<int>(i) : 0);
    EXPECT_EQ(weights[i], i < 11 && labels[i] != 100 ? 1 : 0);
    if (i >= 11) {
      EXPECT_EQ(tokens[i], 0);
    }
  }
  EXPECT_EQ(tokens[1], 100);  // an end of a document stays
}

}  // namespace
}  // namespace alpa
