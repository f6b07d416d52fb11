#pragma once

#include <string>

#include "alpa/config/yaml.hpp"

namespace alpa {

/// Sets what `key=value` says in `root`, the tree of a run file; parts of the key that are not
/// there yet are made. `defaults` holds the lists that an index may mean when the file has none.
/// Example: `data.text.0=/tmp/a` replaces the first element of `data: {text: [x, y]}`.
void apply_argument(YamlNode& root, const std::string& argument, const YamlNode& defaults,
                    ConfigErrors& errors);

}  // namespace alpa
