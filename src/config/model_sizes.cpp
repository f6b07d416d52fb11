#include "model_sizes.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

struct GptSize {
  std::string_view name;
  std::int64_t hidden, layers, heads;
};
// Alpa, OSDI'22, table of models; sequence 1024, vocabulary 51200
constexpr std::array<GptSize, 7> kGptSizes = {{{"350M", 1024, 24, 16},
                                               {"1.3B", 2048, 24, 32},
                                               {"2.6B", 2560, 32, 32},
                                               {"6.7B", 4096, 32, 32},
                                               {"15B", 5120, 48, 40},
                                               {"39B", 8192, 48, 64},
                                               {"175B", 12288, 96, 96}}};

struct MoeSize {
  std::string_view name;
  std::int64_t hidden, layers, experts;
};
// vocabulary 32000, 16 heads, feed-forward 8x, groups of 2048 tokens, every second layer, top 2
constexpr std::array<MoeSize, 6> kMoeSizes = {{{"380M", 768, 8, 8},
                                               {"1.3B", 768, 16, 16},
                                               {"2.4B", 1024, 16, 16},
                                               {"10B", 1536, 16, 32},
                                               {"27B", 2048, 16, 48},
                                               {"70B", 2048, 32, 64}}};

struct WideResnetSize {
  std::string_view name;
  std::int64_t layers, channels, width;
};
constexpr std::array<WideResnetSize, 6> kWideResnetSizes = {{{"250M", 50, 160, 2},
                                                             {"1B", 50, 320, 2},
                                                             {"2B", 50, 448, 2},
                                                             {"4B", 50, 640, 2},
                                                             {"6.8B", 50, 320, 16},
                                                             {"13B", 101, 320, 16}}};

template <class Table>
std::vector<std::string> names(const Table& table) {
  std::vector<std::string> result;
  for (const auto& entry : table) result.emplace_back(entry.name);
  return result;
}

template <class Table>
const auto& entry_of(const Table& table, std::string_view name) {
  const auto found =
      std::find_if(table.begin(), table.end(), [name](const auto& e) { return e.name == name; });
  ALPA_CHECK(found != table.end());
  return *found;
}

}  // namespace

std::vector<std::string> published_sizes(Preset preset) {
  switch (preset) {
    case Preset::gpt:
      return names(kGptSizes);
    case Preset::moe:
      return names(kMoeSizes);
    case Preset::wide_resnet:
      return names(kWideResnetSizes);
    case Preset::mlp:
    case Preset::llama:
    case Preset::bert:
    case Preset::custom:
      break;
  }
  return {};
}

void apply_size(ModelConfig& model, const std::string& size) {
  if (model.preset == Preset::wide_resnet) {
    const WideResnetSize& entry = entry_of(kWideResnetSizes, size);
    auto& shape = std::get<WideResnetConfig>(model.shape);
    shape.layers = entry.layers;
    shape.channels = entry.channels;
    shape.width = entry.width;
    return;
  }
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.sequence = 1024;
  if (model.preset == Preset::gpt) {
    const GptSize& entry = entry_of(kGptSizes, size);
    shape.hidden = entry.hidden;
    shape.layers = entry.layers;
    shape.heads = entry.heads;
    shape.feed_forward = 4 * entry.hidden;
    shape.vocabulary = 51200;
    return;
  }
  const MoeSize& entry = entry_of(kMoeSizes, size);
  shape.hidden = entry.hidden;
  shape.layers = entry.layers;
  shape.heads = 16;
  shape.feed_forward = 8 * entry.hidden;
  shape.vocabulary = 32000;
  shape.moe->experts = entry.experts;
  shape.moe->group = 2048;
}

}  // namespace alpa
