#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace alpa {

/// Finds things by name that stand in a list of their own, which holds the names: entries are 8
/// bytes. Things may be renamed in the list; the new name is then added.
///
/// `name_of(i)` gives the name of the i-th thing.
class NameTable {
 public:
  /// @param expected number of names, for which there is room at once
  explicit NameTable(std::size_t expected = 0) {
    std::size_t places = 16;
    while (places < 2 * expected) places *= 2;
    entries_.resize(places);
  }

  /// The place of what has this name now.
  template <class NameOf>
  [[nodiscard]] std::optional<std::int32_t> find(std::string_view name, NameOf name_of) const {
    const std::uint32_t hash = hash_of_name(name);
    for (std::size_t at = hash & mask(); entries_[at].index >= 0; at = (at + 1) & mask()) {
      const Entry& entry = entries_[at];
      if (entry.hash == hash && name_of(entry.index) == name) return entry.index;
    }
    return std::nullopt;
  }

  /// False, and nothing is added, if something has this name.
  template <class NameOf>
  bool add(std::string_view name, std::int32_t index, NameOf name_of) {
    if (find(name, name_of)) return false;
    if (2 * (count_ + 1) > entries_.size()) grow();
    put({hash_of_name(name), index});
    ++count_;
    return true;
  }

 private:
  struct Entry {
    std::uint32_t hash = 0;
    std::int32_t index = -1;
  };

  static std::uint32_t hash_of_name(std::string_view name) {
    return static_cast<std::uint32_t>(std::hash<std::string_view>{}(name));
  }
  [[nodiscard]] std::size_t mask() const { return entries_.size() - 1; }

  void put(Entry entry) {
    std::size_t at = entry.hash & mask();
    while (entries_[at].index >= 0) at = (at + 1) & mask();
    entries_[at] = entry;
  }

  void grow() {
    std::vector<Entry> before(2 * entries_.size());
    before.swap(entries_);
    for (const Entry& entry : before) {
      if (entry.index >= 0) put(entry);
    }
  }

  std::vector<Entry> entries_;  ///< open addressing, at most half full
  std::size_t count_ = 0;
};

}  // namespace alpa
