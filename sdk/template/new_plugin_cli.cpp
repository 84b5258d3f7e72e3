#include <CLI/CLI.hpp>
#include <memory>

#include "sdk/template/new_plugin.hpp"

namespace cm::sdk {

void add_new_plugin_verb(CLI::App& app, std::ostream& out, std::ostream& err, int& exit_code) {
  CLI::App* plugin = app.get_subcommand("plugin");
  const auto arguments = std::make_shared<NewPluginArguments>();
  CLI::App* verb = plugin->add_subcommand("new", "Make a folder with a new plugin in it");
  verb->add_option("kind", arguments->kind, "transport, storage, hook or bridge")->required()->type_name("KIND");
  verb->add_option("name", arguments->name, "What a configuration will call it, like word_guard")
      ->required()
      ->type_name("NAME");
  verb->add_option("--lang", arguments->language, "c, cpp or rust (default cpp)")->type_name("LANGUAGE");
  verb->add_option("--directory", arguments->directory, "Where; a new or empty folder (default ./NAME)")
      ->type_name("DIR");
  verb->add_option("--id", arguments->id, "Reverse domain (default org.example.NAME)")->type_name("ID");
  verb->add_option("--license", arguments->license, "SPDX expression (default MIT)")->type_name("SPDX");
  verb->add_flag("--json", arguments->json, "Answer as JSON");
  verb->callback([arguments, &out, &err, &exit_code] { exit_code = verb_plugin_new(*arguments, out, err); });
}

}  // namespace cm::sdk
