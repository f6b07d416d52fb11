#include "alpa/storage/file.hpp"

#include <cerrno>
#include <signal.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/storage/escape.hpp"
#include "alpa/storage/sha256.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Fails the operation `point` once, the `nth` time (from 0) it is reached.
IoHook fault_at(std::string point, int nth, IoFault fault) {
  return [point = std::move(point), nth, fault](std::string_view at) mutable {
    return at == point && nth-- == 0 ? fault : IoFault::none;
  };
}

TEST(Sha256, AgreesWithTheStandardsExamples) {
  EXPECT_EQ(sha256_of(std::string_view("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of(std::string_view("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
  const TemporaryDirectory folder;
  const std::string content(3'000'000, 'x');
  write_file(folder / "f", bytes(content));
  EXPECT_EQ(sha256_of_file(folder / "f"), sha256_of(std::string_view(content)));
  EXPECT_THROW((void)sha256_of_file(folder / "missing"), SystemError);
}

TEST(Escape, NamesStayInTheirFolderAndDistinct) {
  EXPECT_EQ(escape_name("layers.3.attention.query.weight"), "layers.3.attention.query.weight");
  EXPECT_EQ(escape_name("../x"), "=2E.=2Fx");
  EXPECT_EQ(escape_name("a\nb=%"), "a=0Ab=3D=25");
  for (const std::string name : {"a/b", "..", ".", "a=2Fb", "\x1b[2J", "\xff", ""}) {
    EXPECT_EQ(unescape_name(escape_name(name)), name);
  }
  EXPECT_NE(escape_name("a/b"), escape_name("a=2Fb"));
}

TEST(Escape, LogTextHasNoControlBytes) {
  EXPECT_EQ(printable("a\nb\x1b[31mc\x7f"), "a\\x0Ab\\x1B[31mc\\x7F");
  EXPECT_EQ(printable("Größe ≤ 3"), "Größe ≤ 3");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xC2\\x9B");           // CSI as a C1 control code
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\xE2\\x80\\xAE");  // right-to-left override
  EXPECT_EQ(printable("\xff\xc3"), "\\xFF\\xC3");
}

TEST(File, WhatIsWrittenIsRead) {
  const TemporaryDirectory folder;
  const std::string content(2'500'000, 'q');
  write_file(folder / "a", bytes(content));
  EXPECT_EQ(read_file(folder / "a"), content);
  replace_file(folder / "a", std::string_view("new"));
  EXPECT_EQ(read_file(folder / "a"), "new");
  EXPECT_THROW((void)read_file(folder / "a", 2), SystemError);
}

TEST(File, ShortWritesAreContinued) {
  const TemporaryDirectory folder;
  const std::string content = "a longer text than one byte";
  write_file(folder / "a", bytes(content), fault_at("write", 0, IoFault::short_write));
  EXPECT_EQ(read_file(folder / "a"), content);
}

TEST(File, ABitFlipOnTheWayIsSeenInTheDigest) {
  const TemporaryDirectory folder;
  const std::string content = "some bytes";
  write_file(folder / "a", bytes(content), fault_at("write", 0, IoFault::bit_flip));
  EXPECT_NE(sha256_of_file(folder / "a"), sha256_of(std::string_view(content)));
}

TEST(File, AFullDiskLeavesNoHalfFileAndTheOldContent) {
  const TemporaryDirectory folder;
  const std::string content(3'000'000, 'q');
  for (const IoFault fault : {IoFault::no_space, IoFault::io_error}) {
    replace_file(folder / "a", std::string_view("old"));
    for (const auto& [point, times] : {std::pair("write", 3), {"fsync", 1}, {"rename", 1}}) {
      for (int nth = 0; nth < times; ++nth) {
        try {
          replace_file(folder / "a", content, fault_at(point, nth, fault));
          ADD_FAILURE() << point << nth << " did not fail";
        } catch (const SystemError& error) {
          EXPECT_EQ(error.code(), ExitCode::io);
          const int expected = fault == IoFault::no_space ? ENOSPC : EIO;
          EXPECT_NE(std::string(error.what()).find("errno " + std::to_string(expected)),
                    std::string::npos)
              << error.what();
          EXPECT_NE(std::string(error.what()).find("/a"), std::string::npos);
        }
        EXPECT_EQ(read_file(folder / "a"), "old");
        EXPECT_FALSE(fs::exists(folder / "a.tmp")) << point << nth;
      }
    }
  }
}

TEST(File, ALimitOfTheSystemIsReportedLikeAFullDisk) {
  const TemporaryDirectory folder;
  replace_file(folder / "a", std::string_view("old"));
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 1'500'000, .rlim_max = 1'500'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      replace_file(folder / "a", std::string(3'000'000, 'q'));
    } catch (const SystemError& error) {
      const std::string part = "errno " + std::to_string(EFBIG);
      ::_exit(std::string(error.what()).find(part) != std::string::npos ? 74 : 1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 74);
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_FALSE(fs::exists(folder / "a.tmp"));
}

TEST(File, NothingIsWrittenThroughASymbolicLink) {
  const TemporaryDirectory folder;
  replace_file(folder / "precious", std::string_view("keep"));
  fs::create_symlink(folder / "precious", folder / "link");
  EXPECT_THROW(write_file(folder / "link", bytes("gone")), SystemError);
  replace_file(folder / "link", std::string_view("new"));  // replaces the link, not its target
  EXPECT_EQ(read_file(folder / "precious"), "keep");
}

TEST(File, FoldersAreMadeAndLinksRefused) {
  const TemporaryDirectory folder;
  make_directories(folder / "a/b/c");
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
  make_directories(folder / "a/b/c/");
  fs::create_directory_symlink("/tmp", folder / "link");
  EXPECT_THROW(make_directories(folder / "link"), UserError);
  try {
    make_directories("/proc/nowhere");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::run_directory);
    EXPECT_NE(std::string(error.what()).find("/proc/nowhere"), std::string::npos);
  }
}

TEST(File, PipesAndFoldersAreNotRead) {
  const TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THROW((void)read_file(folder / "pipe"), SystemError);
  EXPECT_THROW((void)read_file(folder.path()), SystemError);
}

}  // namespace
}  // namespace alpa
