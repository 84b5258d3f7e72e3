// The host's own tables, declared with the machinery that plugins use.
#include <cstdlib>

#include "host/config/host_config.hpp"

namespace cm::config {
namespace {

using Members = std::map<std::string, options::RawValue, std::less<>>;
using Words = std::vector<std::string>;

std::string text(std::string_view value) {
  return std::string(value);
}

SectionSpec make_section(std::string name, std::string doc, const std::vector<Members>& tables) {
  SectionSpec section{std::move(name), std::move(doc), {}};
  std::vector<options::SpecProblem> problems;
  for (Members members : tables) {
    // A plugin may not call an option `file`, a table of the host may.
    const std::string key = std::get<std::string>(members.at("name"));
    members["name"] = options::is_reserved_option(key) ? "reserved" : key;
    section.options.push_back(options::make_option_spec(members, problems));
    section.options.back().name = key;
  }
  options::check_unique_names(section.options, problems);
  if (!problems.empty()) {
    std::abort();  // a defect in the lists below; every test of this room would show it
  }
  return section;
}

SectionSpec make_host() {
  return make_section("host", "The program itself.",
                      {{{"name", text("threads")},
                        {"type", text("int")},
                        {"default", std::int64_t{1}},
                        {"min", std::int64_t{1}},
                        {"max", std::int64_t{256}},
                        {"unit", text("loops")},
                        {"doc", text("How many event loops run; instances are spread over them.")}},
                       {{"name", text("workers")},
                        {"type", text("int")},
                        {"default", std::int64_t{4}},
                        {"min", std::int64_t{1}},
                        {"max", std::int64_t{64}},
                        {"unit", text("threads")},
                        {"doc", text("How many threads the shared pool for blocking work has.")}},
                       {{"name", text("data_dir")},
                        {"type", text("path")},
                        {"default", text("~/.local/share/claudemesh")},
                        {"doc", text("Where data lives; relative default paths of plugins start here.")}},
                       {{"name", text("plugin_path")},
                        {"type", text("list")},
                        {"list_of", text("path")},
                        {"default", Words{}},
                        {"doc", text("Folders that are searched for plugins before all others.")}},
                       {{"name", text("start_timeout")},
                        {"type", text("duration")},
                        {"default", text("30s")},
                        {"min", text("100ms")},
                        {"max", text("1h")},
                        {"doc", text("An instance that has not started by then has failed.")}},
                       {{"name", text("drain_timeout")},
                        {"type", text("duration")},
                        {"default", text("10s")},
                        {"min", text("0")},
                        {"max", text("1h")},
                        {"reloadable", true},
                        {"doc", text("How long instances may finish what is in flight when the program stops.")}},
                       {{"name", text("safe_mode")},
                        {"type", text("bool")},
                        {"default", false},
                        {"doc", text("Loads only the plugins that came with the program.")}}});
}

SectionSpec make_log() {
  return make_section(
      "log", "Where log lines go. Levels of single instances stand in [log.levels], by instance name or \"host\".",
      {{{"name", text("level")},
        {"type", text("choice")},
        {"choices", Words{"trace", "debug", "info", "warn", "error", "critical"}},
        {"default", text("info")},
        {"reloadable", true},
        {"doc", text("Lines below this level are dropped.")}},
       {{"name", text("format")},
        {"type", text("choice")},
        {"choices", Words{"text", "json"}},
        {"default", text("text")},
        {"reloadable", true},
        {"doc", text("One line of text or one JSON object per entry.")}},
       {{"name", text("file")},
        {"type", text("path")},
        {"default", text("")},
        {"reloadable", true},
        {"doc", text("Appends to this file; empty: standard error.")}}});
}

SectionSpec make_ops() {
  return make_section("ops", "For monitoring: /healthz, /readyz and /metrics.",
                      {{{"name", text("listen")},
                        {"type", text("address")},
                        {"default", text("")},
                        {"doc", text("Address of the monitoring routes; empty: off.")}}});
}

// The names are reserved for the host, so the specs are built by hand instead of by make_option_spec, which refuses
// them to plugins.
OptionSpec host_key(std::string name, OptionType type, std::string doc) {
  OptionSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  spec.doc = std::move(doc);
  return spec;
}

SectionSpec make_instance() {
  SectionSpec section{
      "plugins.NAME", "One instance of a plugin. The plugin's own options stand in the same table.", {}};
  section.options = {
      host_key("use", OptionType::kString, "Name or id of the plugin; without it, NAME."),
      host_key("file", OptionType::kPath, "The library itself, instead of searching for it."),
      host_key("sha256", OptionType::kString, "What the library must hash to, 64 hex digits; checked at every load."),
      host_key("permissions", OptionType::kList,
               "Host tables that it gets; without it, all that its manifest asks for."),
      host_key("loop", OptionType::kInt, "The loop it lives on, from 0; without it, the host chooses."),
      host_key("enabled", OptionType::kBool, "false: the table is skipped.")};
  section.options[2].min_int = 64;
  section.options[2].max_int = 64;
  section.options[4].min_int = 0;
  section.options[4].max_int = 255;
  section.options[5].default_value = true;
  return section;
}

}  // namespace

const std::vector<SectionSpec>& host_sections() {
  static const std::vector<SectionSpec> sections{make_host(), make_log(), make_ops()};
  return sections;
}

const SectionSpec& instance_section() {
  static const SectionSpec section = make_instance();
  return section;
}

}  // namespace cm::config
