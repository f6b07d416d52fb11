#include "interchange.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/storage/escape.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostDifferences = 20;

[[noreturn]] void refuse(const std::string& path, const std::vector<std::string>& differences) {
  std::string text = printable(path) + ": its parameters are not those of the model:";
  for (std::size_t i = 0; i < differences.size() && i < kMostDifferences; ++i) {
    text += "\n  " + printable(differences[i]);
  }
  if (differences.size() > kMostDifferences) {
    text += "\n  and " + std::to_string(differences.size() - kMostDifferences) + " more";
  }
  throw UserError(text, ExitCode::checkpoint);
}

/// What files of others hold beside parameters: masks and frequencies that follow from the sizes,
/// and the logits' weights where they are the embedding's.
bool is_derived(const std::string& name, bool tied) {
  const auto ends = [&](std::string_view end) { return name.ends_with(end); };
  return ends(".attn.bias") || ends(".attn.masked_bias") || ends(".rotary_emb.inv_freq") ||
         (tied && name == "lm_head.weight");
}

/// Names under which a file has our tensors: with the prefix that Hugging Face's GPT-2 with a head
/// adds, or without.
std::string name_in(const SafetensorsReader& file, const std::string& name) {
  const std::string longer = "transformer." + name;
  return file.find(name) == nullptr && file.find(longer) != nullptr ? longer : name;
}

/// The names of others if the file has any of them, else our own.
std::vector<TensorInFile> expected_tensors(const SafetensorsReader& file, Preset preset,
                                           const Graph& graph) {
  const auto has_any = [&](const std::vector<TensorInFile>& stored) {
    return std::any_of(stored.begin(), stored.end(), [&](const TensorInFile& tensor) {
      return file.find(name_in(file, tensor.name)) != nullptr;
    });
  };
  std::vector<TensorInFile> stored = tensors_in_file(preset, graph);
  if (has_any(stored)) return stored;
  std::vector<TensorInFile> own = own_tensors(graph);
  return has_any(own) ? own : stored;
}

void check_file(const SafetensorsReader& file, const std::vector<TensorInFile>& expected) {
  std::vector<std::string> differences;
  std::set<std::string> known;
  bool tied = true;
  for (const TensorInFile& stored : expected) {
    const std::string name = name_in(file, stored.name);
    tied = tied && stored.name != "lm_head.weight";
    known.insert(name);
    const SafetensorsEntry* entry = file.find(name);
    if (entry == nullptr) {
      differences.push_back("missing: " + name + " " + to_string(stored.shape));
    } else if (entry->shape != stored.shape) {
      differences.push_back(name + ": found " + to_string(entry->shape) + ", expected " +
                            to_string(stored.shape));
    } else if (!entry->dtype) {
      differences.push_back(name + ": found " + entry->type + ", expected F64, F32, BF16 or F16");
    }
  }
  for (const SafetensorsEntry& entry : file.tensors()) {
    if (known.contains(entry.name) || is_derived(entry.name, tied)) continue;
    differences.push_back("not in the model: " + entry.name + " " + to_string(entry.shape));
  }
  if (!differences.empty()) refuse(file.path().string(), differences);
}

std::vector<std::byte> host_memory(const Box& box, DType dtype) {
  return std::vector<std::byte>(
      static_cast<std::size_t>(num_elements(box.extent) * size_of(dtype)));
}

/// The entries of the engine's state that are parameters.
std::vector<const StateEntry*> parameters_of(const Graph& graph, const Engine& engine) {
  std::vector<const StateEntry*> parameters;
  for (const StateEntry& entry : engine.state()) {
    const auto id = graph.find_tensor(entry.tensor);
    if (id && graph.tensor(*id).role == Role::parameter) parameters.push_back(&entry);
  }
  return parameters;
}

void load_file(const std::string& path, Preset preset, const Graph& graph, Engine& engine) {
  const SafetensorsReader file(path);
  std::multimap<std::string, TensorInFile> by_tensor;
  const auto expected = expected_tensors(file, preset, graph);
  check_file(file, expected);
  for (const TensorInFile& stored : expected) by_tensor.emplace(stored.tensor, stored);
  for (const StateEntry* entry : parameters_of(graph, engine)) {
    std::vector<std::byte> host = host_memory(entry->box, entry->dtype);
    const auto [first, last] = by_tensor.equal_range(entry->tensor);
    for (auto stored = first; stored != last; ++stored) {
      const SafetensorsEntry* found = file.find(name_in(file, stored->second.name));
      read_part(file, *found, stored->second, entry->box, entry->dtype, host);
    }
    engine.write_state(*entry, host);
  }
}

/// Whether the name is that of a state that the optimizer keeps of another tensor.
bool is_state(const std::string& name, const std::map<std::string, const StateTensor*>& saved) {
  const auto dot = name.rfind('.');
  return dot != std::string::npos && saved.contains(name.substr(0, dot));
}

