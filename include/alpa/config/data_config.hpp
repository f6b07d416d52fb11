#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "alpa/config/value_types.hpp"

namespace alpa {

enum class DataSource : std::uint8_t { text, tokens, hdf5, images, synthetic };
enum class TokenType : std::uint8_t { uint16, uint32 };
enum class SyntheticKind : std::uint8_t { classes, regression, tokens, images, fields };
enum class ImageFormat : std::uint8_t { automatic, cifar10, idx, hdf5 };

struct TokenFiles {
  std::vector<std::string> files;
  TokenType dtype = TokenType::uint16;
  friend bool operator==(const TokenFiles&, const TokenFiles&) = default;
};
struct Hdf5Files {
  std::vector<std::string> files;
  std::string dataset = "tokens";
  friend bool operator==(const Hdf5Files&, const Hdf5Files&) = default;
};
/// What training images go through; a function of seed, epoch and image.
struct AugmentationConfig {
  std::int64_t crop = 0;  ///< pixels of zeros around the image, of which a window is cut
  bool flip = false;      ///< half of the images are mirrored left to right
  friend bool operator==(const AugmentationConfig&, const AugmentationConfig&) = default;
};
struct ImageFiles {
  std::vector<std::string> files;             ///< files or folders
  std::vector<std::string> evaluation_files;  ///< empty: held_out of `files`
  ImageFormat format = ImageFormat::automatic;
  /// Height, width, channels. Set by reading where model or format tell.
  std::optional<std::array<std::int64_t, 3>> shape;
  /// One number, or one per channel, of values in [0, 1]; nullopt: those of the format.
  std::optional<std::vector<double>> mean, deviation;
  AugmentationConfig augmentation;
  friend bool operator==(const ImageFiles&, const ImageFiles&) = default;
};
/// Samples drawn anew for each batch. classes: centres N(0,1), a sample is its centre + N(0,1);
/// images the same with smooth patterns for centres. fields: every input that the model names, from
/// a class of each sample that is not shown.
struct SyntheticData {
  SyntheticKind kind = SyntheticKind::classes;
  /// Set by reading where the kind needs them; by default what the model takes.
  std::optional<std::int64_t> features;
  std::optional<std::int64_t> classes;  ///< classes, or targets of a regression
  std::optional<std::int64_t> vocabulary;
  std::optional<std::int64_t> sequence;
  std::optional<std::int64_t> image;  ///< pixels a side
  std::optional<std::int64_t> channels;
  friend bool operator==(const SyntheticData&, const SyntheticData&) = default;
};
/// Of preset bert: tokens to be guessed.
struct MaskingConfig {
  double probability = 0.15;
  std::optional<std::int64_t> token;  ///< nullopt: the last id of the vocabulary
  friend bool operator==(const MaskingConfig&, const MaskingConfig&) = default;
};

struct DataConfig {
  DataSource source = DataSource::text;
  std::vector<std::string> text = {"/usr/include/c++"};  ///< files or folders
  TokenFiles tokens;
  Hdf5Files hdf5;
  ImageFiles images;
  SyntheticData synthetic;
  double held_out = 0.05;  ///< share at the end that training never sees
  bool shuffle = true;
  std::optional<std::int64_t> ignore_label;     ///< labels that do not count
  std::optional<std::int64_t> end_of_document;  ///< id after which another document begins
  std::optional<MaskingConfig> masking;         ///< preset bert, and no other
  friend bool operator==(const DataConfig&, const DataConfig&) = default;
};

[[nodiscard]] std::span<const EnumName<DataSource>> names_of(DataSource);
[[nodiscard]] std::span<const EnumName<TokenType>> names_of(TokenType);
[[nodiscard]] std::span<const EnumName<SyntheticKind>> names_of(SyntheticKind);
[[nodiscard]] std::span<const EnumName<ImageFormat>> names_of(ImageFormat);

}  // namespace alpa
