#include "manifest.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <optional>
#include <system_error>

#include "alpa/base/error.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/sha256.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstLine = "alpa-checkpoint 1";

[[noreturn]] void malformed(const std::string& what) {
  throw UserError("malformed manifest: " + printable(what), ExitCode::checkpoint);
}

std::string join(const std::vector<std::int64_t>& numbers) {
  if (numbers.empty()) return "-";
  std::string text;
  for (const std::int64_t n : numbers) text += (text.empty() ? "" : ",") + std::to_string(n);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t end = text.find(separator);
    words.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return words;
    text.remove_prefix(end + 1);
  }
}

std::int64_t number(std::string_view word) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size() || value < 0) {
    malformed("'" + std::string(word) + "' is not a number");
  }
  return value;
}

std::vector<std::int64_t> numbers(std::string_view word) {
  std::vector<std::int64_t> values;
  if (word == "-") return values;
  for (const std::string_view part : split(word, ',')) values.push_back(number(part));
  return values;
}

/// Escaped words are never empty in the file.
std::string word_of(std::string_view text) { return text.empty() ? "=" : escape_name(text); }
std::string text_of(std::string_view word) { return word == "=" ? "" : unescape_name(word); }

std::optional<DType> dtype_named(std::string_view name) {
  for (const DType type : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i32}) {
    if (to_string(type) == name) return type;
  }
  return std::nullopt;
}

StateTensor parse_tensor(const std::vector<std::string_view>& words) {
  if (words.size() != 4) malformed("a tensor line needs 4 words");
  const std::optional<DType> dtype = dtype_named(words[2]);
  if (!dtype) malformed("unknown type '" + std::string(words[2]) + "'");
  StateTensor tensor{text_of(words[1]), numbers(words[3]), *dtype};
  std::int64_t elements = 1;
  for (const std::int64_t n : tensor.shape) {
    if (n < 1 || elements > (std::numeric_limits<std::int64_t>::max() / 16) / n) {
      malformed("tensor " + tensor.name + " has the impossible shape " + to_string(tensor.shape));
    }
    elements *= n;
  }
  return tensor;
}

bool is_hex_digest(std::string_view word) {
  return word.size() == 64 && word.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// rank_00012.h5 or state.h5: nothing that could lead out of the folder.
bool is_file_name(std::string_view name) {
  if (name == kStateName) return true;
  constexpr std::string_view kPrefix = "rank_";
  constexpr std::string_view kSuffix = ".h5";
  if (name.size() < kPrefix.size() + 5 + kSuffix.size() || name.size() > 24) return false;
  return name.starts_with(kPrefix) && name.ends_with(kSuffix) &&
         name.substr(5, name.size() - 8).find_first_not_of("0123456789") == std::string_view::npos;
}

StateFile parse_file(const std::vector<std::string_view>& words) {
  if (words.size() != 4) malformed("a file line needs 4 words");
  if (!is_file_name(words[1])) malformed("file name '" + std::string(words[1]) + "'");
  if (!is_hex_digest(words[3])) malformed("'" + std::string(words[3]) + "' is not a SHA-256");
  return {std::string(words[1]),
          static_cast<std::uint64_t>(number(words[2])),
          std::string(words[3]),
          {}};
}

StatePiece parse_piece(const std::vector<std::string_view>& words) {
  if (words.size() != 4) malformed("a piece line needs 4 words");
  const std::int64_t tensor = number(words[1]);
  if (tensor > std::numeric_limits<std::int32_t>::max()) malformed("tensor number out of range");
  return {static_cast<std::int32_t>(tensor), {numbers(words[2]), numbers(words[3])}};
}

/// The text before the "end" line, whose digest that line must hold, byte for byte.
std::string_view checked_body(std::string_view text) {
  const std::size_t end = text.rfind("end ");
  if (end == std::string_view::npos) malformed("no digest at its end");
  const std::string_view body = text.substr(0, end);
  if (text.substr(end) != "end " + sha256_of(body) + "\n") {
    malformed("its SHA-256 is not the one it ends with");
  }
  return body;
}

void parse_line(std::string_view line, Checkpoint& checkpoint) {
  const auto words = split(line, ' ');
  CheckpointInfo& info = checkpoint.info;
  if (words[0] == "step" && words.size() == 2) {
    info.step = number(words[1]);
  } else if (words[0] == "model" && words.size() == 2) {
    info.model = text_of(words[1]);
  } else if (words[0] == "state" && words.size() == 3) {
    info.run_state[text_of(words[1])] = text_of(words[2]);
  } else if (words[0] == "tensor") {
    info.tensors.push_back(parse_tensor(words));
  } else if (words[0] == "file") {
    checkpoint.files.push_back(parse_file(words));
  } else if (words[0] == "piece" && !checkpoint.files.empty()) {
    checkpoint.files.back().pieces.push_back(parse_piece(words));
  } else {
    malformed("line '" + std::string(line.substr(0, 80)) + "'");
  }
}

/// The boxes of one tensor, sorted, must be disjoint and fill it.
void check_tensor(const StateTensor& tensor, std::vector<Box> boxes) {
  std::sort(boxes.begin(), boxes.end());
  std::int64_t covered = 0;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    covered += num_elements(boxes[i].extent);
    for (std::size_t j = i + 1; j < boxes.size() && !tensor.shape.empty(); ++j) {
      if (boxes[j].offset[0] >= boxes[i].offset[0] + boxes[i].extent[0]) break;
      if (is_empty(intersect(boxes[i], boxes[j]))) continue;
      malformed("tensor " + tensor.name + ": boxes " + to_string(boxes[i]) + " and " +
                to_string(boxes[j]) + " overlap");
    }
  }
  if (covered != num_elements(tensor.shape)) {
    malformed("tensor " + tensor.name + " of shape " + to_string(tensor.shape) + ": " +
              std::to_string(boxes.size()) + " boxes cover " + std::to_string(covered) + " of " +
              std::to_string(num_elements(tensor.shape)) + " elements");
  }
}

}  // namespace

