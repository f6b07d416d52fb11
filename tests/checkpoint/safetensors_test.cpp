#include "alpa/checkpoint/safetensors.hpp"

#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/storage/file.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// A file of this header and so many bytes of data 0, 1, 2, …
void put(const fs::path& path, const std::string& header, std::size_t data) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (std::size_t i = 0; i < data; ++i) bytes += static_cast<char>(i);
  write_file(path, std::as_bytes(std::span(bytes)));
}

std::vector<double> all_of(const SafetensorsReader& file, const std::string& name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) return {};
  std::vector<double> values(static_cast<std::size_t>(num_elements(entry->shape)));
  file.read(*entry, 0, values);
  return values;
}

template <class T>
void append(SafetensorsWriter& writer, const std::vector<T>& values) {
  writer.append(std::as_bytes(std::span(values)));
}

TEST(Safetensors, WhatIsWrittenIsReadInEachType) {
  const TemporaryDirectory folder;
  const fs::path path = folder / "a.safetensors";
  SafetensorsWriter writer(path,
                           {{"a.weight", {2, 2}, DType::f64, "", 0},
                            {"\"b\"\n", {}, DType::f32, "", 0},
                            {"empty", {0, 3}, DType::f32, "", 0},
                            {"half", {3}, DType::f16, "", 0},
                            {"brain", {2}, DType::bf16, "", 0}},
                           {{"format", "pt"}});
  append(writer, std::vector<double>{0.1, -2, 1e300, 4});
  append(writer, std::vector<float>{0.25F});
  append(writer, std::vector<std::uint16_t>{0x3C00, 0xC000, 0x0001});  // 1, -2, 2^-24
  EXPECT_FALSE(fs::exists(path));
  append(writer, std::vector<std::uint16_t>{0x3F80, 0xC049});  // 1, -3.140625
  writer.finish();
  const SafetensorsReader file(path);
  EXPECT_EQ(file.tensors().size(), 5U);
  EXPECT_EQ(all_of(file, "a.weight"), (std::vector<double>{0.1, -2, 1e300, 4}));
  EXPECT_EQ(all_of(file, "\"b\"\n"), (std::vector<double>{0.25}));
  EXPECT_EQ(file.find("empty")->shape, (Shape{0, 3}));
  EXPECT_EQ(all_of(file, "half"), (std::vector<double>{1, -2, std::ldexp(1.0, -24)}));
  EXPECT_EQ(all_of(file, "brain"), (std::vector<double>{1, -3.140625}));
  EXPECT_EQ(file.find("a.weight")->offset % 8, 0U);
  EXPECT_EQ(file.find("nothing"), nullptr);
}

