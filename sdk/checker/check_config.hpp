// What the author of a plugin says about how to check it: values of options, other plugins that it needs, and settings
// of the checks themselves.
//
//   word = "secret"                  # values of the plugin under test
//   store = "store"
//   [plugins.store]                  # other plugins of the same configuration
//   use = "storage_sqlite"
//   path = "/cmsim/check/store.db"
//   [check]                          # settings
//   durable = false                  # storage: what is committed does not outlive the process
//   url = "ws://peer:7900/ws"        # transport: where to connect; the default is the checker's own broker
//
// ${CM_CHECK_DIR} in a value is an empty folder of the check.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "host/config/manifest.hpp"

namespace cm::checker {

using Values = std::map<std::string, std::string>;  // option -> value as TOML spells it

struct CheckConfig {
  Values values;
  std::string other_plugins;  // [plugins.NAME] tables, as TOML
  bool durable = true;
  std::string url = "ws://peer:7900/ws";
};

// kInvalid, kIo; the text names file and line.
Result<CheckConfig> read_check_config(const std::filesystem::path& file);

// The values to use: those of `config`, and for required options without one a plausible value by type. An option that
// refers to plugins gets a plugin of the product when one provides its extension; `other_plugins` grows accordingly.
CheckConfig complete(CheckConfig config, const config::Manifest& manifest);

// Values that fit the option and differ from each other and, where possible, from the default; at its limits.
std::vector<std::string> good_values(const config::OptionSpec& spec);
// Values of another type or beyond the range: none of them may be accepted.
std::vector<std::string> bad_values(const config::OptionSpec& spec);
// "abc" in TOML's spelling.
std::string toml_text(std::string_view text);

}  // namespace cm::checker