/// The checkpoint's tensors by name, after every parameter was found there in its shape.
std::map<std::string, const StateTensor*> checked_tensors(const Checkpoint& checkpoint,
                                                          const Graph& graph) {
  std::map<std::string, const StateTensor*> saved;
  for (const StateTensor& tensor : checkpoint.info.tensors) saved[tensor.name] = &tensor;
  std::vector<std::string> differences;
  std::set<std::string> parameters;
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    const Tensor& tensor = graph.tensor(id);
    parameters.insert(tensor.name);
    const auto found = saved.find(tensor.name);
    if (found == saved.end()) {
      differences.push_back("missing: " + tensor.name + " " + to_string(tensor.shape));
    } else if (found->second->shape != tensor.shape) {
      differences.push_back(tensor.name + ": found " + to_string(found->second->shape) +
                            ", expected " + to_string(tensor.shape));
    }
  }
  for (const auto& [name, tensor] : saved) {
    if (parameters.contains(name) || is_state(name, saved)) continue;
    differences.push_back("not in the model: " + name + " " + to_string(tensor->shape));
  }
  if (!differences.empty()) refuse(checkpoint.directory.string(), differences);
  return saved;
}

template <class From, class To>
void convert(std::span<const std::byte> from, std::span<std::byte> to) {
  const std::size_t n = from.size() / sizeof(From);
  for (std::size_t i = 0; i < n; ++i) {
    From value;
    std::memcpy(&value, from.data() + i * sizeof(From), sizeof(From));
    const auto converted = static_cast<To>(value);
    std::memcpy(to.data() + i * sizeof(To), &converted, sizeof(To));
  }
}

void load_directory(const std::string& directory, const Graph& graph, Engine& engine) {
  const Checkpoint checkpoint = read_checkpoint(directory);
  const auto saved = checked_tensors(checkpoint, graph);
  for (const StateEntry* entry : parameters_of(graph, engine)) {
    const DType dtype = saved.at(entry->tensor)->dtype;
    std::vector<std::byte> read = host_memory(entry->box, dtype);
    const LoadPiece piece{entry->tensor, entry->box, read};
    load_pieces(checkpoint, {&piece, 1});
    std::vector<std::byte> host = host_memory(entry->box, entry->dtype);
    if (dtype == entry->dtype) {
      host = read;
    } else if (dtype == DType::f64 && entry->dtype == DType::f32) {
      convert<double, float>(read, host);
    } else if (dtype == DType::f32 && entry->dtype == DType::f64) {
      convert<float, double>(read, host);
    } else {
      refuse(directory, {entry->tensor + ": found " + std::string(to_string(dtype)) +
                         ", expected f64 or f32"});
    }
    engine.write_state(*entry, host);
  }
}

fs::path checkpoints_of(const std::string& resume, const fs::path& run_directory) {
  if (resume == "auto" || resume == "none") return run_directory / "checkpoints";
  const fs::path given(resume);
  return fs::is_directory(given / "checkpoints") ? given / "checkpoints" : given;
}

bool is_checkpoint(const fs::path& directory) {
  return fs::exists(directory / "manifest.txt") ||
         directory.lexically_normal().filename().string().starts_with("step_");
}

}  // namespace

std::optional<Checkpoint> find_checkpoint(const std::string& resume, const fs::path& run_directory,
                                          const std::function<void(const std::string&)>& warn) {
  if (resume == "none") return std::nullopt;
  const fs::path where = checkpoints_of(resume, run_directory);
  if (is_checkpoint(where)) return verify_checkpoint(where);
  if (!fs::is_directory(where)) {
    if (resume == "auto") return std::nullopt;
    throw UserError("--resume " + resume + ": found no checkpoint there", ExitCode::input_missing);
  }
  FoundCheckpoint found = find_newest_valid(where);
  for (const std::string& warning : found.warnings) warn(warning);
  return found.newest;
}

void export_parameters(const Checkpoint& checkpoint, Preset preset, const Graph& graph,
                       const fs::path& file) {
  const auto saved = checked_tensors(checkpoint, graph);
  const std::vector<TensorInFile> stored = tensors_in_file(preset, graph);
  std::vector<SafetensorsEntry> entries;
  for (const TensorInFile& tensor : stored) {
    entries.push_back({tensor.name, tensor.shape, saved.at(tensor.tensor)->dtype, "", 0});
  }
  SafetensorsWriter writer(file, entries,
                           {{"format", "pt"}, {"step", std::to_string(checkpoint.info.step)}});
  for (std::size_t i = 0; i < stored.size(); ++i) {
    std::vector<std::byte> part = host_memory(stored[i].part, *entries[i].dtype);
    const LoadPiece piece{stored[i].tensor, stored[i].part, part};
    load_pieces(checkpoint, {&piece, 1});
    writer.append(in_file_order(stored[i], part, size_of(*entries[i].dtype)));
  }
  writer.finish();
}

std::string find_initial(const std::string& init_from,
                         const std::function<void(const std::string&)>& warn) {
  if (!fs::is_directory(init_from)) {
    static_cast<void>(SafetensorsReader(init_from));
    return init_from;
  }
  const fs::path within = fs::path(init_from) / "checkpoints";
  const fs::path where = fs::is_directory(within) ? within : fs::path(init_from);
  if (is_checkpoint(where)) return verify_checkpoint(where).directory.string();
  const FoundCheckpoint found = find_newest_valid(where);
  for (const std::string& warning : found.warnings) warn(warning);
  if (!found.newest) {
    throw UserError("checkpoint.init_from: found no checkpoint in " + printable(init_from) +
                        ", expected a safetensors file, a checkpoint or a run directory",
                    ExitCode::input_missing);
  }
  return found.newest->directory.string();
}

void load_initial(const std::string& found, Preset preset, const Graph& graph, Engine& engine) {
  if (fs::is_directory(found))
    load_directory(found, graph, engine);
  else
    load_file(found, preset, graph, engine);
}

}  // namespace alpa