TEST(Safetensors, AnUnfinishedFileLeavesNothing) {
  const TemporaryDirectory folder;
  {
    SafetensorsWriter writer(folder / "a", {{"x", {8}, DType::f64, "", 0}}, {});
    append(writer, std::vector<double>(4));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

/// The message without the folder of the error 76 that reading gives.
std::string refusal(const TemporaryDirectory& folder, const fs::path& path) {
  try {
    (void)SafetensorsReader(path);
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::checkpoint);
    const std::string prefix = folder.path().string() + "/";
    std::string text = error.what();
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
  }
  return "no error";
}

TEST(BadSafetensors, AreToldWithWhatIsWrong) {
  const TemporaryDirectory folder;
  const fs::path path = folder / "a";
  const auto of = [&](const std::string& header, std::size_t data) {
    put(path, header, data);
    return refusal(folder, path);
  };
  const std::string x = R"("x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_EQ(of("{" + x + "}", 8), "no error");
  EXPECT_EQ(of("{" + x + "}   ", 8), "no error");
  EXPECT_EQ(of("{" + x + "}", 9), "a: has 1 bytes behind its last tensor");
  EXPECT_EQ(of("{" + x + "}", 7),
            "a: tensor x: lies at bytes 0 to 8 of the data, which has 7: is the file truncated?");
  EXPECT_EQ(of("{" + x + "," + x + "}", 8), "a: the header names tensor x twice");
  EXPECT_EQ(of("{" + x, 8), "a: the header is not JSON");
  EXPECT_EQ(of("[1]", 0), "a: the header is not a JSON object");
  EXPECT_EQ(of("\xff", 0), "a: the header is not JSON");
  EXPECT_EQ(of(std::string(100'000, '['), 0), "a: the header is not JSON");
  EXPECT_EQ(of(R"({"x":{"dtype":"F32","shape":[2]}})", 8),
            "a: tensor x: found no {dtype: text, shape: [counts], data_offsets: [first, end]}");
  EXPECT_EQ(of(R"({"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8),
            "a: tensor x: found no {dtype: text, shape: [counts], data_offsets: [first, end]}");
  EXPECT_EQ(of(R"({"x":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8),
            "a: tensor x: has the unknown dtype F33");
  EXPECT_EQ(of(R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
            "a: tensor x: its shape takes 12 bytes, its data_offsets give 8");
  EXPECT_EQ(of(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8),
            "a: tensor x: its shape takes more than 2^62 bytes, its data_offsets give 8");
  EXPECT_EQ(of(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
            "a: tensor x: lies at bytes 8 to 0 of the data, which has 8: is the file truncated?");
  EXPECT_EQ(of("{" + x + R"(,"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12),
            "a: tensor y overlaps the one before it");
  EXPECT_EQ(of(R"({"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12),
            "a: no tensor has the bytes before tensor y");
  EXPECT_EQ(of(R"({"evil\u001b[31m":{"dtype":"F3","shape":[2],"data_offsets":[0,8]}})", 8),
            "a: tensor evil\\x1B[31m: has the unknown dtype F3");
  const std::string little = "short";
  write_file(path, std::as_bytes(std::span(little)));
  EXPECT_EQ(refusal(folder, path), "a: has 5 bytes, expected 8 and a header");
  const std::string huge(16, '\x7f');
  write_file(path, std::as_bytes(std::span(huge)));
  EXPECT_EQ(refusal(folder, path),
            "a: declares a header of 9187201950435737471 bytes, expected at most 8: is it a "
            "safetensors file, or truncated?");
}

TEST(BadSafetensors, MissingFilesAndFoldersAreTold) {
  const TemporaryDirectory folder;
  EXPECT_EQ(refusal(folder, folder.path()).substr(folder.path().string().size()),
            ": is not a regular file");
  try {
    (void)SafetensorsReader(folder / "nothing");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::input_missing);
  }
}

// Any flipped bit or cut of a small file is read as something or refused; nothing else.
TEST(BadSafetensors, AreReadOrRefusedWhateverTheBytes) {
  const TemporaryDirectory folder;
  put(folder / "good",
      R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("y":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}})",
      12);
  const std::string good = read_file(folder / "good");
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = good;
    if (i % 4 == 0) bytes.resize(random() % bytes.size());
    for (int flips = i % 4; flips > 0 && !bytes.empty(); --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1U << random() % 8);
    }
    write_file(folder / "bad", std::as_bytes(std::span(bytes)));
    try {
      const SafetensorsReader file(folder / "bad");
      for (const SafetensorsEntry& entry : file.tensors()) {
        if (entry.dtype) (void)all_of(file, entry.name);
      }
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::checkpoint);
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

/// Value of element (e, k, h, d) of our attention weights.
double value_at(std::int64_t e, std::int64_t k, std::int64_t h, std::int64_t d) {
  return static_cast<double>(1000 * e + 100 * k + 10 * h + d);
}

/// The keys of weights [e 4, k 3, h 2, d 5] as a matrix [h d, e].
const TensorInFile kKeys{"k_proj", {10, 4}, "qkv", {{0, 1, 0, 0}, {4, 1, 2, 5}}, {1, 2, 3, 0}};

TEST(TensorInFile, PartsInAnotherOrderAreWrittenAndReadInAnyBox) {
  const TemporaryDirectory folder;
  std::vector<double> part;
  for (std::int64_t e = 0; e < 4; ++e) {
    for (std::int64_t h = 0; h < 2; ++h) {
      for (std::int64_t d = 0; d < 5; ++d) part.push_back(value_at(e, 1, h, d));
    }
  }
  SafetensorsWriter writer(folder / "a", {{"k_proj", {10, 4}, DType::f64, "", 0}}, {});
  writer.append(in_file_order(kKeys, std::as_bytes(std::span(part)), 8));
  writer.finish();
  const SafetensorsReader file(folder / "a");
  const auto matrix = all_of(file, "k_proj");
  for (std::size_t row = 0; row < 10; ++row) {
    for (std::size_t e = 0; e < 4; ++e) {
      EXPECT_EQ(matrix[row * 4 + e],
                value_at(static_cast<std::int64_t>(e), 1, static_cast<std::int64_t>(row / 5),
                         static_cast<std::int64_t>(row % 5)));
    }
  }
  const std::vector<Box> boxes = {{{0, 0, 0, 0}, {4, 3, 2, 5}},
                                  {{1, 0, 0, 0}, {2, 3, 2, 5}},
                                  {{0, 1, 1, 0}, {4, 1, 1, 5}},
                                  {{2, 0, 0, 3}, {1, 2, 2, 2}},
                                  {{0, 2, 0, 0}, {4, 1, 2, 5}}};
  for (const Box& box : boxes) {
    std::vector<float> ours(static_cast<std::size_t>(num_elements(box.extent)), -1.0F);
    read_part(file, *file.find("k_proj"), kKeys, box, DType::f32,
              std::as_writable_bytes(std::span(ours)));
    std::size_t at = 0;
    for (std::int64_t e = 0; e < box.extent[0]; ++e) {
      for (std::int64_t k = 0; k < box.extent[1]; ++k) {
        for (std::int64_t h = 0; h < box.extent[2]; ++h) {
          for (std::int64_t d = 0; d < box.extent[3]; ++d) {
            const double expected = box.offset[1] + k == 1
                                        ? value_at(box.offset[0] + e, 1, box.offset[2] + h,
                                                   box.offset[3] + d)
                                        : -1;  // not of this tensor: left as it was
            EXPECT_EQ(ours[at++], static_cast<float>(expected)) << to_string(box);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace alpa
