#include <algorithm>

#include "alpa/base/error.hpp"

#include "sections.hpp"

namespace alpa {
namespace {

struct HelpTopic {
  std::string name;
  std::string summary;
  std::string (*text)();
};

/// One key a line: path, type, default, meaning; in columns.
std::string table_of(const std::vector<KeyHelp>& keys) {
  std::size_t path_width = 0;
  for (const KeyHelp& entry : keys) path_width = std::max(path_width, entry.path.size());
  std::string text;
  for (const KeyHelp& entry : keys) {
    text += "  " + entry.path + std::string(path_width - entry.path.size() + 2, ' ');
    std::string facts = entry.type;
    if (!entry.value.empty()) {
      facts += facts.empty() ? "" : "; ";
      facts += entry.value == "required" || entry.value == "absent" ? entry.value
                                                                    : "default " + entry.value;
    }
    if (!entry.help.empty()) {
      text += entry.help + (facts.empty() ? "" : "\n" + std::string(path_width + 4, ' '));
    }
    text += facts + "\n";
  }
  return text;
}

template <class S>
std::string described(const Section<S>& table) {
  return table_of(table.describe(S{}));
}

std::string model_help() {
  std::string text;
  for (const EnumName<Preset>& preset : names_of(Preset{})) {
    text += "preset " + std::string(preset.name) + ":\n" + table_of(preset_help(preset.value));
  }
  return text;
}

/// Keys that stand at the top of a run file, outside any section.
std::string run_help() {
  std::vector<KeyHelp> keys;
  for (KeyHelp& entry : run_section({}).describe(RunConfig{})) {
    if (entry.path.find('.') == std::string::npos) keys.push_back(std::move(entry));
  }
  return table_of(keys);
}

const std::vector<HelpTopic>& topics() {
  static const std::vector<HelpTopic> topics = {
      {"model", "what is trained", model_help},
      {"model.layers", "operators of preset custom", [] { return table_of(layer_help()); }},
      {"data", "what it is trained on", [] { return described(data_section()); }},
      {"training", "steps, batch, precision", [] { return described(training_section()); }},
      {"optimizer", "update rule and learning rate", [] { return described(optimizer_section()); }},
      {"parallel", "how it is spread over devices", [] { return described(parallel_section()); }},
      {"checkpoint", "what is saved and when", [] { return described(checkpoint_section()); }},
      {"logging", "what is shown", [] { return described(logging_section()); }},
      {"cluster", "content of a cluster file", [] { return described(cluster_section({})); }},
      {"device", "content of configs/devices/NAME.yaml",
       [] { return described(device_section()); }},
      {"run", "keys outside any section", run_help},
  };
  return topics;
}

}  // namespace

std::string help_text(std::string_view section) {
  std::string list;
  std::vector<std::string> names;
  for (const HelpTopic& topic : topics()) {
    if (topic.name == section) return topic.name + ": " + topic.summary + "\n" + topic.text();
    names.push_back(topic.name);
    list += "  " + topic.name + std::string(14 - topic.name.size(), ' ') + topic.summary + "\n";
  }
  if (section.empty()) return "Sections:\n" + list;
  std::string message = "--help: found the unknown section " + std::string(section) +
                        ", expected " + detail::joined_words(names);
  const std::string near = nearest_word(section, names);
  if (!near.empty()) message += " (did you mean " + near + "?)";
  throw UserError(message, ExitCode::usage);
}

}  // namespace alpa
