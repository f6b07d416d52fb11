#pragma once

#include <map>
#include <vector>

#include "layer_tables.hpp"
#include "structure_programme.hpp"

namespace alpa {

/// Cuts of the layers for the numbers of microbatches that matter, each once, cheapest first as the
/// tables say. Where there is much to do: every second number of microbatches, then those beside
/// the best; submeshes that divide the cluster, and all sizes for the best number alone. In large
/// graphs from the smallest number up to the first for which something fits, from the largest down
/// as long as that helps, 1F1B and meshes of one axis; at last those of two axes of the sizes that
/// the best draft uses.
/// @param hopeless a time of which nothing above is wanted
/// @param known what scans with no less memory have found, by number of microbatches: those that
///   were hopeless are left out; what is found is put there
[[nodiscard]] std::vector<RatedDraft> scan(SearchWork& work, LayerTables& tables, double hopeless,
                                           std::map<int, double>& known);

/// The same from some numbers of microbatches, and those beside the best as long as that helps.
[[nodiscard]] std::vector<RatedDraft> scan_near(SearchWork& work, LayerTables& tables,
                                                double hopeless,
                                                const std::vector<int>& microbatches);

}  // namespace alpa
