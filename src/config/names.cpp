#include "alpa/base/overloaded.hpp"
#include "alpa/config/run_config.hpp"

// Each function holds the one list of the words of an enumeration.

namespace alpa {

std::span<const EnumName<Preset>> names_of(Preset) {
  using enum Preset;
  static constexpr EnumName<Preset> names[] = {
      {"mlp", mlp},     {"gpt", gpt},   {"moe", moe},      {"wide_resnet", wide_resnet},
      {"llama", llama}, {"bert", bert}, {"custom", custom}};
  return names;
}

std::span<const EnumName<Positions>> names_of(Positions) {
  using enum Positions;
  static constexpr EnumName<Positions> names[] = {
      {"learned", learned}, {"rotary", rotary}, {"none", none}};
  return names;
}

std::span<const EnumName<Norm>> names_of(Norm) {
  using enum Norm;
  static constexpr EnumName<Norm> names[] = {{"layer", layer}, {"rms", rms}};
  return names;
}

std::span<const EnumName<NormPosition>> names_of(NormPosition) {
  using enum NormPosition;
  static constexpr EnumName<NormPosition> names[] = {{"pre", pre}, {"post", post}};
  return names;
}

std::span<const EnumName<Activation>> names_of(Activation) {
  using enum Activation;
  static constexpr EnumName<Activation> names[] = {{"gelu", gelu}, {"gelu_tanh", gelu_tanh},
                                                   {"relu", relu}, {"swiglu", swiglu},
                                                   {"silu", silu}, {"tanh", tanh}};
  return names;
}

std::span<const EnumName<Loss>> names_of(Loss) {
  using enum Loss;
  static constexpr EnumName<Loss> names[] = {{"cross_entropy", cross_entropy},
                                             {"squared_error", squared_error}};
  return names;
}

std::span<const EnumName<InputConfig::Type>> names_of(InputConfig::Type) {
  using enum InputConfig::Type;
  static constexpr EnumName<InputConfig::Type> names[] = {{"real", real}, {"integer", integer}};
  return names;
}

std::span<const EnumName<RouterPrecision>> names_of(RouterPrecision) {
  using enum RouterPrecision;
  static constexpr EnumName<RouterPrecision> names[] = {{"fp32", fp32}, {"same", same}};
  return names;
}

std::span<const EnumName<Overflow>> names_of(Overflow) {
  using enum Overflow;
  static constexpr EnumName<Overflow> names[] = {{"drop", drop}};
  return names;
}

std::span<const EnumName<DataSource>> names_of(DataSource) {
  using enum DataSource;
  static constexpr EnumName<DataSource> names[] = {{"text", text},
                                                   {"tokens", tokens},
                                                   {"hdf5", hdf5},
                                                   {"images", images},
                                                   {"synthetic", synthetic}};
  return names;
}

std::span<const EnumName<TokenType>> names_of(TokenType) {
  using enum TokenType;
  static constexpr EnumName<TokenType> names[] = {{"uint16", uint16}, {"uint32", uint32}};
  return names;
}

std::span<const EnumName<SyntheticKind>> names_of(SyntheticKind) {
  using enum SyntheticKind;
  static constexpr EnumName<SyntheticKind> names[] = {{"classes", classes},
                                                      {"regression", regression},
                                                      {"tokens", tokens},
                                                      {"images", images},
                                                      {"fields", fields}};
  return names;
}

std::span<const EnumName<ImageFormat>> names_of(ImageFormat) {
  using enum ImageFormat;
  static constexpr EnumName<ImageFormat> names[] = {
      {"auto", automatic}, {"cifar10", cifar10}, {"idx", idx}, {"hdf5", hdf5}};
  return names;
}

std::span<const EnumName<Precision>> names_of(Precision) {
  using enum Precision;
  static constexpr EnumName<Precision> names[] = {
      {"fp64", fp64}, {"fp32", fp32}, {"tf32", tf32}, {"bf16", bf16}, {"fp16", fp16}};
  return names;
}

std::span<const EnumName<OptimizerKind>> names_of(OptimizerKind) {
  using enum OptimizerKind;
  static constexpr EnumName<OptimizerKind> names[] = {
      {"sgd", sgd},     {"momentum", momentum},   {"adam", adam},
      {"adamw", adamw}, {"adafactor", adafactor}, {"lamb", lamb}};
  return names;
}

std::span<const EnumName<RateSchedule>> names_of(RateSchedule) {
  using enum RateSchedule;
  static constexpr EnumName<RateSchedule> names[] = {
      {"constant", constant}, {"linear", linear}, {"cosine", cosine}, {"wsd", wsd}};
  return names;
}

std::span<const EnumName<LossReduction>> names_of(LossReduction) {
  using enum LossReduction;
  static constexpr EnumName<LossReduction> names[] = {{"mean", mean}, {"sum", sum}};
  return names;
}

std::span<const EnumName<OnError>> names_of(OnError) {
  using enum OnError;
  static constexpr EnumName<OnError> names[] = {{"stop", stop}, {"continue", continue_training}};
  return names;
}

std::span<const EnumName<Color>> names_of(Color) {
  using enum Color;
  static constexpr EnumName<Color> names[] = {
      {"auto", automatic}, {"always", always}, {"never", never}};
  return names;
}

std::span<const EnumName<Method>> names_of(Method) {
  using enum Method;
  static constexpr EnumName<Method> names[] = {{"auto", automatic},
                                               {"data", data},
                                               {"zero1", zero1},
                                               {"zero2", zero2},
                                               {"zero3", zero3},
                                               {"megatron", megatron},
                                               {"intra_only", intra_only},
                                               {"inter_only", inter_only},
                                               {"pipedream", pipedream},
                                               {"heuristic", heuristic},
                                               {"plan", plan}};
  return names;
}

std::span<const EnumName<PipelineSchedule>> names_of(PipelineSchedule) {
  using enum PipelineSchedule;
  static constexpr EnumName<PipelineSchedule> names[] = {{"auto", automatic},
                                                         {"gpipe", gpipe},
                                                         {"1f1b", one_forward_one_backward},
                                                         {"interleaved", interleaved},
                                                         {"zero_bubble", zero_bubble}};
  return names;
}

std::span<const EnumName<Recompute>> names_of(Recompute) {
  using enum Recompute;
  static constexpr EnumName<Recompute> names[] = {
      {"none", none}, {"attention", attention}, {"full", full}};
  return names;
}

std::span<const EnumName<LogLevel>> names_of(LogLevel) {
  using enum LogLevel;
  static constexpr EnumName<LogLevel> names[] = {
      {"trace", trace}, {"debug", debug}, {"info", info}, {"warning", warning}, {"error", error}};
  return names;
}

std::span<const EnumName<WorkUnit>> names_of(WorkUnit) {
  using enum WorkUnit;
  static constexpr EnumName<WorkUnit> names[] = {{"flops", flops}, {"bytes", bytes}};
  return names;
}

std::span<const EnumName<DeviceChoice>> names_of(DeviceChoice) {
  using enum DeviceChoice;
  static constexpr EnumName<DeviceChoice> names[] = {{"auto", automatic},
                                                     {"cpu", cpu},
                                                     {"cuda", cuda},
                                                     {"debug", debug},
                                                     {"reference", reference}};
  return names;
}

std::string to_string(const WarmUpDepth& depth) {
  return std::visit(overloaded{[](const LeastDepth&) { return std::string("least"); },
                               [](const MostDepth&) { return std::string("most"); },
                               [](const std::vector<std::int64_t>& list) {
                                 std::string text;
                                 for (const std::int64_t d : list) {
                                   text += (text.empty() ? "[" : ", ") + std::to_string(d);
                                 }
                                 return text + "]";
                               }},
                    depth);
}

}  // namespace alpa