std::string to_text(const StateFile& file) {
  std::string text =
      "file " + file.name + " " + std::to_string(file.size) + " " + file.sha256 + "\n";
  for (const StatePiece& piece : file.pieces) {
    text += "piece " + std::to_string(piece.tensor) + " " + join(piece.box.offset) + " " +
            join(piece.box.extent) + "\n";
  }
  return text;
}

StateFile state_file_from_text(std::string_view text) {
  Checkpoint checkpoint;
  for (const std::string_view line : split(text, '\n')) {
    if (!line.empty()) parse_line(line, checkpoint);
  }
  if (checkpoint.files.size() != 1) malformed("expected the record of one file");
  return checkpoint.files[0];
}

std::string checkpoint_name(std::int64_t step) {
  const std::string digits = std::to_string(step);
  return "step_" + std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits;
}

std::string manifest_text(const CheckpointInfo& info, const std::vector<StateFile>& files) {
  std::string text = std::string(kFirstLine) + "\nstep " + std::to_string(info.step) + "\nmodel " +
                     word_of(info.model) + "\n";
  for (const auto& [key, value] : info.run_state) {
    text += "state " + word_of(key) + " " + word_of(value) + "\n";
  }
  for (const StateTensor& tensor : info.tensors) {
    text += "tensor " + word_of(tensor.name) + " " + std::string(to_string(tensor.dtype)) + " " +
            join(tensor.shape) + "\n";
  }
  for (const StateFile& file : files) text += to_text(file);
  return text + "end " + sha256_of(std::string_view(text)) + "\n";
}

void parse_manifest(std::string_view text, Checkpoint& checkpoint) {
  auto lines = split(checked_body(text), '\n');
  if (lines.size() < 2 || lines[0] != kFirstLine || !lines.back().empty()) {
    malformed("it does not begin with '" + std::string(kFirstLine) + "'");
  }
  lines.pop_back();
  for (std::size_t i = 1; i < lines.size(); ++i) parse_line(lines[i], checkpoint);
  check_coverage(checkpoint.info.tensors, checkpoint.files);
}

void check_coverage(const std::vector<StateTensor>& tensors, const std::vector<StateFile>& files) {
  std::vector<std::vector<Box>> boxes(tensors.size());
  for (const StateFile& file : files) {
    for (const StatePiece& piece : file.pieces) {
      const auto index = static_cast<std::size_t>(piece.tensor);
      if (index >= tensors.size()) {
        malformed("piece of tensor " + std::to_string(piece.tensor) + " of " +
                  std::to_string(tensors.size()));
      }
      const Shape& shape = tensors[index].shape;
      const Box& box = piece.box;
      if (box.offset.size() != shape.size() || box.extent.size() != shape.size() || is_empty(box) ||
          !contains(whole_box(shape), box)) {
        malformed("tensor " + tensors[index].name + " of shape " + to_string(shape) +
                  " has no box at " + join(box.offset) + " of extent " + join(box.extent));
      }
      boxes[index].push_back(box);
    }
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) check_tensor(tensors[i], std::move(boxes[i]));
}

std::vector<std::string> dataset_names(const std::vector<StateTensor>& tensors,
                                       const std::vector<StatePiece>& pieces) {
  std::map<std::int32_t, int> count;
  std::vector<std::string> names;
  names.reserve(pieces.size());
  for (const StatePiece& piece : pieces) {
    names.push_back(escape_name(tensors[static_cast<std::size_t>(piece.tensor)].name) + "@" +
                    std::to_string(count[piece.tensor]++));
  }
  return names;
}

std::int64_t step_of(const std::string& name) {
  std::int64_t step = -1;
  if (!name.starts_with("step_")) return -1;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + 5, end, step);
  return parsed.ec == std::errc{} && parsed.ptr == end && step >= 0 && checkpoint_name(step) == name
             ? step
             : -1;
}

std::vector<std::int64_t> steps_in(const fs::path& checkpoints) {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator entry(checkpoints, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::int64_t step = step_of(entry->path().filename().string());
    std::error_code ignored;
    if (step >= 0 && fs::is_directory(entry->symlink_status(ignored))) steps.push_back(step);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw SystemError(io_message("cannot read folder", checkpoints, error.value()));
  }
  std::sort(steps.begin(), steps.end(), std::greater<>{});
  return steps;
}

}  // namespace alpa
