#include "device/cases.hpp"

#include <set>

namespace alpa::test {

namespace {

using enum Content;

Argument scalar(double value) { return {"", constant, value}; }

Case einsum(const Dims& left, const Dims& right, const Dims& result, double scale = 1.0) {
  return {"einsum " + left + "," + right + "->" + result,
          Einsum{left, right, result, scale},
          {{left}, {right}},
          {{result}}};
}

void add_einsums(std::vector<Case>& cases) {
  const std::vector<std::array<Dims, 3>> patterns = {
      {"bte", "ekhd", "btkhd"}, {"btkhd", "ekhd", "bte"}, {"bte", "btkhd", "ekhd"},
      {"bthd", "hde", "bte"},   {"bte", "hde", "bthd"},   {"bthd", "bte", "hde"},
      {"bte", "ef", "btf"},     {"btf", "ef", "bte"},     {"bte", "btf", "ef"},
      {"bte", "ve", "btv"},     {"btv", "ve", "bte"},     {"btv", "bte", "ve"},
      {"bi", "io", "bo"},       {"bo", "io", "bi"},       {"bi", "bo", "io"},
      {"bi", "oi", "bo"},       {"ef", "bte", "fbt"},     {"bthd", "bshd", "bhts"},
      {"bhts", "bshd", "bthd"}, {"bij", "bjk", "bik"},    {"ij", "ij", ""},
      {"ij", "ij", "i"},        {"ij", "ij", "ij"},       {"i", "j", "ij"},
      {"xyz", "zwy", "xw"},     {"abcd", "dbef", "faec"}, {"i", "i", ""},
      {"aij", "jb", "bia"},     {"gsm", "gsec", "gecm"},  {"i", "ij", "j"},
  };
  for (const auto& [left, right, result] : patterns) {
    cases.push_back(einsum(left, right, result, left.size() == 2 ? 0.5 : 1.0));
  }
}

Case map(const std::string& name, MapOp op, const std::vector<Argument>& operands,
         const Argument& result, double factor = 1.0) {
  Map kernel{op, {}, result.dims, factor};
  for (const Argument& operand : operands) kernel.operands.push_back(operand.dims);
  return {"map " + name, kernel, operands, {result}};
}

void add_maps(std::vector<Case>& cases) {
  const std::vector<std::pair<std::string, MapOp>> unary = {
      {"copy", MapOp::copy}, {"scale", MapOp::scale},         {"relu", MapOp::relu},
      {"gelu", MapOp::gelu}, {"gelu_tanh", MapOp::gelu_tanh}, {"silu", MapOp::silu},
      {"tanh", MapOp::tanh}};
  for (const auto& [name, op] : unary) {
    cases.push_back(map(name, op, {{"bte"}}, {"bte"}, 0.7));
    cases.push_back(map(name + " transposed", op, {{"tb"}}, {"bt"}, -1.5));
  }
  const std::vector<std::pair<std::string, MapOp>> gradients = {
      {"relu_gradient", MapOp::relu_gradient},
      {"gelu_gradient", MapOp::gelu_gradient},
      {"gelu_tanh_gradient", MapOp::gelu_tanh_gradient},
      {"silu_gradient", MapOp::silu_gradient},
      {"tanh_gradient", MapOp::tanh_gradient}};
  for (const auto& [name, op] : gradients) cases.push_back(map(name, op, {{"bf"}, {"bf"}}, {"bf"}));
  cases.push_back(map("add", MapOp::add, {{"bte"}, {"bte"}}, {"bte"}));
  cases.push_back(map("add bias", MapOp::add, {{"bte"}, {"e"}}, {"bte"}));
  cases.push_back(map("add position", MapOp::add, {{"te"}, {"bte"}, {"b"}}, {"bte"}));
  cases.push_back(map("add bias khd", MapOp::add, {{"btkhd"}, {"khd"}}, {"btkhd"}));
  cases.push_back(map("add scalars", MapOp::add, {{""}, {""}}, {""}));
  cases.push_back(map("spread", MapOp::copy, {{""}}, {"ij"}));
  cases.push_back(map("widen", MapOp::copy, {{"ij"}}, {"ij", wide}));
  cases.push_back(map("narrow", MapOp::copy, {{"ij", wide}}, {"ij"}));
  cases.push_back(map("add_scaled", MapOp::add_scaled, {{"ij"}, {"j"}}, {"ij"}, 0.7));
  cases.push_back(map("subtract", MapOp::subtract, {{"ij"}, {"j"}}, {"ij"}));
  cases.push_back(map("multiply", MapOp::multiply, {{"ij"}, {"i"}}, {"ij"}));
  cases.push_back(map("softmax", MapOp::softmax, {{"btv"}, {"bt"}, {"bt", positive}}, {"btv"}));
  cases.push_back(
      map("softmax_gradient", MapOp::softmax_gradient, {{"btv"}, {"btv"}, {"bt"}}, {"btv"}));
  cases.push_back(map("softmax_gradient wide", MapOp::softmax_gradient,
                      {{"btv"}, {"btv"}, {"bt", wide}}, {"btv"}));
  cases.push_back(map("cross_entropy", MapOp::cross_entropy,
                      {{"bt"}, {"bt", positive}, {"bt"}, {"bt"}, scalar(0.25)}, {"bt", wide}));
  cases.push_back(map("squared_error", MapOp::squared_error, {{"bo"}, {"bo"}, {"b"}, scalar(0.25)},
                      {"bo", wide}, 0.5));
  cases.push_back(map("hit", MapOp::hit, {{"bt"}, {"bt"}, {"b"}}, {"bt", wide}));
  cases.push_back(map("squared_error_gradient", MapOp::squared_error_gradient,
                      {{"bo"}, {"bo"}, {"b"}, scalar(0.25)}, {"bo"}, 0.5));
}

void add_reductions(std::vector<Case>& cases) {
  const auto add = [&](ReduceOp op, bool square, const Dims& from, const Argument& to) {
    cases.push_back(
        {"reduce " + from + "->" + to.dims, Reduce{op, square, from, to.dims}, {{from}}, {to}});
  };
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max}) {
    for (const bool square : {false, true}) {
      add(op, square, "btv", {"bt"});
      add(op, square, "bte", {"e"});
      add(op, square, "bte", {"t"});
      add(op, square, "ij", {"", wide});
      add(op, square, "ij", {"ij"});
      add(op, square, "abcd", {"db", wide});
    }
  }
  cases.push_back({"sum_exp", SumExp{"btv", "bt"}, {{"btv"}, {"bt"}}, {{"bt"}}});
  cases.push_back({"sum_exp first", SumExp{"vbt", "bt"}, {{"vbt"}, {"bt"}}, {{"bt", wide}}});
}

