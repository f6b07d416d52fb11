#include "alpa/config/yaml.hpp"

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <sys/resource.h>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/config/run_config.hpp"

#include "config/test_files.hpp"

namespace alpa {
namespace {

// Sanitizers multiply time and memory: the limits are those of a plain build.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlack = 10;
#else
constexpr int kSlack = 1;
#endif

YamlNode parse_good(const std::string& text) {
  ConfigErrors errors;
  YamlNode node = parse_yaml(text, "t.yaml", errors);
  EXPECT_EQ(errors.lines(), std::vector<std::string>{}) << text;
  return node;
}

std::string repeated(const std::string& part, std::size_t times) {
  std::string text;
  text.reserve(part.size() * times);
  for (std::size_t i = 0; i < times; ++i) text += part;
  return text;
}

TEST(Yaml, WhatIsWrittenReadsBackEqual) {
  YamlNode node = YamlNode::mapping();
  for (const char* text :
       {"plain",      "two words", "yes",      "NO", "null", "~",  "012",         "1.5",
        "-",          "- a",       "a: b",     "#",  "a #b", "*",  "&a",          "!x",
        "%",          "@",         "`",        "\"", "'",    "\\", "line\nbreak", "tab\t",
        " lead",      "trail ",    "größe",    "[",  "{a}",  "<<", "=",           ".nan",
        "2001-01-01", "1:30",      "\x01\x7f", "?",  "|",    ">"}) {
    node.set(text, YamlNode::of_text(text));
  }
  YamlNode list = YamlNode::sequence();
  list.items = {node, YamlNode::sequence(), YamlNode::mapping(), YamlNode::plain("5"), YamlNode{}};
  const YamlNode again = parse_good(to_yaml(list));
  EXPECT_TRUE(again.same_content(list)) << to_yaml(list);
  EXPECT_EQ(to_yaml(again.items[0].items[0]), "plain\n");
  // text that could be taken for something else is quoted
  for (std::size_t i = 1; i < node.items.size(); ++i) EXPECT_TRUE(again.items[0].items[i].quoted);
}

TEST(Yaml, FloatsAreShortestWithDotAndSignedExponent) {
  EXPECT_EQ(float_text(1e-5), "1.0e-05");
  EXPECT_EQ(float_text(3.125e9), "3.125e+09");
  EXPECT_EQ(float_text(1e30), "1.0e+30");
  EXPECT_EQ(float_text(0.1), "0.1");
  EXPECT_EQ(float_text(0.0), "0.0");
  EXPECT_EQ(float_text(-2.5), "-2.5");
  std::mt19937_64 random(7);
  for (int i = 0; i < 10000; ++i) {
    const std::uint64_t bits = random();
    double value = 0;
    static_assert(sizeof value == sizeof bits);
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const std::string text = float_text(value);
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
    EXPECT_NE(text.find('.'), std::string::npos) << text;
  }
}

TEST(Yaml, PlacesCountCharactersFromOne) {
  const YamlNode node = parse_good("a:\n  größe: [1,\n    zwei]\n");
  const YamlNode& list = node.items[0].items[0];
  EXPECT_EQ(node.items[0].keys[0].place.column, 3);
  EXPECT_EQ(list.place.line, 2);
  EXPECT_EQ(list.place.column, 10);
  EXPECT_EQ(list.items[1].place.line, 3);
  EXPECT_EQ(list.items[1].place.column, 5);
  EXPECT_EQ(*list.place.file, "t.yaml");
}

TEST(Yaml, ByteOrderMarkAndCarriageReturnsAreRead) {
  const YamlNode node = parse_good(
      "\xEF\xBB\xBF"
      "a: 1\r\nb: [x]\r\n");
  EXPECT_EQ(node.find("a")->text, "1");
  EXPECT_EQ(node.find("a")->place.column, 4);
  EXPECT_EQ(node.find("b")->items[0].place.line, 2);
}

TEST(Yaml, NearestWordIsTheOneMeant) {
  const std::vector<std::string> words = {"hidden", "heads", "layers", "adam", "adamw"};
  EXPECT_EQ(nearest_word("hiden", words), "hidden");
  EXPECT_EQ(nearest_word("laysers", words), "layers");
  EXPECT_EQ(nearest_word("haeds", words), "heads");
  EXPECT_EQ(nearest_word("adamW", words), "adamw");
  EXPECT_EQ(nearest_word("bananas", words), "");
  EXPECT_EQ(nearest_word("x", words), "");
}

TEST(Yaml, ErrorsBeyondTheMostAreCounted) {
  ConfigErrors errors;
  for (int i = 0; i < 1500; ++i) errors.add({}, "a", "b");
  const auto lines = errors.lines();
  ASSERT_EQ(lines.size(), ConfigErrors::kMost + 1);
  EXPECT_EQ(lines.back(), "and 500 more mistakes");
}

TEST(Yaml, ErrorsTouchWhatTheySpoil) {
  ConfigErrors errors;
  errors.add({}, "model.layers[1].out", "wrong");
  EXPECT_TRUE(errors.touches("model.layers"));
  EXPECT_TRUE(errors.touches("model.layers[1].out"));
  EXPECT_TRUE(errors.touches("model.layers[1].out[0]"));
  EXPECT_FALSE(errors.touches("model.layers[1].output"));
  EXPECT_FALSE(errors.touches("model.layers[10]"));
  EXPECT_FALSE(errors.touches("model.heads"));
}

// Texts that make readers recurse, expand or compare without end.
TEST(HostileYaml, IsRefusedQuicklyAndInLittleMemory) {
  const std::string deep_prefix = [] {
    std::string text = "a: ";
    for (int i = 0; i < 60; ++i) text += "{" + std::string(57, 'k') + std::to_string(i) + ": ";
    return text;
  }();
  const std::vector<std::string> texts = {
      "a: " + repeated("[", 100'000),
      "a: " + repeated("[", 100'000) + repeated("]", 100'000),
      "a: " + repeated("{a: ", 100'000),
      repeated("- ", 100'000) + "x",
      repeated("? ", 100'000) + "x",
      repeated(": ", 100'000),
      repeated("&a ", 100'000),
      repeated("!", 500'000),
      repeated("-\n", 200'000),
      repeated("---\n", 100'000),
      "a: [" + repeated(",", 500'000) + "]",
      "a: [" + repeated("[],", 150'000) + "]",
      "a: [" + repeated("a: ,", 100'000) + "]",
      "a: &a [1]\nb: [" + repeated("*a,", 150'000) + "1]",
      deep_prefix + "{" + repeated("~,", 200'000) + "}" + repeated("}", 60),
      "\"" + repeated("a", 500'000),
      repeated("a", 500'000),
      repeated("a", 5'000'000),
      "model: &a {layers: *a}",
      "cluster: &a [*a]",
  };
  for (const std::string& text : texts) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_THROW((void)parse_run_config(text, "hostile.yaml"), UserError) << text.substr(0, 20);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    EXPECT_LT(taken.count(), 2.0 * kSlack) << text.substr(0, 20);
  }
  rusage usage{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  EXPECT_LT(usage.ru_maxrss, 256 * 1024 * kSlack);  // KiB, all of this process
}

// A good file with some bytes changed is read or refused.
TEST(HostileYaml, MutationsAreReadOrRefused) {
  const std::string good =
      read_text_file(config_test_folder() + "/good/custom_layers.yaml", 1 << 20);
  const std::string bytes = "[]{}:,-&*!|>'\"%@`#? \n\t0a\\~<\xC3";
  std::mt19937 random(11);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::string text = good;
    for (int edit = 0; edit < 3; ++edit)
      text[random() % text.size()] = bytes[random() % bytes.size()];
    try {
      const RunConfig config = parse_run_config(text, "mutant.yaml");
      EXPECT_EQ(parse_run_config(print_config(config), "mutant.yaml"), config) << text;
    } catch (const UserError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

TEST(Help, EverySectionIsDescribedAndUnknownOnesAreNot) {
  const std::string list = help_text("");
  for (const char* section : {"model", "model.layers", "data", "training", "optimizer", "parallel",
                              "checkpoint", "logging", "cluster", "device", "run"}) {
    EXPECT_NE(list.find(section), std::string::npos);
    EXPECT_GT(help_text(section).size(), 100U) << section;
  }
  EXPECT_NE(help_text("optimizer").find("schedule.warmup"), std::string::npos);
  EXPECT_NE(help_text("optimizer").find("default 0.001"), std::string::npos);
  try {
    (void)help_text("trainnig");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find("did you mean training?"), std::string::npos);
  }
}

// No key that print_config writes is missing from the help of its section.
TEST(Help, NamesEveryKeyThatIsPrinted) {
  ConfigErrors errors;
  const YamlNode printed = parse_yaml(print_config(RunConfig{}), "p.yaml", errors);
  for (std::size_t i = 0; i < printed.keys.size(); ++i) {
    if (printed.items[i].kind != YamlNode::Kind::mapping) continue;
    const std::string help = help_text(printed.keys[i].text);
    for (const YamlKey& key : printed.items[i].keys) {
      EXPECT_NE(help.find("  " + key.text), std::string::npos) << key.text;
    }
  }
}

}  // namespace
}  // namespace alpa
