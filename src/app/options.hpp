#pragma once

#include <optional>
#include <string>
#include <vector>

namespace alpa {

/// The command line.
struct Options {
  std::string config;                  ///< CONFIG.yaml
  std::vector<std::string> overrides;  ///< key=value
  bool plan_only = false;
  bool check = false;
  bool compare = false;   ///< implies plan_only
  bool simulate = false;  ///< implies plan_only
  bool explain = false;   ///< implies plan_only
  bool print_config = false;
  bool version = false;
  bool help = false;
  std::string help_section;
  std::optional<std::string> cluster;     ///< FILE
  std::optional<std::string> plan;        ///< FILE
  std::optional<std::string> verify;      ///< DIR
  std::optional<std::string> export_to;   ///< FILE
  std::optional<std::string> export_ilp;  ///< DIR; implies plan_only
  std::vector<std::string> why_not;       ///< settings, each question by itself
  std::string resume = "auto";            ///< auto, none or DIR
};

/// @throws UserError (usage) saying what was found, what was expected, and the nearest option
[[nodiscard]] Options parse_options(const std::vector<std::string>& arguments);

/// The text of --help.
[[nodiscard]] std::string usage();

}  // namespace alpa
