// The host's own tables, declared with the machinery that plugins use.
#include <cstdlib>

#include "host/config/host_config.hpp"
#include "host/config/isolation.hpp"

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
                       {{"name", text("reload_timeout")},
                        {"type", text("duration")},
                        {"default", text("10s")},
                        {"min", text("100ms")},
                        {"max", text("1h")},
                        {"reloadable", true},
                        {"doc", text("A reload whose instances have not taken their new options by then, or are not "
                                     "created, is refused as a whole.")}},
                       {{"name", text("safe_mode")},
                        {"type", text("bool")},
                        {"default", false},
                        {"doc", text("Loads only the plugins that came with the program.")}},
                       {{"name", text("safe_mode_after")},
                        {"type", text("int")},
                        {"default", std::int64_t{3}},
                        {"min", std::int64_t{0}},
                        {"max", std::int64_t{100}},
                        {"unit", text("crashes")},
                        {"doc", text("After so many crashes at start, one after the other, the next start is in safe "
                                     "mode; 0: never.")}}});
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
        {"doc", text("Appends to this file; empty: standard error.")}},
       {{"name", text("lines_per_second")},
        {"type", text("int")},
        {"default", std::int64_t{1000}},
        {"min", std::int64_t{0}},
        {"max", std::int64_t{1000000}},
        {"unit", text("lines")},
        {"reloadable", true},
        {"doc", text("What one instance may write, twice that at once; more is dropped and counted. 0: no limit.")}}});
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

// A key with a default and a range, both as a person would write them.
OptionSpec bounded_key(std::string name, OptionType type, options::RawValue value, std::int64_t min, std::int64_t max,
                       std::string doc) {
  OptionSpec spec = host_key(std::move(name), type, std::move(doc));
  spec.default_value = std::move(value);
  spec.min_int = min;
  spec.max_int = max;
  return spec;
}

// One prefix for all of them, so that a key which is added later takes no name away from a plugin.
void add_isolation(std::vector<OptionSpec>& options) {
  constexpr std::int64_t kMiB = 1 << 20;
  OptionSpec tier =
      host_key("isolation", OptionType::kChoice,
               "process: the plugin runs in a process of its own, with the limits below. none: in the host.");
  tier.choices = {"none", "process"};
  tier.default_value = text("none");
  options.push_back(std::move(tier));
  options.push_back(bounded_key("isolation_memory_max", OptionType::kSize, text("256MiB"), 16 * kMiB, 65'536 * kMiB,
                                "Memory that its process may use; more ends it."));
  options.push_back(bounded_key("isolation_file_max", OptionType::kSize, text("1GiB"), 0, kMiB * kMiB,
                                "Size that a file may reach by its writes."));
  options.push_back(bounded_key("isolation_descriptors_max", OptionType::kInt, std::int64_t{64}, 16, 65'536,
                                "Files that its process may hold open."));
  options.push_back(bounded_key("isolation_cpu_seconds", OptionType::kInt, std::int64_t{0}, 0, 3'600,
                                "Processor time that it may use in each minute; more ends it. 0: no limit."));
  OptionSpec network = host_key("isolation_network", OptionType::kBool,
                                "true: it may make sockets of its own, besides those that the host has for it.");
  network.default_value = false;
  options.push_back(std::move(network));
  for (const auto& [name, doc] :
       {std::pair{"isolation_read", "Files and folders that it may read, besides the system's libraries."},
        std::pair{
            "isolation_write",
            "Files and folders that it may read and write. Paths that stand in its own options count as such."}}) {
    OptionSpec paths = host_key(name, OptionType::kList, doc);
    paths.list_of = OptionType::kPath;
    paths.default_value = Words{};
    paths.max_int = kIsolationPathsMax;
    options.push_back(std::move(paths));
  }
  options.push_back(bounded_key("isolation_hang_timeout", OptionType::kDuration, text("5s"), 100, 3'600'000,
                                "A process that gives no sign of life for so long is ended."));
  options.push_back(bounded_key("isolation_failures_max", OptionType::kInt, std::int64_t{5}, 1, 1'000,
                                "After so many failures within the window it is not started again until a reload."));
  options.push_back(bounded_key("isolation_failure_window", OptionType::kDuration, text("10m"), 1'000, 86'400'000,
                                "The window in which failures are counted."));
  options.push_back(bounded_key("isolation_restart_delay", OptionType::kDuration, text("200ms"), 1, 60'000,
                                "Pause before the first restart; doubled by each failure in the window, up to 30 s."));
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
  add_isolation(section.options);
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