void add_tokens(std::vector<Case>& cases) {
  cases.push_back({"pick", Pick{"btv", "bt", 'v'}, {{"btv"}, {"bt", ids}}, {{"bt"}}});
  cases.push_back({"pick first", Pick{"vb", "b", 'v'}, {{"vb"}, {"b", ids}}, {{"b"}}});
  cases.push_back({"pick smoothed", Pick{"btv", "bt", 'v', 0.3}, {{"btv"}, {"bt", ids}}, {{"bt"}}});
  for (const auto& [x, labels] : {std::pair<Dims, Dims>{"btv", "bt"}, {"vb", "b"}}) {
    for (const double smoothing : {0.0, 0.1}) {
      cases.push_back({"cross_entropy_gradient " + x + (smoothing > 0.0 ? " smoothed" : ""),
                       CrossEntropyGradient{x, labels, 'v', smoothing},
                       {{x}, {labels}, {labels, positive}, {labels, ids}, {labels}, scalar(0.1)},
                       {{x}}});
    }
  }
  cases.push_back({"embedding", Embedding{"ve", "bt", "bte"}, {{"ve"}, {"bt", ids}}, {{"bte"}}});
  cases.push_back(
      {"embedding odd", Embedding{"ev", "bt", "bet"}, {{"ev"}, {"bt", ids}}, {{"bet"}}});
  cases.push_back({"embedding_gradient",
                   EmbeddingGradient{"bte", "bt", "ve"},
                   {{"bte"}, {"bt", ids}},
                   {{"ve"}}});
  cases.push_back({"embedding_gradient odd",
                   EmbeddingGradient{"ebt", "tb", "ev"},
                   {{"ebt"}, {"tb", ids}},
                   {{"ev"}}});
}

