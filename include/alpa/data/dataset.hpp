#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "alpa/base/shape.hpp"
#include "alpa/data/tokens.hpp"

namespace alpa {

/// Integers are i32; reals come in whatever floating-point type the caller trains in.
enum class FieldType : std::uint8_t { integer, real };

/// One input of the model. A batch of it is the tensor [global_batch, sample_shape...].
struct Field {
  std::string name;
  Shape sample_shape;
  FieldType type = FieldType::integer;

  friend bool operator==(const Field&, const Field&) = default;
};

enum class Split : std::uint8_t { training, evaluation };

struct BatchOptions {
  std::int64_t global_batch = 1;        ///< samples per step over all ranks
  std::uint64_t seed = 0;               ///< of the order and of synthetic samples
  std::int64_t evaluation_samples = 0;  ///< at most so many held-out samples; 0: all
};

struct WindowOptions {
  std::int64_t sequence = 1;  ///< T, tokens per sample
  double held_out = 0.05;     ///< last part of the tokens, in [0, 1)
  bool shuffle = true;
};

/// Tokens to be guessed (BERT): of those chosen, each with `probability`, 80 % become `token`, 10 %
/// any id of the vocabulary, 10 % stay as they are.
struct Masking {
  double probability = 0.15;
  std::int32_t token = 0;
  std::int64_t vocabulary = 1;
};

/// What becomes of a sequence of token ids.
struct TokenRules {
  /// Id that ends a document. There is a field `documents` [T] then, the number of the document
  /// within the window (padding is one more), and no label counts that belongs to another document
  /// than the token it is predicted from.
  std::optional<std::int32_t> end_of_document = {};
  std::optional<std::int64_t> ignore_label = {};  ///< labels equal to it have weight 0
  /// Then `labels` are the tokens themselves, `tokens` the same with some replaced, and `weights`
  /// is 1 where one was chosen: a function of seed, batch and position. Ids that end a document or
  /// are ignored are never chosen.
  std::optional<Masking> masking = {};
};

/// A function from batch number to batch: no state, no order of calls, so a resumed run, a rank
/// that needs a slice and a replica all see the same numbers. Training batches count from 1 (the
/// step) and never end; evaluation batches count from 0 and hold every held-out sample once, in
/// order. The field `weights` is 1 for what counts in the loss and 0 for padding. Copies are cheap.
class Dataset {
 public:
  [[nodiscard]] const std::vector<Field>& fields() const;
  [[nodiscard]] std::int64_t global_batch() const;
  /// Training samples before the order starts anew; 0 for synthetic samples, which never repeat.
  [[nodiscard]] std::int64_t samples_per_epoch() const;
  [[nodiscard]] std::int64_t num_evaluation_batches() const;
  /// Sum of all weights of a batch over all ranks: the number of labels that count.
  [[nodiscard]] double total_weight(Split split, std::int64_t batch) const;

  /// Writes `box` of the tensor [global_batch, sample_shape...] of a field, dense and row-major.
  /// Values depend only on what is asked, never on how it is cut into boxes.
  /// @pre the field exists and has the type of `out`; out.size() == num_elements(box.extent)
  ///
  /// Example: rank 1 of 2 that hold halves of a batch of 8 sequences of 16 tokens asks for
  /// fill(Split::training, step, "tokens", {{4, 0}, {4, 16}}, out).
  void fill(Split split, std::int64_t batch, std::string_view field, const Box& box,
            std::span<std::int32_t> out) const;
  void fill(Split split, std::int64_t batch, std::string_view field, const Box& box,
            std::span<float> out) const;
  void fill(Split split, std::int64_t batch, std::string_view field, const Box& box,
            std::span<double> out) const;

  /// The same for equal contents, wherever they are stored; empty for synthetic samples, which the
  /// configuration determines. Reads all tokens; of images all labels and 1024 images, evenly
  /// spread.
  [[nodiscard]] std::string fingerprint() const;

  struct Source;
  explicit Dataset(std::shared_ptr<const Source> source);

 private:
  std::shared_ptr<const Source> source_;
};

/// Fields `tokens` [T], `labels` [T] (the tokens one later) and `weights` [T].
///
/// Training: the tokens before the held-out part form a ring, cut once an epoch into windows of T
/// from a random start; the windows come in a random order, each once an epoch. Without `shuffle`
/// they come in order from the first token. Evaluation: each held-out token is a label exactly
/// once; the last window is padded with weight 0.
/// @throws UserError (65) saying how many tokens there are and how many one window needs
[[nodiscard]] Dataset token_dataset(Tokens tokens, const WindowOptions& windows,
                                    const BatchOptions& batches, const TokenRules& rules = {});

/// What image models are given. Values are scaled: (v - mean) / deviation.
struct ImageShape {
  std::int64_t height = 1;
  std::int64_t width = 1;
  std::int64_t channels = 1;

