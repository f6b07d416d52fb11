#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"

#include "source.hpp"

namespace alpa {
namespace {

double unit(std::uint32_t bits) { return static_cast<double>(bits) * 0x1p-32; }

}  // namespace

TokenFields::TokenFields(std::int64_t sequence, const TokenRules& rules, std::uint64_t seed)
    : sequence_(sequence),
      rules_(rules),
      training_key_(key_of(seed, "data.masking", Split::training)),
      evaluation_key_(key_of(seed, "data.masking", Split::evaluation)) {
  ALPA_CHECK(!rules.masking ||
             (rules.masking->token >= 0 && rules.masking->token < rules.masking->vocabulary));
}

std::vector<Field> TokenFields::fields() const {
  std::vector<Field> fields = {{"tokens", {sequence_}, FieldType::integer},
                               {"labels", {sequence_}, FieldType::integer},
                               {"weights", {sequence_}, FieldType::real}};
  if (rules_.end_of_document) fields.push_back({"documents", {sequence_}, FieldType::integer});
  return fields;
}

bool TokenFields::plain() const {
  return !rules_.masking && !rules_.end_of_document && !rules_.ignore_label;
}

std::array<std::uint32_t, 4> TokenFields::draw(const IdRow& from, std::size_t t) const {
  const bool training = from.sample.split == Split::training;
  return philox(training ? training_key_ : evaluation_key_,
                static_cast<std::uint64_t>(from.sample.number), t);
}

/// Whether the token behind position t is to be guessed.
bool TokenFields::is_chosen(const IdRow& from, std::size_t t) const {
  const std::int32_t id = from.ids[t + 1];
  if (static_cast<std::int64_t>(t) >= from.valid || id == rules_.end_of_document ||
      id == rules_.ignore_label) {
    return false;
  }
  return unit(draw(from, t)[0]) < rules_.masking->probability;
}

std::int32_t TokenFields::token(const IdRow& from, std::size_t t) const {
  constexpr double kHidden = 0.8;
  constexpr double kHiddenOrRandom = 0.9;
  const bool there = static_cast<std::int64_t>(t) < from.valid;
  if (!rules_.masking) return there ? from.ids[t] : 0;
  if (!is_chosen(from, t)) return there ? from.ids[t + 1] : 0;
  const auto bits = draw(from, t);
  if (unit(bits[1]) < kHidden) return rules_.masking->token;
  if (unit(bits[1]) >= kHiddenOrRandom) return from.ids[t + 1];
  return static_cast<std::int32_t>(below(unit(bits[2]), rules_.masking->vocabulary));
}

/// Ids 7 7 0 7 with end 0: documents 0 0 0 1.
void TokenFields::documents(const IdRow& from, std::span<std::int32_t> row) const {
  const std::size_t first = rules_.masking ? 1 : 0;
  std::int32_t document = 0;
  for (std::size_t t = 0; t < row.size(); ++t) {
    if (static_cast<std::int64_t>(t) == from.valid) ++document;
    row[t] = document;
    const bool there = static_cast<std::int64_t>(t) < from.valid;
    if (there && from.ids[t + first] == rules_.end_of_document) ++document;
  }
}

void TokenFields::integers(std::string_view field, const IdRow& from,
                           std::span<std::int32_t> row) const {
  if (field == "documents") return documents(from, row);
  for (std::size_t t = 0; t < row.size(); ++t) {
    const bool there = static_cast<std::int64_t>(t) < from.valid;
    row[t] = field == "tokens" ? token(from, t) : there ? from.ids[t + 1] : 0;
  }
}

void TokenFields::weights(const IdRow& from, std::span<double> row) const {
  for (std::size_t t = 0; t < row.size(); ++t) {
    const bool counts = rules_.masking ? is_chosen(from, t)
                                       : static_cast<std::int64_t>(t) < from.valid &&
                                             from.ids[t] != rules_.end_of_document &&
                                             from.ids[t + 1] != rules_.ignore_label;
    row[t] = counts ? 1.0 : 0.0;
  }
}

}  // namespace alpa
