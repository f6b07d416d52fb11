#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "alpa/intra_op/stage_model.hpp"

namespace alpa {

/// Writes integer programs into a folder of its own, each distinct one once:
///
///   ilp-<16 digits>.mps  the program, unreduced, in free MPS (alpa/solver/mps.hpp); named by a
///   hash
///                        of its content, so that the same search writes the same names
///   ilp-<16 digits>.sol  the columns of options that are 1 in the answer, one a line
///   index.tsv            a line for each, by question: see `finish`
///
/// Threads may call `add` at once.
class IlpExport {
 public:
  /// Makes the folder. @throws UserError (run_directory) if it is there and not empty, or no folder
  explicit IlpExport(std::filesystem::path directory);

  /// @throws SystemError (io)
  void add(const std::string& question, const Problem& problem, const Solution& solution);

  /// Writes index.tsv: file, nodes, options, edges, claimed optimum (the cost of the answer;
  /// `none`), lower bound, proof (`optimal`, `bounded`, `infeasible`) and the question. Of a
  /// program that was solved more than once, the best answer and bound.  @throws SystemError (io)
  /// @return the number of programs
  std::size_t finish();

 private:
  struct Entry {
    std::string question;
    std::size_t nodes = 0, options = 0, edges = 0;
    Solution solution;  ///< without its choice
  };
  std::filesystem::path directory_;
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;  ///< by file name without its extension
};

}  // namespace alpa