void add_norms(std::vector<Case>& cases) {
  struct Letters {
    Dims x, over, row, column;
  };
  for (const auto& [x, over, row, column] : {Letters{"bte", "e", "bt", "e"},
                                             {"bet", "e", "bt", "e"},
                                             {"e", "e", "", "e"},
                                             {"bec", "e", "bc", "c"},
                                             {"betc", "be", "tc", "c"},
                                             {"bec", "be", "c", "c"}}) {
    const std::string named = column == "e" ? x : x + " over " + over;
    cases.push_back(
        {"norm_moments " + named, NormMoments{x, over}, {{x}}, {{row, wide}, {row, wide}}});
    for (const bool rms : {false, true}) {
      const NormAttributes norm{.operand = x, .over = over, .parameters = column, .rms = rms};
      const Argument sum{row, wide}, squares{row, square_sum};
      const std::string name = named + (rms ? " rms" : "");
      cases.push_back({"norm_apply " + name,
                       NormApply{norm, true},
                       {{x}, sum, squares, {column}, {column}},
                       {{x}}});
      cases.push_back({"norm_apply without bias " + name,
                       NormApply{norm, false},
                       {{x}, sum, squares, {column}},
                       {{x}}});
      cases.push_back({"norm_gradient_moments " + name,
                       NormGradientMoments{norm},
                       {{x}, {x}, sum, squares, {column}},
                       {{row, wide}, {row, wide}}});
      cases.push_back({"norm_gradient_input " + name,
                       NormGradientInput{norm},
                       {{x}, {x}, sum, squares, {column}, {row, wide}, {row, wide}},
                       {{x}}});
      cases.push_back({"norm_gradient_parameters " + name,
                       NormGradientParameters{norm, true},
                       {{x}, {x}, sum, squares},
                       {{column}, {column}}});
      cases.push_back({"norm_gradient_parameters without bias " + name,
                       NormGradientParameters{norm, false},
                       {{x}, {x}, sum, squares},
                       {{column}}});
    }
  }
  for (const Dims row : {"bc", "c"}) {
    const Argument r{row, wide}, c{"c", wide};
    cases.push_back(
        {"norm_statistics " + row, NormStatistics{row, "c", 5.0, 0.25}, {r, r}, {c, c}});
    cases.push_back(
        {"norm_blend " + row, NormBlend{row, "c", 5.0}, {r, r, c, c, {"", flags}}, {r, r}});
  }
}

void add_moves(std::vector<Case>& cases) {
  cases.push_back({"select", Select{"btkhd", 'k', 0}, {{"btkhd"}}, {{"bthd"}}});
  cases.push_back({"select first", Select{"kb", 'k', 0}, {{"kb"}}, {{"b"}}});
  cases.push_back({"stack", Stack{"bt3hd", '3'}, {{"bthd"}, {"bthd"}, {"bthd"}}, {{"bt3hd"}}});
  cases.push_back({"stack last", Stack{"b3", '3'}, {{"b"}, {"b"}, {"b"}}, {{"b3"}}});
  for (const double training : {0.0, 1.0}) {
    const DropoutAttributes dropout{0.3, 99};
    cases.push_back(
        {"dropout", Dropout{"bte", dropout}, {{"bte"}, scalar(5), scalar(training)}, {{"bte"}}});
    cases.push_back({"dropout batch inside",
                     Dropout{"tbe", dropout},
                     {{"tbe"}, scalar(5), scalar(training)},
                     {{"tbe"}}});
  }
  cases.push_back({"fill", Fill{2.5}, {}, {{"ij"}}});
  cases.push_back({"contribute", Contribute{}, {{"", wide}}, {{"", wide}}});
  cases.push_back({"accumulate", Accumulate{"ij"}, {{"ij"}}, {{"ij"}}});
  cases.push_back({"accumulate scaled", Accumulate{"ij"}, {{"ij"}, scalar(0.25)}, {{"ij"}}});
  cases.push_back({"accumulate wide", Accumulate{"ij"}, {{"ij"}}, {{"ij", wide}}});
}

