// What stands behind `claudemesh check` and `claudemesh plugin ...`. Nothing is loaded, started or changed (but the
// cache of manifests). Each function answers the process' exit code: 0 fine, 1 not.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "host/config/environment.hpp"
#include "host/loader/discovery.hpp"

namespace CLI {
class App;
}

namespace cm::loader {

// Where verbs write and what they see; references outlive the calls.
struct VerbContext {
  std::ostream& out;
  std::ostream& err;
  config::Environment environment;
  CatalogOptions catalog;
  // Prints the instances of the running host at an address; `plugin list --running`. Null: not offered.
  std::function<int(const std::string& address, bool json)> list_running = nullptr;
};

struct CheckArguments {
  std::filesystem::path file;
  bool json = false;
  bool values = false;  // also print every option with its value (secrets hidden)
  bool safe_mode = false;
};
int verb_check(const CheckArguments& arguments, VerbContext& context);

struct PluginListArguments {
  std::vector<std::filesystem::path> plugin_path;
  bool json = false;
};
int verb_plugin_list(const PluginListArguments& arguments, VerbContext& context);

struct PluginInspectArguments {
  std::filesystem::path file;
  bool json = false;
};
int verb_plugin_inspect(const PluginInspectArguments& arguments, VerbContext& context);

struct PluginDescribeArguments {
  std::string name;  // a plugin's name, id or file; "host"; empty: everything
  std::vector<std::filesystem::path> plugin_path;
  std::string format = "text";  // text, markdown, json-schema
  bool json = false;            // the same as json-schema
};
int verb_plugin_describe(const PluginDescribeArguments& arguments, VerbContext& context);

// Adds the subcommands `check` and `plugin list|inspect|describe`. When one of them was given, parsing runs it and
// stores its answer in `exit_code`, which is otherwise left alone. `context` and `exit_code` must outlive the parsing.
void add_host_verbs(CLI::App& app, VerbContext& context, int& exit_code);

}  // namespace cm::loader
