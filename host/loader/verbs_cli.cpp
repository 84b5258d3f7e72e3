// The command-line arguments of the host's own verbs.
#include <CLI/CLI.hpp>
#include <memory>

#include "host/loader/verbs.hpp"

namespace cm::loader {
namespace {

void add_plugin_path(CLI::App& verb, std::vector<std::filesystem::path>& plugin_path) {
  verb.add_option("--plugin-path", plugin_path, "Folder that is searched first (may be repeated)")->type_name("DIR");
}

void add_check(CLI::App& app, VerbContext& context, int& exit_code) {
  const auto arguments = std::make_shared<CheckArguments>();
  CLI::App* verb = app.add_subcommand("check", "Check a configuration without starting anything");
  verb->add_option("file", arguments->file, "The TOML file")->required()->type_name("FILE");
  verb->add_flag("--json", arguments->json, "Answer as JSON");
  verb->add_flag("--values", arguments->values, "Print every option with its value; secrets stay hidden");
  verb->add_flag("--safe-mode", arguments->safe_mode, "Allow only the plugins that came with the program");
  verb->callback([arguments, &context, &exit_code] { exit_code = verb_check(*arguments, context); });
}

void add_list(CLI::App& app, VerbContext& context, int& exit_code) {
  const auto arguments = std::make_shared<PluginListArguments>();
  CLI::App* verb = app.add_subcommand("list", "List all plugins that can be found");
  add_plugin_path(*verb, arguments->plugin_path);
  verb->add_flag("--json", arguments->json, "Answer as JSON");
  const auto running = std::make_shared<std::string>();
  if (context.list_running) {
    verb->add_option("--running", *running, "Instead: the instances of the host whose [ops] listen is this")
        ->type_name("ADDRESS");
  }
  verb->callback([arguments, running, &context, &exit_code] {
    exit_code =
        running->empty() ? verb_plugin_list(*arguments, context) : context.list_running(*running, arguments->json);
  });
}

void add_inspect(CLI::App& app, VerbContext& context, int& exit_code) {
  const auto arguments = std::make_shared<PluginInspectArguments>();
  CLI::App* verb = app.add_subcommand("inspect", "Read the manifest of a library without loading it");
  verb->add_option("file", arguments->file, "The library")->required()->type_name("FILE");
  verb->add_flag("--json", arguments->json, "Answer as JSON");
  verb->callback([arguments, &context, &exit_code] { exit_code = verb_plugin_inspect(*arguments, context); });
}

void add_describe(CLI::App& app, VerbContext& context, int& exit_code) {
  const auto arguments = std::make_shared<PluginDescribeArguments>();
  CLI::App* verb = app.add_subcommand("describe", "Explain the options of a plugin, or of everything");
  verb->add_option("name", arguments->name, "Name, id or file of a plugin; \"host\"; without it, everything");
  verb->add_option("--format", arguments->format, "text, markdown or json-schema")
      ->check(CLI::IsMember({"text", "markdown", "json-schema"}));
  add_plugin_path(*verb, arguments->plugin_path);
  verb->add_flag("--json", arguments->json, "The same as --format json-schema");
  verb->callback([arguments, &context, &exit_code] { exit_code = verb_plugin_describe(*arguments, context); });
}

}  // namespace

void add_host_verbs(CLI::App& app, VerbContext& context, int& exit_code) {
  add_check(app, context, exit_code);
  CLI::App* plugin = app.add_subcommand("plugin", "Look at plugins");
  plugin->require_subcommand(1);
  add_list(*plugin, context, exit_code);
  add_inspect(*plugin, context, exit_code);
  add_describe(*plugin, context, exit_code);
}

}  // namespace cm::loader
