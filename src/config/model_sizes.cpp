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

struct LlamaSize {
  std::string_view name;
  std::int64_t hidden, layers, heads, key_value_heads, feed_forward, vocabulary, sequence;
  double rotary_base;
};
// Llama 2 (Touvron et al. 2023) and, as 3-…, Llama 3 (Grattafiori et al. 2024)
constexpr std::array<LlamaSize, 5> kLlamaSizes = {
    {{"7B", 4096, 32, 32, 32, 11008, 32000, 4096, 1e4},
     {"13B", 5120, 40, 40, 40, 13824, 32000, 4096, 1e4},
     {"70B", 8192, 80, 64, 8, 28672, 32000, 4096, 1e4},
     {"3-8B", 4096, 32, 32, 8, 14336, 128256, 8192, 5e5},
     {"3-70B", 8192, 80, 64, 8, 28672, 128256, 8192, 5e5}}};

struct BertSize {
  std::string_view name;
  std::int64_t hidden, layers, heads;
};
// Devlin et al. 2019; sequence 512, vocabulary 30522
constexpr std::array<BertSize, 2> kBertSizes = {{{"base", 768, 12, 12}, {"large", 1024, 24, 16}}};

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

void apply_llama_size(TransformerConfig& shape, const LlamaSize& size) {
  shape.hidden = size.hidden;
  shape.layers = size.layers;
  shape.heads = size.heads;
  shape.key_value_heads = size.key_value_heads;
  shape.feed_forward = size.feed_forward;
  shape.vocabulary = size.vocabulary;
  shape.sequence = size.sequence;
  shape.rotary_base = size.rotary_base;
}

void apply_bert_size(TransformerConfig& shape, const BertSize& size) {
  shape.hidden = size.hidden;
  shape.layers = size.layers;
  shape.heads = size.heads;
  shape.feed_forward = 4 * size.hidden;
  shape.vocabulary = 30522;
  shape.sequence = 512;
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
    case Preset::llama:
      return names(kLlamaSizes);
    case Preset::bert:
      return names(kBertSizes);
    case Preset::mlp:
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
  if (model.preset == Preset::llama) return apply_llama_size(shape, entry_of(kLlamaSizes, size));
  if (model.preset == Preset::bert) return apply_bert_size(shape, entry_of(kBertSizes, size));
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
