#include "alpa/graph/kernel_work.hpp"

#include <vector>

#include <gtest/gtest.h>

namespace alpa {
namespace {

using Pieces = std::vector<KernelPiece>;

constexpr DType kF = DType::f32;
constexpr DType kI = DType::i32;

std::int64_t moved(const Kernel& kernel, const Pieces& operands, const Pieces& results) {
  return work_of(kernel, operands, results, {0}).moved.value;
}

TEST(KernelWork, ReadsAndWritesEverythingAsARule) {
  EXPECT_EQ(moved(Map{MapOp::add, {"bf", "f"}, "bf"}, {{kF, {4, 8}}, {kF, {8}}}, {{kF, {4, 8}}}),
            4 * (32 + 8 + 32));
}

TEST(KernelWork, OfTablesOnlyTheRowsThatAreUsed) {
  const KernelPiece table{kF, {50'000, 8}};
  const KernelPiece ids{kI, {2, 3}};
  const KernelPiece rows{kF, {2, 3, 8}};
  EXPECT_EQ(moved(Embedding{"ve", "bt", "bte"}, {table, ids}, {rows}), 4 * (48 + 6 + 48));
  // The gradient is cleared, then 48 elements of it are read and written.
  EXPECT_EQ(moved(EmbeddingGradient{"bte", "bt", "ve"}, {rows, ids}, {table}),
            4 * (48 + 6 + 400'000 + 2 * 48));
  // A table smaller than the rows is read whole.
  EXPECT_EQ(moved(Embedding{"ve", "bt", "bte"}, {{kF, {2, 8}}, ids}, {rows}), 4 * (16 + 6 + 48));
  EXPECT_EQ(moved(Pick{"btv", "bt"}, {{kF, {2, 3, 100}}, ids}, {{kF, {2, 3}}}), 4 * (6 + 6 + 6));
}

TEST(KernelWork, OfBoxesOnlyWhatIsCopied) {
  EXPECT_EQ(moved(Select{"btk", 'k', 1}, {{kF, {2, 3, 4}}}, {{kF, {2, 3}}}), 4 * (6 + 6));
  EXPECT_EQ(moved(CopyBox{}, {{kF, {8, 2}}}, {{kF, {8, 16}}}), 4 * 2 * 16);  // unpack
  EXPECT_EQ(moved(CopyBox{}, {{kF, {8, 16}}}, {{kF, {8, 2}}}), 4 * 2 * 16);  // pack
}

TEST(KernelWork, WhatIsChangedInPlaceIsReadAndWritten) {
  EXPECT_EQ(moved(Accumulate{"ef"}, {{kF, {4, 8}}}, {{kF, {4, 8}}}), 4 * 3 * 32);
  const KernelPiece w{kF, {32}};
  const KernelPiece scalar{DType::f64, {}};
  EXPECT_EQ(moved(Update{.operand = "e"}, {w, scalar, scalar, scalar}, {w, w, w}),
            4 * 32 * 7 + 3 * 8);
}

TEST(KernelWork, TheOperandsDecideTheDtype) {
  const auto dtype = [](const Kernel& kernel, const Pieces& operands, const Pieces& results) {
    return work_of(kernel, operands, results, {0}).dtype;
  };
  EXPECT_EQ(dtype(Einsum{"be", "ef", "bf"}, {{DType::bf16, {4, 4}}, {DType::bf16, {4, 4}}},
                  {{kF, {4, 4}}}),
            DType::bf16);
  EXPECT_EQ(dtype(Fill{}, {}, {{DType::f64, {4}}}), DType::f64);
}

/// A device's share: b and f are cut in two, e in three.
TEST(KernelWork, FlopsAreThoseOfThePieces) {
  const ShardingRule rule = rule_of(Einsum{"be", "ef", "bf"}, {{4, 6}, {6, 8}}, {{4, 8}});
  EXPECT_EQ(flops_of_pieces(rule, Pieces{{kF, {4, 6}}, {kF, {6, 8}}}, Pieces{{kF, {4, 8}}}).value,
            2 * 4 * 6 * 8);
  EXPECT_EQ(flops_of_pieces(rule, Pieces{{kF, {2, 2}}, {kF, {2, 4}}}, Pieces{{kF, {2, 4}}}).value,
            2 * 2 * 2 * 4);
  const ShardingRule sum = rule_of(Map{MapOp::add, {"b", "b"}, "b"}, {{4}, {4}}, {{4}});
  EXPECT_EQ(flops_of_pieces(sum, Pieces{{kF, {4}}, {kF, {4}}}, Pieces{{kF, {4}}}).value, 0.0);
}

}  // namespace
}  // namespace alpa
