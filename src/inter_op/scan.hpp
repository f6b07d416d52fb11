#pragma once

#include <map>
#include <set>
#include <vector>

#include "layer_tables.hpp"
#include "structure_programme.hpp"

namespace alpa {

/// What scans with no less memory have found.
struct Scanned {
  std::map<int, RatedDraft> best;  ///< by number of microbatches; time infinite: nothing fits
  std::set<int> two_axes;          ///< sizes of meshes that may have them at last
  std::set<int> on_two_axes;       ///< numbers of microbatches that were last looked at so
};

/// Where to begin, if fewer tables have been looked at.
struct ScanStart {
  std::vector<int> microbatches = {};  ///< that were best; empty: all numbers that may matter
  double time = 0.0;                   ///< of the best
  std::set<int> two_axes = {};         ///< as in Scanned
};

/// Cuts of the layers for the numbers of microbatches that matter, each once, cheapest first as the
/// tables say. Where there is much to do: every second number of microbatches, then those beside
/// the best; submeshes that divide the cluster, and all sizes for the best number alone. In large
/// graphs from the smallest number up to the first for which something fits, from the largest down
/// as long as that helps, 1F1B and meshes of one axis; at last those of two axes of the sizes that
/// the best draft uses.
/// From a start those numbers, and those beside the best as long as that helps. In very deep graphs
/// all sizes at once; once something is known, those numbers alone that were better than what is
/// found now, of the others the best as it was.
/// @param hopeless a time of which nothing above is wanted
/// @param known of these tables; what is found is put there
[[nodiscard]] std::vector<RatedDraft> scan(SearchWork& work, LayerTables& tables, double hopeless,
                                           const ScanStart& start, Scanned& known);

/// Sizes of a draft's stages that may have two axes.
[[nodiscard]] std::set<int> sizes_of(SearchWork& work, const Draft& draft);

}  // namespace alpa
