// The tables of docs/planning.md, from the repository's root:
//
//   suite_table [--published] [--suite gpt|moe|wide_resnet] [--size 350m] [--devices 1,4]
//               [--tsv FILE] [--markdown FILE] [key=value ...]
//
// Without --published: what `auto` and methods by hand give on 1 to 64 V100, the model growing with
// the devices. With it: what planning takes for every published size on 8 and on 64. --suite,
// --size and --devices, which may be repeated, do some of the rows. Every row is written to the TSV
// file (suite_table.tsv) as soon as it is known and not made again while it stands there; at the
// end the table of all rows there are replaces the one in the Markdown file (docs/planning.md).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "alpa/base/error.hpp"

#include "bench/suite_rows.hpp"

namespace alpa {
namespace {

struct Arguments {
  bool published = false;
  std::vector<std::string> suites, sizes, overrides;
  std::vector<int> devices;
  std::string tsv = "suite_table.tsv";
  std::string markdown = "docs/planning.md";
};

using Cells = std::vector<std::string>;
using Rows = std::map<std::string, Cells>;  ///< by table, model and devices

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

[[noreturn]] void refuse(const std::string& what) {
  throw UserError(
      what +
          "\nusage: suite_table [--published] [--suite NAME] [--size NAME] [--devices N,N] "
          "[--tsv FILE] [--markdown FILE] [key=value ...]",
      ExitCode::usage);
}

Arguments read_arguments(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    const auto value = [&]() -> std::string {
      if (++i == count) refuse(word + " wants a value");
      return values[i];
    };
    if (word == "--published") {
      arguments.published = true;
    } else if (word == "--suite") {
      arguments.suites.push_back(value());
    } else if (word == "--size") {
      arguments.sizes.push_back(value());
    } else if (word == "--devices") {
      for (const std::string& n : split(value(), ',')) {
        const int devices = std::atoi(n.c_str());
        if (devices < 1) refuse("--devices wants numbers, found " + n);
        arguments.devices.push_back(devices);
      }
    } else if (word == "--tsv") {
      arguments.tsv = value();
    } else if (word == "--markdown") {
      arguments.markdown = value();
    } else if (word.find('=') != std::string::npos) {
      arguments.overrides.push_back(word);
    } else {
      refuse("unknown argument " + word);
    }
  }
  return arguments;
}

std::string table_of(const Arguments& arguments) {
  return arguments.published ? "published" : "suites";
}

std::string key_of(const std::string& table, const SuiteCase& c) {
  return table + '\t' + c.suite + '-' + c.size + '\t' + std::to_string(c.devices);
}

Rows read_rows(const std::string& file) {
  Rows rows;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const Cells cells = split(line, '\t');
    if (cells.size() < 4) throw UserError(file + ": not a row: " + line);
    rows[cells[0] + '\t' + cells[1] + '\t' + cells[2]] = {cells.begin() + 3, cells.end()};
  }
  return rows;
}

void append_row(const std::string& file, const std::string& key, const Cells& cells) {
  std::ofstream out(file, std::ios::app);
  out << key;
  for (const std::string& cell : cells) out << '\t' << cell;
  out << '\n';
  if (!out.flush()) throw UserError(file + ": cannot be written");
}

std::string row(const Cells& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += ' ' + cell + " |";
  return line + '\n';
}

std::string markdown(const Arguments& arguments, const std::vector<SuiteCase>& cases,
                     const Rows& rows) {
  Cells head{"model", "V100"};
  const Cells columns = arguments.published ? planning_columns() : method_columns();
  head.insert(head.end(), columns.begin(), columns.end());
  std::string text = row(head) + row(Cells(head.size(), "---"));
  for (const SuiteCase& c : cases) {
    const auto found = rows.find(key_of(table_of(arguments), c));
    if (found == rows.end()) continue;
    Cells cells{c.suite + '-' + c.size, std::to_string(c.devices)};
    cells.insert(cells.end(), found->second.begin(), found->second.end());
    text += row(cells);
  }
  return text;
}

/// Puts the table between the file's two marks for it.
void replace_table(const std::string& file, const std::string& table, const std::string& text) {
  std::ifstream in(file);
  const std::string all{std::istreambuf_iterator<char>(in), {}};
  const std::string begin = "<!-- suite_table " + table + " begin -->\n";
  const std::string end = "<!-- suite_table " + table + " end -->";
  const auto from = all.find(begin);
  const auto to = all.find(end);
  if (from == std::string::npos || to == std::string::npos || to < from) {
    throw UserError(file + ": has no lines " + begin + "and " + end);
  }
  std::ofstream out(file);
  out << all.substr(0, from + begin.size()) << text << all.substr(to);
  if (!out.flush()) throw UserError(file + ": cannot be written");
}

bool wanted(const Arguments& arguments, const SuiteCase& c) {
  const auto among = [](const auto& list, const auto& value) {
    return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
  };
  return among(arguments.suites, c.suite) && among(arguments.sizes, c.size) &&
         among(arguments.devices, c.devices);
}

int run(int count, char** values) {
  const Arguments arguments = read_arguments(count, values);
  const auto cases = arguments.published ? every_size() : growing_suites();
  if (std::none_of(cases.begin(), cases.end(),
                   [&](const SuiteCase& c) { return wanted(arguments, c); })) {
    refuse("no such row");
  }
  Rows rows = read_rows(arguments.tsv);
  for (const SuiteCase& c : cases) {
    const std::string key = key_of(table_of(arguments), c);
    if (!wanted(arguments, c) || rows.contains(key)) continue;
    const Cells cells = arguments.published ? measure_planning(c, arguments.overrides)
                                            : compare_methods(c, arguments.overrides);
    append_row(arguments.tsv, key, cells);
    rows[key] = cells;
    std::printf("%s", row(cells)
                          .insert(0, c.suite + '-' + c.size + ' ' + std::to_string(c.devices) + ' ')
                          .c_str());
    std::fflush(stdout);
  }
  replace_table(arguments.markdown, table_of(arguments), markdown(arguments, cases, rows));
  return 0;
}

}  // namespace
}  // namespace alpa

int main(int argc, char** argv) {
  try {
    return alpa::run(argc, argv);
  } catch (const alpa::Error& error) {
    std::fprintf(stderr, "suite_table: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
