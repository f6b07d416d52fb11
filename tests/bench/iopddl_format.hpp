#pragma once

#include <alpa/base/error.hpp>
#include <alpa/solver/problem.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>
#include <zlib.h>

namespace alpa {

/// The bytes of a file, unpacked if it is gzipped.  @throws UserError
inline std::string read_packed(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) {
    throw UserError(path + ": cannot be opened", ExitCode::input_missing);
  }
  std::string text;
  std::vector<char> block(1 << 18);
  for (;;) {
    const int got = gzread(file.get(), block.data(), static_cast<unsigned>(block.size()));
    if (got < 0) {
      throw UserError(path + ": damaged or cut short, expected JSON, plain or gzipped",
                      ExitCode::bad_data);
    }
    if (got == 0) {
      break;
    }
    text.append(block.data(), static_cast<std::size_t>(got));
  }
  int state = Z_OK;
  gzerror(file.get(), &state);
  if (state != Z_OK) {
    throw UserError(path + ": cut short", ExitCode::bad_data);
  }
  return text;
}

/// A cost of the contest's format: 1e17 and more is forbidden.
inline double contest_cost(double cost) { return cost >= 1e17 ? kForbidden : cost; }

/// A problem in the format of the contest on intra-operator parallelism (google/iopddl). Edges of
/// one and of more than two nodes are allowed; the latter append nodes.
inline Problem problem_of(const nlohmann::json& file) {
  const nlohmann::json& source = file.contains("problem") ? file.at("problem") : file;
  const nlohmann::json& nodes = source.at("nodes");
  const auto costs_of = [](const nlohmann::json& list) {
    auto costs = list.get<std::vector<double>>();
    for (double& cost : costs) {
      cost = contest_cost(cost);
    }
    return costs;
  };
  Problem problem;
  for (std::size_t i = 0; i < nodes.at("costs").size(); ++i) {
    Problem::Node node{costs_of(nodes.at("costs")[i]), {}};
    if (nodes.contains("usages") && nodes.contains("intervals")) {
      node.usages.push_back({nodes.at("intervals").at(i).at(0).get<std::int64_t>(),
                             nodes.at("intervals").at(i).at(1).get<std::int64_t>(),
                             nodes.at("usages").at(i).get<std::vector<std::int64_t>>()});
    }
    problem.nodes.push_back(std::move(node));
  }
  const nlohmann::json& edges = source.at("edges");
  for (std::size_t e = 0; e < edges.at("nodes").size(); ++e) {
    const auto ends = edges.at("nodes")[e].get<std::vector<int>>();
    std::vector<double> costs = costs_of(edges.at("costs").at(e));
    if (ends.size() == 2) {
      problem.edges.push_back({ends[0], ends[1], std::move(costs)});
    } else {
      add_hyper_edge(problem, ends, costs);
    }
  }
  if (source.contains("usage_limit") && !source.at("usage_limit").is_null()) {
    problem.usage_limit = source.at("usage_limit").get<std::int64_t>();
  }
  return problem;
}

/// Reads a problem from FILE.json or FILE.json.gz. `original` is the number of nodes in the file.
/// @throws UserError
inline Problem read_problem(const std::string& path, std::size_t* original = nullptr) {
  const std::string text = read_packed(path);
  try {
    const nlohmann::json file = nlohmann::json::parse(text);
    Problem problem = problem_of(file);
    if (original != nullptr) {
      const nlohmann::json& source = file.contains("problem") ? file.at("problem") : file;
      *original = source.at("nodes").at("costs").size();
    }
    return problem;
  } catch (const nlohmann::json::exception& error) {
    throw UserError(path + ": not a problem in the contest's format: " + error.what(),
                    ExitCode::bad_data);
  }
}

}  // namespace alpa
