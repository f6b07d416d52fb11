#include <array>
#include <charconv>
#include <numeric>

#include "interchange.hpp"

// Letters: e hidden, k which of query, key and value, h heads, r queries of a head of keys, d head
// dimension, f feed-forward, v vocabulary, t positions, as in src/model/transformer.cpp.
namespace alpa {
namespace {

/// One tensor of the file: what it holds of which of our parameters. `#` stands for the number of a
/// layer. `first` and `count` cut the dimension 'k'; `dims` are our letters in the file's order,
/// those joined into one dimension in brackets.
struct Rule {
  std::string_view ours;
  std::string_view letters;  ///< of our dimensions
  std::string_view theirs;
  std::string_view dims;
  int k = -1;  ///< index in the dimension 'k'; -1: all of it
};

constexpr std::array kGpt2 = {
    Rule{"embedding.weight", "ve", "wte.weight", "ve"},
    Rule{"positions.weight", "te", "wpe.weight", "te"},
    Rule{"layers.#.norm1.weight", "e", "h.#.ln_1.weight", "e"},
    Rule{"layers.#.norm1.bias", "e", "h.#.ln_1.bias", "e"},
    Rule{"layers.#.attention.qkv.weight", "ekhd", "h.#.attn.c_attn.weight", "e[khd]"},
    Rule{"layers.#.attention.qkv.bias", "khd", "h.#.attn.c_attn.bias", "[khd]"},
    Rule{"layers.#.attention.output.weight", "hde", "h.#.attn.c_proj.weight", "[hd]e"},
    Rule{"layers.#.attention.output.bias", "e", "h.#.attn.c_proj.bias", "e"},
    Rule{"layers.#.norm2.weight", "e", "h.#.ln_2.weight", "e"},
    Rule{"layers.#.norm2.bias", "e", "h.#.ln_2.bias", "e"},
    Rule{"layers.#.feed_forward.in.weight", "ef", "h.#.mlp.c_fc.weight", "ef"},
    Rule{"layers.#.feed_forward.in.bias", "f", "h.#.mlp.c_fc.bias", "f"},
    Rule{"layers.#.feed_forward.out.weight", "fe", "h.#.mlp.c_proj.weight", "fe"},
    Rule{"layers.#.feed_forward.out.bias", "e", "h.#.mlp.c_proj.bias", "e"},
    Rule{"final_norm.weight", "e", "ln_f.weight", "e"},
    Rule{"final_norm.bias", "e", "ln_f.bias", "e"},
    Rule{"head.weight", "ve", "lm_head.weight", "ve"},
};

constexpr std::array kLlama = {
    Rule{"embedding.weight", "ve", "model.embed_tokens.weight", "ve"},
    Rule{"layers.#.norm1.weight", "e", "model.layers.#.input_layernorm.weight", "e"},
    Rule{"layers.#.attention.qkv.weight", "ekhd", "model.layers.#.self_attn.q_proj.weight",
         "[khd]e", 0},
    Rule{"layers.#.attention.qkv.weight", "ekhd", "model.layers.#.self_attn.k_proj.weight",
         "[khd]e", 1},
    Rule{"layers.#.attention.qkv.weight", "ekhd", "model.layers.#.self_attn.v_proj.weight",
         "[khd]e", 2},
    Rule{"layers.#.attention.query.weight", "ehrd", "model.layers.#.self_attn.q_proj.weight",
         "[hrd]e"},
    Rule{"layers.#.attention.key_value.weight", "ekhd", "model.layers.#.self_attn.k_proj.weight",
         "[khd]e", 0},
    Rule{"layers.#.attention.key_value.weight", "ekhd", "model.layers.#.self_attn.v_proj.weight",
         "[khd]e", 1},
    Rule{"layers.#.attention.output.weight", "hde", "model.layers.#.self_attn.o_proj.weight",
         "e[hd]"},
    Rule{"layers.#.attention.output.weight", "hrde", "model.layers.#.self_attn.o_proj.weight",
         "e[hrd]"},
    Rule{"layers.#.norm2.weight", "e", "model.layers.#.post_attention_layernorm.weight", "e"},
    Rule{"layers.#.feed_forward.in.weight", "ef", "model.layers.#.mlp.up_proj.weight", "fe"},
    Rule{"layers.#.feed_forward.gate.weight", "ef", "model.layers.#.mlp.gate_proj.weight", "fe"},
    Rule{"layers.#.feed_forward.out.weight", "fe", "model.layers.#.mlp.down_proj.weight", "ef"},
    Rule{"final_norm.weight", "e", "model.norm.weight", "e"},
    Rule{"head.weight", "ve", "lm_head.weight", "ve"},
};

/// "layers.#.norm1.weight" for "layers.12.norm1.weight", and "12".
std::pair<std::string, std::string> without_number(const std::string& name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return {name, ""};
  const auto end = name.find('.', kPrefix.size());
  if (end == std::string::npos) return {name, ""};
  return {std::string(kPrefix) + "#" + name.substr(end),
          name.substr(kPrefix.size(), end - kPrefix.size())};
}

std::string with_number(std::string_view pattern, const std::string& number) {
  std::string name(pattern);
  const auto at = name.find('#');
  if (at != std::string::npos) name.replace(at, 1, number);
  return name;
}

TensorInFile applied(const Rule& rule, const Tensor& tensor, const std::string& number) {
  TensorInFile stored{
      with_number(rule.theirs, number), {}, tensor.name, whole_box(tensor.shape), {}};
  if (rule.k >= 0) {
    const auto d = rule.letters.find('k');
    stored.part.offset[d] = rule.k;
    stored.part.extent[d] = 1;
  }
  bool joined = false;
  bool begun = false;
  for (const char letter : rule.dims) {
    if (letter == '[' || letter == ']') {
      joined = letter == '[';
      begun = false;
      continue;
    }
    const auto d = rule.letters.find(letter);
    stored.order.push_back(static_cast<int>(d));
    if (joined && begun)
      stored.shape.back() *= stored.part.extent[d];
    else
      stored.shape.push_back(stored.part.extent[d]);
    begun = true;
  }
  return stored;
}

/// Empty if one of the parameters has no rule.
template <std::size_t N>
std::vector<TensorInFile> by_rules(const std::array<Rule, N>& rules, const Graph& graph) {
  std::vector<TensorInFile> stored;
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    const Tensor& tensor = graph.tensor(id);
    const auto [pattern, number] = without_number(tensor.name);
    bool known = false;
    for (const Rule& rule : rules) {
      if (rule.ours != pattern || rule.letters.size() != tensor.shape.size()) continue;
      stored.push_back(applied(rule, tensor, number));
      known = true;
    }
    if (!known) return {};
  }
  return stored;
}

}  // namespace

std::vector<TensorInFile> own_tensors(const Graph& graph) {
  std::vector<TensorInFile> stored;
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    const Tensor& tensor = graph.tensor(id);
    std::vector<int> order(tensor.shape.size());
    std::iota(order.begin(), order.end(), 0);
    stored.push_back({tensor.name, tensor.shape, tensor.name, whole_box(tensor.shape), order});
  }
  return stored;
}

std::vector<TensorInFile> tensors_in_file(Preset preset, const Graph& graph) {
  std::vector<TensorInFile> stored;
  if (preset == Preset::gpt) stored = by_rules(kGpt2, graph);
  if (preset == Preset::llama) stored = by_rules(kLlama, graph);
  return stored.empty() ? own_tensors(graph) : stored;
}

}  // namespace alpa
