// Checks one TOML table against a schema.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/config/environment.hpp"
#include "host/config/problems.hpp"
#include "host/config/toml_tree.hpp"
#include "host/config/values.hpp"

namespace cm::config {

struct TableCheck {
  std::string label;                     // "[plugins.store]", begins the complaints
  const TomlNode* table = nullptr;       // null: the table is absent, defaults apply
  SourceLocation where;                  // for what is missing
  std::vector<std::string> other_keys;   // checked by somebody else; offered as suggestions
  bool ignore_unknown = false;           // somebody else will complain
  std::filesystem::path default_folder;  // relative default paths start here
  std::string help;                      // "see: claudemesh plugin describe NAME"
};

// Values with names, units, paths and variables resolved. What is wrong is added to `problems`, and then the result
// must not be used for anything but further complaints.
ValidatedOptions check_table(const TableCheck& check, std::vector<OptionSpec> specs, const Environment& environment,
                             Problems& problems);

}  // namespace cm::config