void add_attention(std::vector<Case>& cases, const Attention& attention) {
  const Argument query{attention.grouped ? "bthrd" : "bthd"}, key{"bshd"};
  const Dims row = attention.grouped ? "bthr" : "bth";
  std::vector<Argument> forward = {query, key, key, scalar(3), scalar(1)};
  std::vector<Argument> backward = {query,      key,   key,       query,
                                    {row, lse}, query, scalar(3), scalar(1)};
  if (attention.documents) {
    for (auto* operands : {&forward, &backward}) {
      operands->insert(operands->end(), {{"bt", documents}, {"bs", documents}});
    }
  }
  const std::string name = std::string(attention.grouped ? " grouped" : "") +
                           (attention.causal ? " causal" : "") +
                           (attention.dropout.probability > 0 ? " dropout" : "") +
                           (attention.documents ? " documents" : "");
  cases.push_back({"attention" + name, attention, forward, {query, {row, lse}}});
  cases.push_back(
      {"attention_gradient" + name, AttentionGradient{attention}, backward, {query, key, key}});
}

void add_attentions(std::vector<Case>& cases) {
  for (const bool causal : {false, true}) {
    for (const double probability : {0.0, 0.2}) {
      add_attention(cases, {causal, 0.4, {probability, 7}});
    }
  }
  add_attention(cases, {true, 0.4, {0.2, 7}, true, false});
  add_attention(cases, {true, 0.4, {}, false, true});
  add_attention(cases, {false, 0.4, {0.2, 7}, true, true});
  for (const bool inverse : {false, true}) {
    const std::string name = inverse ? " inverse" : "";
    cases.push_back({"rotary" + name, Rotary{"bthd", 100.0, inverse}, {{"bthd"}}, {{"bthd"}}});
    cases.push_back(
        {"rotary batch inside" + name, Rotary{"tbd", 10.0, inverse}, {{"tbd"}}, {{"tbd"}}});
  }
}

void add_updates(std::vector<Case>& cases) {
  for (const double clip : {0.0, 0.5}) {
    Update update{.operand = "ij", .weight_decay = 0.1, .clip_norm = clip};
    const std::vector<Argument> operands = {{"ij"}, scalar(0.01), scalar(4), scalar(3.0)};
    const auto add = [&](const std::string& name, OptimizerKind kind,
                         const std::vector<Argument>& results) {
      update.kind = kind;
      cases.push_back({"update " + name, update, operands, results});
    };
    add("sgd", OptimizerKind::sgd, {{"ij"}});
    add("momentum", OptimizerKind::momentum, {{"ij"}, {"ij"}});
    add("adam", OptimizerKind::adam, {{"ij"}, {"ij"}, {"ij", positive}});
    add("adamw", OptimizerKind::adamw, {{"ij"}, {"ij"}, {"ij", positive}});
  }
  cases.push_back({"running_average", RunningAverage{"ij", 0.7}, {{"ij"}, scalar(3.0)}, {{"ij"}}});
  cases.push_back({"update without a finite norm",
                   Update{.operand = "ij"},
                   {{"ij"}, scalar(0.01), scalar(4), scalar(INFINITY)},
                   {{"ij"}, {"ij"}, {"ij", positive}}});
}

