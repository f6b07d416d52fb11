#include "alpa/data/tokens.hpp"

#include <array>
#include <fstream>
#include <functional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/hdf5.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

std::string text_of(const Tokens& tokens) {
  std::string text;
  for (std::int64_t i = 0; i < tokens.size(); ++i) text += static_cast<char>(tokens[i]);
  return text;
}

/// The message of the Error with this code that `action` must throw.
std::string error_of(ExitCode code, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

bool says(const std::string& message, const std::string& part) {
  return message.find(part) != std::string::npos;
}

TEST(Files, AreTheRegularOnesInByteOrderOnceWithoutLinks) {
  const TemporaryDirectory folder;
  for (const std::string name : {"t/b", "t/a/z", "t/B", "t/a.x", "u"}) put(folder / name, name);
  fs::create_symlink(folder / "u", folder / "t/link");
  fs::create_directory_symlink(folder.path(), folder / "t/up");
  ASSERT_EQ(::mkfifo((folder / "t/pipe").c_str(), 0600), 0);
  const std::vector<fs::path> paths = {folder / "u", folder / "t", folder / "t/b"};
  const std::vector<fs::path> expected = {folder / "t/B", folder / "t/a.x", folder / "t/a/z",
                                          folder / "t/b", folder / "u"};
  EXPECT_EQ(files_of(paths), expected);
}

TEST(Files, WhatIsMissingIsNamedWithItsErrno) {
  const TemporaryDirectory folder;
  const std::vector<fs::path> paths = {folder / "nothing"};
  const std::string message = error_of(ExitCode::input_missing, [&] { (void)files_of(paths); });
  EXPECT_TRUE(says(message, "/nothing") && says(message, "errno 2")) << message;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const std::vector<fs::path> pipe = {folder / "pipe"};
  EXPECT_TRUE(says(error_of(ExitCode::input_missing, [&] { (void)files_of(pipe); }), "/pipe"));
}

TEST(Text, IsReadByteByByteAndKept) {
  const TemporaryDirectory folder;
  const std::string first(1'200'000, 'x');
  put(folder / "t/1", first);
  put(folder / "t/2", std::string("\0\xff\n", 3));
  const std::vector<fs::path> paths = {folder / "t"};
  EXPECT_TRUE(keep_text_as_tokens(paths, folder / "tokens.h5"));
  EXPECT_FALSE(keep_text_as_tokens(paths, folder / "tokens.h5"));
  EXPECT_EQ(text_of(read_hdf5_tokens(folder / "tokens.h5", "tokens", 256)),
            first + std::string("\0\xff\n", 3));
}

TEST(Text, IsReadAgainWhenItOrTheCopyChanged) {
  const TemporaryDirectory folder;
  const std::vector<fs::path> paths = {folder / "t"};
  const fs::path kept = folder / "tokens.h5";
  put(folder / "t/1", "one");
  EXPECT_TRUE(keep_text_as_tokens(paths, kept));
  put(folder / "t/2", "two");
  EXPECT_TRUE(keep_text_as_tokens(paths, kept));
  EXPECT_EQ(text_of(read_hdf5_tokens(kept, "tokens", 256)), "onetwo");
  std::string damaged = read_file(kept);
  damaged[damaged.size() - 2] = static_cast<char>(damaged[damaged.size() - 2] ^ 1);
  for (const std::string& content : {damaged, damaged.substr(0, 100), std::string()}) {
    put(kept, content);
    EXPECT_TRUE(keep_text_as_tokens(paths, kept));
    EXPECT_EQ(text_of(read_hdf5_tokens(kept, "tokens", 256)), "onetwo");
  }
}

TEST(Text, WithoutAByteIsRefused) {
  const TemporaryDirectory folder;
  put(folder / "t/empty", "");
  const std::vector<fs::path> paths = {folder / "t"};
  const std::string message =
      error_of(ExitCode::bad_data, [&] { keep_text_as_tokens(paths, folder / "tokens.h5"); });
  EXPECT_TRUE(says(message, "1 regular file")) << message;
  EXPECT_FALSE(fs::exists(folder / "tokens.h5"));
}

TEST(RawTokens, AreLittleEndianAndInFileOrder) {
  const TemporaryDirectory folder;
  put(folder / "t/a", std::string("\x01\x00\x00\x01", 4));
  put(folder / "t/b", std::string("\x02\x00\x01\x00", 4));
  const std::vector<fs::path> paths = {folder / "t"};
  const Tokens narrow = read_raw_tokens(paths, TokenWidth::bits16, 50000);
  ASSERT_EQ(narrow.size(), 4);
  EXPECT_EQ(narrow[1], 256);
  EXPECT_EQ(narrow[2], 2);
  const Tokens wide = read_raw_tokens(paths, TokenWidth::bits32, 0x2000000);
  ASSERT_EQ(wide.size(), 2);
  EXPECT_EQ(wide[0], 0x1000001);
}

TEST(RawTokens, ABadIdIsToldWithFilePositionAndValue) {
  const TemporaryDirectory folder;
  std::string big(3'000'000, '\0');
  big[2'500'000] = 100;
  put(folder / "t/a", std::string(10, '\0'));
  put(folder / "t/b", big);
  const std::vector<fs::path> paths = {folder / "t"};
  const std::string message =
      error_of(ExitCode::bad_data, [&] { (void)read_raw_tokens(paths, TokenWidth::bits16, 100); });
  EXPECT_TRUE(says(message, "t/b: token 1250000 is 100")) << message;
  EXPECT_EQ(read_raw_tokens(paths, TokenWidth::bits16, 101).size(), 1'500'005);
}

TEST(RawTokens, ATruncatedFileIsTold) {
  const TemporaryDirectory folder;
  put(folder / "a", std::string(1'048'579, '\0'));
  const std::vector<fs::path> paths = {folder / "a"};
  const std::string message =
      error_of(ExitCode::bad_data, [&] { (void)read_raw_tokens(paths, TokenWidth::bits32, 100); });
  EXPECT_TRUE(says(message, "/a: ends inside a token, after 262144 tokens")) << message;
}

Tokens from_hdf5(const TemporaryDirectory& folder, H5Type type, std::span<const std::byte> ids,
                 std::int64_t vocabulary) {
  write_file(folder / "t.h5", hdf5_with_checksums("tokens", type, ids, {}));
  return read_hdf5_tokens(folder / "t.h5", "tokens", vocabulary);
}

TEST(Hdf5Tokens, OfEveryWidthAreTheSameSequence) {
  const TemporaryDirectory folder;
  const std::array<std::uint8_t, 3> a = {1, 2, 3};
  const std::array<std::uint16_t, 3> b = {1, 2, 3};
  const std::array<std::uint32_t, 3> c = {1, 2, 3};
  const std::array<std::int32_t, 3> d = {1, 2, 3};
  const auto first = from_hdf5(folder, H5Type::u8, std::as_bytes(std::span(a)), 4).fingerprint();
  EXPECT_EQ(from_hdf5(folder, H5Type::u16, std::as_bytes(std::span(b)), 4).fingerprint(), first);
  EXPECT_EQ(from_hdf5(folder, H5Type::u32, std::as_bytes(std::span(c)), 4).fingerprint(), first);
  EXPECT_EQ(from_hdf5(folder, H5Type::i32, std::as_bytes(std::span(d)), 4).fingerprint(), first);
  const std::array<std::int64_t, 3> e = {1, 2, 3};
  EXPECT_EQ(from_hdf5(folder, H5Type::i64, std::as_bytes(std::span(e)), 4).fingerprint(), first);
}

TEST(Hdf5Tokens, OfSeveralFilesAreOneSequence) {
  const TemporaryDirectory folder;
  const std::array<std::uint8_t, 2> a = {1, 2};
  const std::array<std::int32_t, 3> b = {3, 4, 300};
  write_file(folder / "b.h5",
             hdf5_with_checksums("tokens", H5Type::u8, std::as_bytes(std::span(a)), {}));
  write_file(folder / "a.h5",
             hdf5_with_checksums("tokens", H5Type::i32, std::as_bytes(std::span(b)), {}));
  const std::array<fs::path, 2> paths = {folder / "b.h5", folder / "a.h5"};
  const Tokens tokens = read_hdf5_tokens(paths, "tokens", 301);
  EXPECT_EQ(tokens.fingerprint(),
            Tokens(std::vector<std::uint32_t>{1, 2, 3, 4, 300}).fingerprint());
  EXPECT_TRUE(
      says(error_of(ExitCode::bad_data, [&] { (void)read_hdf5_tokens(paths, "tokens", 300); }),
           "a.h5: token 2 is 300"));
}

TEST(Hdf5Tokens, BadIdsTypesAndFilesAreRefused) {
  const TemporaryDirectory folder;
  const std::array<std::int32_t, 3> ids = {1, -2, 3};
  const std::array<std::int64_t, 2> wide = {1, (std::int64_t{1} << 32U) + 1};
  EXPECT_TRUE(says(
      error_of(ExitCode::bad_data,
               [&] { (void)from_hdf5(folder, H5Type::i64, std::as_bytes(std::span(wide)), 9); }),
      "token 1 is 4294967297"));
  EXPECT_TRUE(says(
      error_of(ExitCode::bad_data,
               [&] { (void)from_hdf5(folder, H5Type::i32, std::as_bytes(std::span(ids)), 9); }),
      "token 1 is -2"));
  EXPECT_TRUE(says(
      error_of(ExitCode::bad_data,
               [&] { (void)from_hdf5(folder, H5Type::f32, std::as_bytes(std::span(ids)), 9); }),
      "floating-point"));
  const auto read = [&] { (void)read_hdf5_tokens(folder / "t.h5", "other", 9); };
  EXPECT_TRUE(says(error_of(ExitCode::bad_data, read), "no dataset 'other'"));
  put(folder / "t.h5", "no HDF5");
  EXPECT_TRUE(says(error_of(ExitCode::bad_data, read), "t.h5"));
  fs::remove(folder / "t.h5");
  EXPECT_TRUE(says(error_of(ExitCode::input_missing, read), "errno 2"));
}

}  // namespace
}  // namespace alpa
