#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "law/free_models.hpp"

/// What free models are built of, and what is said where something does not fit.
namespace alpa {
namespace {

constexpr ModelOptions kOptions{.precision = Precision::fp64, .microbatch = 2};

Graph graph_of(const std::string& model, const OptimizerConfig& optimizer = {}) {
  return build_graph(law::free_run(model).model, optimizer, kOptions);
}

std::string refusal_of(const std::string& layers) {
  const std::string inputs =
      "\n  inputs: {x: {shape: [6, 6, 3]}, y: {shape: [8]}, n: {shape: [4], type: integer}}\n";
  try {
    static_cast<void>(graph_of(inputs + "  layers: [" + layers + "]\n"));
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error.what();
  }
  return "";
}

TEST(FreeModel, SaysWhichLayerDoesNotFitAndBothShapes) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"linear: {out: 4}, {linear: {out: 3}, input: [y], name: wide}, {add: {}, input: [wide, y]}",
       "model.layers[2]: found shapes [3] and [8] a sample, expected equal shapes to add"},
      {"{linear: {out: 3}, input: [y], name: wide}, "
       "{multiply: {}, input: [wide, y], name: both}",
       "model.layers[1] named both: found shapes [3] and [8] a sample, expected equal shapes to "
       "multiply"},
      {"{concatenate: {}, input: [x, y]}",
       "model.layers[0]: found shapes [6,6,3] and [8] a sample, expected shapes that are equal "
       "but for the last dimension"},
      {"{convolution: {out: 4}, input: [y]}",
       "model.layers[0]: found an input of shape [8] a sample, expected an image [height, width, "
       "channels]"},
      {"{max_pool: {size: 7}}",
       "model.layers[0]: found an image [6,6,3], expected sides of at least 7 for a window of 7 "
       "with padding 0"},
      {"{linear: {out: 4}, input: [n]}",
       "model.layers[0]: found an input of integers, expected real numbers; put an embedding "
       "before "
       "it"},
      {"{embedding: {vocabulary: 5, out: 4}, input: [y]}",
       "model.layers[0]: found an input of real numbers, expected integers; give the input of the "
       "model `type: integer` and put nothing before"},
      {"{attention: {heads: 2}}",
       "model.layers[0]: found an input of shape [6,6,3] a sample, expected [places, width]"},
      {"{embedding: {vocabulary: 5, out: 6}, input: [n]}, {repeat: 2, block: [{attention: {heads: "
       "4}, name: mix}]}",
       "model.layers[1].block[0] named mix: found 4 heads, expected a number that divides the "
       "width "
       "6"},
      {"residual: [{linear: {out: 7}}]",
       "model.layers[0] (residual): found shapes [6,6,3] before and [6,6,7] after its layers, "
       "expected equal ones to add"},
      {"{einsum: {equation: \"bi,io->bo\", weight: [9, 4]}, input: [y]}",
       "model.layers[0]: found shapes [2,8] and [9,4], expected equal sizes of i in bi,io->bo, "
       "found 8 and 9"},
      {"{einsum: {equation: \"bij,io->bo\", weight: [8, 4]}, input: [y]}",
       "model.layers[0]: found equation bij,io->bo, expected letter j in two of its three parts (a "
       "sum over a letter of one factor alone is not there)"},
      {"{einsum: {equation: \"bi,io->ob\", weight: [8, 4]}, input: [y]}",
       "model.layers[0]: found equation bi,io->ob, expected letter b, the sample, first in the "
       "input and the result and not in the weight"},
      {"{einsum: {equation: \"bi\", weight: [8, 4]}, input: [y]}",
       "model.layers[0]: found equation bi, expected two factors and a result in letters, as "
       "bte,ef->btf"},
      {"{linear: {out: 4}, input: [y], name: a}, {linear: {out: 4}, parameters: a}",
       "model.layers[1]: parameter layers.1.linear.weight needs shape [4,4], but "
       "layers.0.a.linear.weight, which it is to be, has [8,4]"},
      {"{linear: {out: 8}, input: [y], name: a}, {rms_norm: {}, parameters: a}",
       "model.layers[1]: parameter layers.1.norm.weight is to be layers.0.a.norm.weight, which "
       "does "
       "not exist"},
  };
  for (const auto& [layers, expected] : cases) EXPECT_EQ(refusal_of(layers), expected);
}