/// Optimizers of several operators; `norm` is the squared norm that clips.
void add_directions(std::vector<Case>& cases, double norm) {
  const std::string suffix = std::isfinite(norm) ? "" : " without a finite norm";
  const Argument moment{"ij", positive};
  cases.push_back({"lamb_direction" + suffix,
                   LambDirection{.operand = "ij", .weight_decay = 0.1, .clip_norm = 0.5},
                   {{"ij"}, {"ij"}, scalar(4), scalar(norm)},
                   {{"ij"}, moment, {"ij"}}});
  for (const bool square : {false, true}) {
    cases.push_back({"second_moment" + suffix,
                     SecondMoment{"ij", square, square ? 1.0 : 7.0, 0.8, 1e-3, 0.5},
                     {moment, scalar(4), scalar(norm)},
                     {moment, {"ij"}}});
  }
  const auto direction = [&](const Dims& dims, const Dims& rows, const Dims& columns) {
    Case made{"factored_direction " + dims + suffix,
              FactoredDirection{dims, rows, columns, 5.0, 0.5},
              {{dims}, {rows, positive}},
              {{dims}}};
    if (!columns.empty()) {
      made.operands.push_back({columns, positive});
      made.operands.push_back(scalar(6.0));
    }
    made.operands.push_back(scalar(norm));
    cases.push_back(made);
  };
  direction("ekhd", "e", "khd");
  direction("hde", "hd", "e");
  direction("e", "e", "");
  for (const bool relative : {false, true}) {
    ApplyDirection apply{.size = ApplyDirection::Size::clipped,
                         .operand = "ij",
                         .count = 9.0,
                         .relative = relative,
                         .weight_decay = 0.1,
                         .learning_rate_factor = 0.5};
    std::vector<Argument> operands{{"ij"}, scalar(0.01), scalar(norm), scalar(20.0)};
    if (relative) operands.push_back(scalar(3.0));
    cases.push_back({"apply_direction clipped" + suffix, apply, operands, {{"ij"}}});
  }
  for (const double length : {0.0, 20.0}) {
    cases.push_back({"apply_direction trust_ratio" + suffix,
                     ApplyDirection{.operand = "ij"},
                     {{"ij"}, scalar(0.01), scalar(norm), scalar(length), scalar(3.0)},
                     {{"ij"}}});
  }
}

void add_resizes(std::vector<Case>& cases) {
  cases.push_back({"concatenate", Concatenate{"btf", 'f'}, {{"bt0"}, {"bt1"}, {"bt2"}}, {{"btf"}}});
  cases.push_back({"concatenate inside", Concatenate{"bfe", 'f'}, {{"b0e"}, {"b1e"}}, {{"bfe"}}});
  cases.push_back({"slice", Slice{"bfe", 'f', 1, 2}, {{"bfe"}}, {{"b0e"}}});
  cases.push_back({"upsample", Upsample{2}, {{"byxc"}}, {{"bhwc"}}});
  cases.push_back({"upsample_gradient", UpsampleGradient{2}, {{"bhwc"}}, {{"byxc"}}});
}

}  // namespace

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  add_einsums(cases);
  add_maps(cases);
  add_reductions(cases);
  add_tokens(cases);
  add_norms(cases);
  add_moves(cases);
  add_attentions(cases);
  add_updates(cases);
  add_images(cases);
  add_directions(cases, 3.0);
  add_directions(cases, INFINITY);
  add_resizes(cases);
  add_experts(cases);
  return cases;
}

void fit_sizes(const Kernel& kernel, Sizes& sizes) {
  const auto take_whole = [&](char letter, std::int64_t full) { sizes[letter] = {0, full, full}; };
  if (std::holds_alternative<Concatenate>(kernel)) {
    std::int64_t total = 0;
    for (auto& [letter, size] : sizes) {
      if (letter > '9') continue;
      take_whole(letter, size.full);
      total += size.full;
    }
    take_whole('f', total);
  } else if (std::holds_alternative<Slice>(kernel)) {
    take_whole('f', sizes.at('f').full + 2);
    take_whole('0', 2);
  } else if (std::holds_alternative<Upsample>(kernel) ||
             std::holds_alternative<UpsampleGradient>(kernel)) {
    for (const auto& [small, large] : {std::pair{'y', 'h'}, {'x', 'w'}}) {
      take_whole(small, sizes.at(small).full);
      take_whole(large, 2 * sizes.at(small).full);
    }
  }
}