  friend bool operator==(const ImageShape&, const ImageShape&) = default;
};
[[nodiscard]] std::string to_string(const ImageShape& shape);

enum class ImageFileFormat : std::uint8_t { automatic, cifar10, idx, hdf5 };

struct ImageOptions {
  std::vector<std::filesystem::path> files;             ///< files or folders
  std::vector<std::filesystem::path> evaluation_files;  ///< empty: held_out of `files`
  ImageFileFormat format = ImageFileFormat::automatic;
  std::optional<ImageShape> shape;  ///< that the files must have
  std::int64_t classes = 0;         ///< labels are below it; 0: unknown
  std::vector<double> mean;         ///< one number, or one per channel; empty: the format's
  std::vector<double> deviation;
  std::int64_t crop = 0;  ///< training: zeros around an image before a window is cut out of it
  bool flip = false;      ///< training: mirror half of the images
  double held_out = 0.05;
  bool shuffle = true;
  std::optional<std::int64_t> ignore_label;
};

/// Fields `images` [height, width, channels], `features` (the same numbers in one dimension),
/// `labels` [] and `weights` []. Pixels are read when they are asked for, labels at once.
///
/// cifar10: records of a label and 32 x 32 pixels, one channel after the other; mean and deviation
/// of CIFAR-10's training images. idx: MNIST's big-endian format, labels in the file whose name has
/// `labels` and `idx1` for `images` and `idx3`; MNIST's mean and deviation. hdf5: datasets `image`
/// [n y x c] or [n y x] of u8, f32 or f64, and `label` [n]; of bytes ImageNet's figures (3
/// channels) or 0.5 and 0.5, of reals none. Bytes are divided by 255 first.
///
/// Of a folder, files named *.bin (cifar10), *-idx3-ubyte (idx), *.h5 or *.hdf5 are read, and
/// t10k-* and test_batch* are evaluation files unless those are given. Training images come once
/// an epoch, in an order drawn from the seed (or as they are in the files); where they are cut and
/// whether they are mirrored depends on seed, epoch and image alone.
/// @throws UserError 66 (path, errno) for what is missing; 65 with file, place, what was found and
///         what was expected
[[nodiscard]] Dataset image_dataset(const ImageOptions& images, const BatchOptions& batches);

/// Fields as image_dataset: a smooth pattern of each class (four waves a channel, deviation 1) +
/// N(0,1), new ones each step.
[[nodiscard]] Dataset synthetic_images(const ImageShape& shape, std::int64_t classes,
                                       const BatchOptions& batches);

/// Fields `features` [F], `labels` [] and `weights` []: centres N(0,1) fixed by the seed, each
/// sample a uniformly drawn class's centre + N(0,1), new ones each step.
[[nodiscard]] Dataset synthetic_classes(std::int64_t features, std::int64_t classes,
                                        const BatchOptions& batches);

/// Fields `features` [F], `targets` [O] and `weights` []: features N(0,1), targets a random linear
/// function of them with coefficients N(0, 1/F).
[[nodiscard]] Dataset synthetic_regression(std::int64_t features, std::int64_t outputs,
                                           const BatchOptions& batches);

/// Fields as token_dataset: after token x comes the fixed successor of x in nine of ten cases and
/// any token in the tenth, so that a model can learn it to -0.9 ln 0.9 - 0.1 ln(0.1 / vocabulary)
/// nats or a little less per token.
[[nodiscard]] Dataset synthetic_tokens(std::int64_t sequence, std::int64_t vocabulary,
                                       const BatchOptions& batches, const TokenRules& rules = {});

/// A field to be made up: integers are below `values`.
struct SyntheticField {
  Field field;
  std::int64_t values = 1;
};

/// These fields. Each sample has one of eight classes that is not shown: reals are the class's
/// centre N(0,1) + N(0,1), integers nine times of ten the class's value at that place and any value
/// the tenth; so each field tells about the others. Fields whose names begin with `weights` are 1.
[[nodiscard]] Dataset synthetic_fields(const std::vector<SyntheticField>& fields,
                                       const BatchOptions& batches);

}  // namespace alpa