TEST(FreeModel, HasALayerPerEntryAndCountsSharedParametersOnce) {
  const Graph graph = graph_of(law::free_models().at(2).yaml);
  EXPECT_EQ(graph.num_layers, 10);
  EXPECT_EQ(num_parameters(graph), (4 * 4 + 4) + 2 * 8 + (8 * 4 + 4) + (4 * 2 + 2));
  // The encoder is used in four layers: its own, another branch and twice at the end.
  EXPECT_EQ(tensors_with(graph, Role::replica).size(), 2U * 3U);
}

TEST(FreeModel, NamesInputsAndOutputsAsTheData) {
  const Graph graph = graph_of(law::free_models().at(1).yaml);
  const auto shape = [&](const std::string& name) {
    return graph.tensor(graph.find_tensor(name).value()).shape;
  };
  EXPECT_EQ(shape("tokens"), (Shape{2, 4}));
  EXPECT_EQ(shape("numbers"), (Shape{2, 3}));
  EXPECT_EQ(shape("kinds"), (Shape{2}));
  EXPECT_EQ(shape("amounts"), (Shape{2, 2}));
  EXPECT_EQ(shape("weights"), (Shape{2}));
  EXPECT_EQ(tensors_with(graph, Role::input).size(), 5U);
}

TEST(FreeModel, OutputsNameTheirFieldsOnce) {
  const std::string model = R"(
  inputs: {x: {shape: [4]}}
  layers:
    - linear: {out: 3}
      name: a
    - linear: {out: 2}
      name: b
  outputs: [{layer: a, loss: squared_error, targets: t}, {layer: b, loss: squared_error, targets: t}]
)";
  try {
    static_cast<void>(graph_of(model));
    ADD_FAILURE() << "two shapes of one field";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "model.outputs[1]: field t has shape [2,3] elsewhere, expected [2,2] here; name "
              "another field");
  }
}

TEST(Groups, ThatMatchNothingAreNamedWithWhatWasMeant) {
  const auto refusal = [](const std::string& glob) -> std::string {
    OptimizerConfig optimizer;
    optimizer.groups = {{{"layers.*.linear"}, 1.0, {}}, {{"*.bias", glob}, 2.0, {}}};
    try {
      static_cast<void>(graph_of(law::free_models().at(2).yaml, optimizer));
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::configuration);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("layers.*.encodr"),
            "optimizer.groups[1].parameters[1]: layers.*.encodr matches no parameter of the model "
            "(did you mean layers.*.encoder?)");
  EXPECT_EQ(refusal("embedding.table.of.tokens"),
            "optimizer.groups[1].parameters[1]: embedding.table.of.tokens matches no parameter of "
            "the model (the model's parameters start with layers.0.encoder.linear.weight)");
  EXPECT_EQ(refusal("layers.0"), "");
}

TEST(Groups, AreConstantsOfTheUpdates) {
  OptimizerConfig optimizer;
  optimizer.groups = {{{"layers.0"}, 0.25, 0.5}, {{"*.weight"}, 2.0, {}}};
  const Graph graph = graph_of(law::free_models().at(2).yaml, optimizer);
  int found = 0;
  for (const Operator& op : graph.operators) {
    const auto* update = std::get_if<Update>(&op.kernel);
    if (update == nullptr) continue;
    ++found;
    const bool first = op.name.starts_with("layers.0.");
    const bool weight = op.name.ends_with(".weight.update");
    const bool decays = weight && op.name.find("norm") == std::string::npos;  // see no_decay
    EXPECT_EQ(update->learning_rate_factor, first ? 0.25 : weight ? 2.0 : 1.0) << op.name;
    EXPECT_EQ(update->weight_decay, first ? 0.5 : decays ? 0.1 : 0.0) << op.name;
  }
  EXPECT_GT(found, 5);
}

}  // namespace
}  // namespace alpa