Sizes random_sizes(const Case& each, std::int64_t largest, std::mt19937_64& random) {
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const bool attention = each.name.starts_with("attention");
  const bool rotary = std::holds_alternative<Rotary>(each.kernel);
  const bool product = each.name.starts_with("einsum");
  const std::int64_t most = product ? std::max<std::int64_t>(1, largest * 2 / 3) : largest;
  Sizes sizes;
  for (const auto* arguments : {&each.operands, &each.results}) {
    for (const Argument& argument : *arguments) {
      for (const char letter : argument.dims) sizes[letter] = {0, 0, 0};
    }
  }
  for (auto& [letter, size] : sizes) {
    const std::int64_t full = between(1, letter == 'b' ? std::min<std::int64_t>(most, 4) : most);
    const std::int64_t offset = between(0, full - 1);
    size = {offset, between(1, full - offset), full};
    // Dimensions that these kernels take whole; an index that select can find in every piece.
    if (attention && (letter == 's' || letter == 'd')) size = {0, full, full};
    if (rotary && letter == 'd') size = {0, 2 * full, 2 * full};
    if (letter == '3') size = {0, 3, 3};
    if (letter == 'k' && std::holds_alternative<Select>(each.kernel)) size.offset = 0;
  }
  fit_windows(each, sizes);
  fit_sizes(each.kernel, sizes);
  fit_routing(each, sizes);
  if (attention) sizes['s'] = {0, sizes['t'].full, sizes['t'].full};
  return sizes;
}

Sizes whole(Sizes sizes) {
  for (auto& [letter, size] : sizes) size = {0, size.full, size.full};
  return sizes;
}

Box box_of(const Dims& dims, const Sizes& sizes) {
  Box box;
  for (const char letter : dims) {
    box.offset.push_back(sizes.at(letter).offset);
    box.extent.push_back(sizes.at(letter).extent);
  }
  return box;
}

Shape full_of(const Dims& dims, const Sizes& sizes) {
  Shape full;
  for (const char letter : dims) full.push_back(sizes.at(letter).full);
  return full;
}

namespace {

/// Sample 0 has documents [0, 3), [3, 6) ..., the next samples have them cut one position earlier.
double document_at(const std::vector<std::int64_t>& index) {
  return static_cast<double>((index.at(0) + index.at(1)) / 3);
}

double draw(const Argument& argument, const std::vector<std::int64_t>& index, const Sizes& sizes,
            std::mt19937_64& random) {
  const auto between = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  const auto size = [&](char letter) { return static_cast<double>(sizes.at(letter).full); };
  switch (argument.fill) {
    case value:
    case wide:
      return between(-1.0, 1.0);
    case positive:
      return between(1.0, 2.0);
    case square_sum:
      return size('e') * between(1.5, 2.0) + 1.0;
    case lse:
      return std::log(size('s')) + between(0.0, 1.0);
    case ids:
      return std::floor(between(-1.0, size('v')));
    case places:
      return std::floor(between(0.0, size('y') * size('x')));
    case flags:
      return std::floor(between(0.0, 2.0));
    case documents:
      return document_at(index);
    case experts:
   case slots:
      return routed(argument.fill, index, sizes);
    case constant:
      return argument.value;
  }
  return 0.0;
}

}  // namespace

bool is_integer(Content content) {
  return content == ids || content == documents || content == places || content == experts ||
         content == slots;
}

namespace {

DType dtype_of(Content content, DType dtype) {
  switch (content) {
    case wide:
    case square_sum:
    case constant:
    case flags:
      return DType::f64;
    case ids:
    case places:
    case documents:
    case experts:
   case slots:
      return DType::i32;
    case value:
    case positive:
    case lse:
      return dtype;
  }
  return dtype;
}

}  // namespace

std::vector<Tensor> make(const std::vector<Argument>& arguments, const Sizes& sizes, DType dtype,
                         std::mt19937_64& random) {
  std::vector<Tensor> tensors;
  for (const Argument& argument : arguments) {
    Tensor tensor = zeros(dtype_of(argument.fill, dtype), box_of(argument.dims, sizes),
                          full_of(argument.dims, sizes));
    std::size_t place = 0;
    for_each_index(tensor.box, [&](const std::vector<std::int64_t>& index) {
      tensor.values[place++] = draw(argument, index, sizes, random);
    });
    tensors.push_back(rounded(tensor));
  }
  return tensors;
}

TEST(Cases, CoverEveryKernelButCopyBox) {
  std::set<std::size_t> kinds;
  for (const Case& each : all_cases()) kinds.insert(each.kernel.index());
  EXPECT_EQ(kinds.size(), std::variant_size_v<Kernel> - 1);  // CopyBox: two boxes of one tensor
}

}  // namespace alpa::test
