#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "layer_tables.hpp"
#include "search_work.hpp"

namespace alpa {

/// Submeshes that the programme of cuts looks at.
struct Sizes {
  bool regular = false;         ///< only those whose size divides the cluster
  bool one_axis = false;        ///< as one axis alone, unless another shape is asked for
  std::set<int> two_axes = {};  ///< sizes that may have two axes all the same
};

/// Above so many layers cuts lie between blocks of them.
inline constexpr int kMostBlocks = 128;

/// Submeshes at the places where stages may begin, and what runs of layers take on them: for one
/// number of microbatches and one schedule. Above kMostBlocks layers runs are of whole blocks,
/// above 64 devices places are every second, fourth, .. device and sizes divide the cluster.
class StageSites {
 public:
  /// A submesh at some places: its meshes with their tables.
  struct Site {
    int units = 0;  ///< places that it takes
    Bytes room;
    std::vector<DeviceMesh> meshes;
    std::vector<const MeshTables*> tables;
    std::vector<int> places;  ///< where it may begin, ascending
    int period = 1;
    /// [block] from it on so many have the same figures as those `period` before.
    std::vector<int> repeats;
  };

  /// Runs of blocks on a site with so many stashes: the best of its meshes and tables, as long as
  /// runs fit and take less than the limit.
  struct Runs {
    struct Run {
      double both = 0.0;  ///< t: forward and backward of a microbatch
      double rest = 0.0;  ///< (B - 1) t + u
    };

    /// Those that begin with a block. The first of them may be another block's, which keeps them:
    /// in models of equal layers few are read again and again.
    class Row {
     public:
      Row() = default;
      /// Begins as another row does, which changes no more.
      Row(const Row& other, std::size_t count);
      Row(const Row&) = delete;  // others point into it
      Row& operator=(const Row&) = delete;
      Row(Row&&) = default;
      Row& operator=(Row&&) = default;

      [[nodiscard]] std::size_t size() const { return shared_ + own_.size(); }
      /// With so many blocks after the first.
      [[nodiscard]] const Run& operator[](std::size_t more) const {
        return more < shared_ ? others_[more] : own_[more - shared_];
      }
      void push_back(const Run& run) { own_.push_back(run); }

     private:
      const Run* others_ = nullptr;
      std::size_t shared_ = 0;
      std::vector<Run> own_;
    };
    std::vector<Row> from;  ///< [first block]
  };

  /// The best of a site's logical meshes and tables for a run of blocks.
  struct Candidate {
    StageTimes times;
    const DeviceMesh* mesh = nullptr;  ///< null: nothing fits
  };

  /// @param sizes kept by reference
  StageSites(SearchWork& work, LayerTables& tables, int microbatches, PipelineKind schedule,
             const Sizes& sizes);

  [[nodiscard]] int blocks() const { return static_cast<int>(begin_.size()) - 1; }
  /// First layer of a block; of the one after the last, the number of layers.
  [[nodiscard]] int first_layer(int block) const { return begin_[static_cast<std::size_t>(block)]; }
  /// The block that begins with a layer.
  [[nodiscard]] int block_of(int layer) const;
  [[nodiscard]] int places() const { return places_; }
  [[nodiscard]] int device(int place) const { return place * unit_; }

  [[nodiscard]] int count() const { return static_cast<int>(sites_.size()); }
  [[nodiscard]] const Site& site(int s) const { return sites_[static_cast<std::size_t>(s)]; }

  /// Microbatches in flight at the stage with `left - 1` after it.
  [[nodiscard]] int depth(int left) const;

  /// From now on runs of (B - 1) t + u above it are left out.
  void limit(double most);
  /// Makes the runs of all sites for so many stages left, and fewer, on several threads.
  void make_runs(int left);
  /// @pre made
  [[nodiscard]] const Runs& runs(int site, int left) const;

  [[nodiscard]] Candidate best_of(int site, int stashes, int first, int last);

 private:
  /// The tables of a site's meshes for each number of stashes; what has been asked for.
  struct OfDepths {
    std::map<int, std::vector<Chain>> chains;
    std::map<int, Runs> runs;
  };

  void add_sites(LayerTables& tables, const std::vector<std::vector<int>>& sizes_at);
  void find_repeats(Site& site) const;
  [[nodiscard]] bool alike(const Site& site, int a, int b) const;
  [[nodiscard]] std::vector<DeviceMesh> meshes(int size) const;
  [[nodiscard]] bool may_hold_a_layer(int device, const DeviceMesh& mesh);
  const std::vector<Chain>& chains(std::size_t site, int stashes);
  void make_runs(std::size_t site, int stashes);
  [[nodiscard]] Candidate best_of(const Site& site, const std::vector<Chain>& chains, int stashes,
                                  int first, int last) const;

  SearchWork& work_;
  int microbatches_;
  PipelineKind schedule_;
  const Sizes& sizes_;
  std::vector<int> begin_;  ///< [block] its first layer, and the number of layers
  int unit_ = 1;            ///< devices between places
  int places_ = 0;
  double limit_;
  std::vector<Site> sites_;
  std::vector<OfDepths> of_depths_;  ///< [site]
  std::int64_t least_state_ = -1;    ///< bytes of the layer with the smallest state
};

}  // namespace alpa
