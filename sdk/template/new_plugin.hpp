// `claudemesh plugin new`: a folder for a plugin that builds, tests and runs at once, made from templates in the
// program.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <filesystem>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace cm::sdk {

// A file as it lies in sdk/template: "c/hook/plugin.toml".
struct TemplateFile {
  std::string_view path;
  std::string_view text;
};
std::span<const TemplateFile> template_files();

struct NewPluginArguments {
  std::string kind;                 // transport, storage, hook, bridge
  std::string name;                 // [a-z][a-z0-9_]*
  std::string language = "cpp";     // c, cpp, rust
  std::filesystem::path directory;  // empty: the name, in the current folder
  std::string id;                   // empty: "org.example.NAME"
  std::string license = "MIT";      // SPDX expression
  std::filesystem::path rust_sdk;   // empty: where it is installed beside the program
  bool json = false;
};

// A file of the new folder. Pure data.
struct NewFile {
  std::filesystem::path path;  // relative
  std::string text;
};

// The arguments with defaults filled in, or what is wrong with them. Pure.
Result<NewPluginArguments> check_arguments(NewPluginArguments arguments);
// The files of a plugin; `arguments` have been checked. Pure.
std::vector<NewFile> expand_templates(std::span<const TemplateFile> templates, const NewPluginArguments& arguments);
// The languages that have a template of this kind, in the order c, cpp, rust. Pure.
std::vector<std::string> languages_with(std::span<const TemplateFile> templates, std::string_view kind);
// Writes them below `directory`, which is made; a folder that exists must be empty. Nothing is written on an error.
Status write_new_plugin(const std::filesystem::path& directory, const std::vector<NewFile>& files);

// The verb; answers the exit code: 0 made, 1 refused.
int verb_plugin_new(const NewPluginArguments& arguments, std::ostream& out, std::ostream& err);
// Adds `new` to the subcommand `plugin`, which must be there (loader/verbs.hpp). The references must outlive the
// parsing.
void add_new_plugin_verb(CLI::App& app, std::ostream& out, std::ostream& err, int& exit_code);

}  // namespace cm::sdk
