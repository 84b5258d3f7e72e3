// From a tree of TOML to a HostConfig: one step per table, then what the instances say about each other.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "host/config/checker.hpp"
#include "host/config/graph.hpp"
#include "host/config/host_config.hpp"
#include "host/config/isolation.hpp"
#include "host/config/toml_tree.hpp"

namespace cm::config {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 6> kLevelNames{"trace", "debug", "info", "warn", "error", "critical"};

LogLevel level_from_name(std::string_view name) noexcept {
  const auto found = std::find(kLevelNames.begin(), kLevelNames.end(), name);
  return static_cast<LogLevel>(found == kLevelNames.end() ? 2 : found - kLevelNames.begin());
}

const SectionSpec& section(std::string_view name) {
  const auto& sections = host_sections();
  return *std::find_if(sections.begin(), sections.end(), [name](const SectionSpec& s) { return s.name == name; });
}

std::vector<std::string> instance_keys() {
  std::vector<std::string> keys;
  for (const OptionSpec& spec : instance_section().options) {
    keys.push_back(spec.name);
  }
  return keys;
}

// The text, or nothing when it is absent or was wrong.
std::string text_or_empty(const ValidatedOptions& values, std::string_view option) {
  const auto text = values.get_text(option);
  return text ? std::string(*text) : std::string();
}

bool is_sha256(std::string_view text) noexcept {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// All state of one load.
class Loader {
 public:
  Loader(const LoadRequest& request, const Environment& environment, ManifestSource& manifests)
      : request_(request), environment_(environment), manifests_(manifests) {}

  LoadReport run() {
    std::optional<TomlNode> root = read_toml(request_, environment_, problems_);
    if (root) {
      refuse_unknown_tables(*root);
      read_host(*root);
      read_ops(*root);
      read_instances(*root);
      read_log(*root);  // after the instances: levels name them
      connect();
    }
    return finish();
  }

 private:
  // What is known of a table [plugins.NAME] besides its configuration.
  enum class TableState { kFine, kDisabled, kBroken };

  void refuse_unknown_tables(const TomlNode& root) {
    static const std::vector<std::string> known{"include", "host", "log", "ops", "plugins"};
    for (const TomlEntry& entry : *root.table()) {
      if (std::find(known.begin(), known.end(), entry.key) == known.end()) {
        problems_.add(entry.key_where, "found " + options::json_quote(entry.key) +
                                           ", expected include, [host], [log], [ops] or [plugins.NAME]" +
                                           suggestion(entry.key, known, "remove it"));
      }
    }
  }

  ValidatedOptions read_section(const TomlNode& root, const std::string& name, std::vector<std::string> other_keys) {
    const TomlEntry* entry = root.find(name);
    TableCheck check;
    check.label = "[" + name + "]";
    check.table = entry == nullptr ? nullptr : &entry->node;
    check.where = root.where;
    check.other_keys = std::move(other_keys);
    check.default_folder = data_dir_;
    check.help = "see: claudemesh plugin describe host";
    return check_table(check, section(name).options, environment_, problems_);
  }

  void read_host(const TomlNode& root) {
    HostSettings& host = config_.host;
    host.options = read_section(root, "host", {});
    host.threads = number(host.options, "threads", host.threads);
    host.workers = number(host.options, "workers", host.workers);
    host.data_dir = text_or_empty(host.options, "data_dir");
    data_dir_ = host.data_dir;
    if (const auto folders = host.options.get_list("plugin_path")) {
      host.plugin_path.assign(folders->begin(), folders->end());
    }
    host.start_timeout_ms = duration(host.options, "start_timeout");
    host.drain_timeout_ms = duration(host.options, "drain_timeout");
    host.reload_timeout_ms = duration(host.options, "reload_timeout");
    const auto safe_mode = host.options.get_bool("safe_mode");
    host.safe_mode = request_.safe_mode || (safe_mode.ok() && *safe_mode);
  }

  static std::uint32_t number(const ValidatedOptions& values, std::string_view option, std::uint32_t otherwise) {
    const auto value = values.get_int(option);
    return value ? static_cast<std::uint32_t>(*value) : otherwise;
  }

  static std::uint64_t duration(const ValidatedOptions& values, std::string_view option) {
    const auto value_ms = values.get_int(option);
    return value_ms ? static_cast<std::uint64_t>(*value_ms) : 0;
  }

  void read_ops(const TomlNode& root) {
    config_.ops.options = read_section(root, "ops", {});
    config_.ops.listen = text_or_empty(config_.ops.options, "listen");
  }

  void read_log(const TomlNode& root) {
    LogSettings& log = config_.log;
    log.options = read_section(root, "log", {"levels"});
    log.level = level_from_name(text_or_empty(log.options, "level"));
    log.format = text_or_empty(log.options, "format") == "json" ? LogFormat::kJson : LogFormat::kText;
    log.file = text_or_empty(log.options, "file");
    const TomlEntry* table = root.find("log");
    const TomlEntry* levels = table == nullptr ? nullptr : table->node.find("levels");
    if (levels == nullptr) {
      return;
    }
    // Each instance is an option of this table, so that misspelled names get the usual answer.
    std::vector<OptionSpec> specs;
    std::vector<std::string> names{"host"};
    for (const auto& [name, state] : states_) {
      names.push_back(name);
    }
    for (const std::string& name : names) {
      OptionSpec spec = section("log").options.front();
      spec.name = name;
      spec.default_value.reset();
      specs.push_back(std::move(spec));
    }
    TableCheck check;
    check.label = "[log.levels]";
    check.table = &levels->node;
    check.where = levels->key_where;
    check.help = "write the name of an instance or host";
    const ValidatedOptions values = check_table(check, std::move(specs), environment_, problems_);
    for (const std::string& name : names) {
      if (const auto level = values.get_text(name)) {
        log.levels.emplace(name, level_from_name(*level));
      }
    }
  }

  void read_instances(const TomlNode& root) {
    const TomlEntry* plugins = root.find("plugins");
    if (plugins == nullptr) {
      problems_.warn(root.where, "there is no [plugins.NAME] table; the host will run, but do nothing");
      return;
    }
    if (plugins->node.table() == nullptr) {
      problems_.add(plugins->key_where, "plugins: found " + plugins->node.kind() + ", expected tables [plugins.NAME]");
      return;
    }
    if (plugins->node.table()->size() > kInstancesMax) {
      problems_.add(plugins->key_where, "found " + std::to_string(plugins->node.table()->size()) +
                                            " instances, expected at most " + std::to_string(kInstancesMax) +
                                            "; use several hosts");
      return;
    }
    for (const TomlEntry& entry : *plugins->node.table()) {
      states_[entry.key] = read_instance(entry);
    }
  }

  TableState read_instance(const TomlEntry& entry) {
    const std::string label = "[plugins." + entry.key + "]";
    if (!options::is_name(entry.key) || entry.key == "host") {
      problems_.add(entry.key_where, "found the instance name " + options::json_quote(entry.key) +
                                         ", expected [a-z][a-z0-9_]* of at most 64 bytes and not \"host\"; rename it");
      return TableState::kBroken;
    }
    TableCheck check;
    check.label = label;
    check.table = &entry.node;
    check.where = entry.node.where;
    check.ignore_unknown = true;
    const std::size_t problems_before = problems_.count();
    const ValidatedOptions own = check_table(check, instance_section().options, environment_, problems_);
    if (problems_.count() != problems_before) {
      return TableState::kBroken;
    }
    if (!*own.get_bool("enabled")) {
      config_.disabled.push_back(entry.key);
      return TableState::kDisabled;
    }
    InstanceConfig instance;
    instance.name = entry.key;
    instance.where = entry.key_where;
    instance.sha256 = text_or_empty(own, "sha256");
    if (!instance.sha256.empty() && !is_sha256(instance.sha256)) {
      problems_.add(own.find("sha256")->where, label + " sha256: found " + options::json_quote(instance.sha256) +
                                                   ", expected 64 lower-case hex digits; run: sha256sum FILE");
      return TableState::kBroken;
    }
    instance.manifest = find_manifest(instance, own);
    if (instance.manifest == nullptr) {
      const bool left_out = config_.disabled.size() != 0 && config_.disabled.back() == instance.name;
      return left_out ? TableState::kDisabled : TableState::kBroken;
    }
    read_permissions(instance, own);
    read_loop(instance, own);
    check.ignore_unknown = false;
    check.other_keys = instance_keys();
    check.default_folder = data_dir_;
    check.help = "see: claudemesh plugin describe " + instance.manifest->name;
    instance.options = check_table(check, instance.manifest->options, environment_, problems_);
    instance.isolation = read_isolation(own, instance.options);
    check_isolation(instance, own, problems_);
    config_.instances.push_back(std::move(instance));
    return TableState::kFine;
  }

  std::shared_ptr<const Manifest> find_manifest(const InstanceConfig& instance, const ValidatedOptions& own) {
    PluginQuery query;
    query.file = text_or_empty(own, "file");
    query.use = text_or_empty(own, "use");
    const bool named = !query.use.empty();
    if (!named && query.file.empty()) {
      query.use = instance.name;
    }
    query.sha256 = instance.sha256;
    query.plugin_path = config_.host.plugin_path;
    query.bundled_only = config_.host.safe_mode;
    const OptionValue* at = own.find(query.file.empty() ? "use" : "file");
    const SourceLocation where = at == nullptr ? instance.where : at->where;
    const std::string label = "[plugins." + instance.name + "] ";
    auto manifest = manifests_.find(query);
    if (!manifest && query.bundled_only) {
      query.bundled_only = false;
      if (manifests_.find(query)) {
        // Its users stay as they are and are refused: a guard that is missing must not be forgotten in silence.
        problems_.warn(where, label +
                                  "left out, because safe mode is on and the plugin did not come with the program; "
                                  "leave safe mode to use it again");
        config_.disabled.push_back(instance.name);
        return nullptr;
      }
    }
    if (!manifest) {
      const bool missing = manifest.error().code == ErrorCode::kGone && query.file.empty();
      problems_.add(
          where,
          label + manifest.error().message +
              (missing ? suggestion(query.use, manifests_.known_names(query), "see: claudemesh plugin list") : ""));
      return nullptr;
    }
    const Manifest& found = **manifest;
    if (named && !query.file.empty() && found.name != query.use && found.id != query.use) {
      problems_.add(where, label + "use says " + options::json_quote(query.use) + ", but the file holds the plugin " +
                               options::json_quote(found.name) + "; correct `use` or `file`");
      return nullptr;
    }
    return refuse_second_copy(*manifest, where, label) ? nullptr : *manifest;
  }

  // One id, two libraries: both would be in one process and neither would know which state is its own.
  bool refuse_second_copy(const std::shared_ptr<const Manifest>& manifest, const SourceLocation& where,
                          const std::string& label) {
    const auto [first, is_new] = file_of_id_.emplace(manifest->id, manifest->file);
    if (is_new || first->second == manifest->file) {
      return false;
    }
    const auto shown = [](const fs::path& file) { return file.empty() ? "the built-in plugin" : file.string(); };
    problems_.add(where, label + "found a second copy of " + manifest->id + ": " + shown(manifest->file) + " besides " +
                             shown(first->second) + "; expected one library per id; use the same one in both tables");
    return true;
  }

  void read_permissions(InstanceConfig& instance, const ValidatedOptions& own) {
    const auto& asked = instance.manifest->host_tables;
    const auto granted = own.get_list("permissions");
    if (!granted) {
      instance.permissions = asked;
      return;
    }
    for (const std::string& table : *granted) {
      if (std::find(asked.begin(), asked.end(), table) == asked.end()) {
        problems_.add(own.find("permissions")->where,
                      "[plugins." + instance.name + "] permissions: found " + options::json_quote(table) +
                          ", expected host tables that " + instance.manifest->name + " asks for" +
                          suggestion(table, asked, "see: claudemesh plugin describe " + instance.manifest->name));
        continue;
      }
      instance.permissions.push_back(table);
    }
  }

  void read_loop(InstanceConfig& instance, const ValidatedOptions& own) {
    const auto loop = own.get_int("loop");
    if (!loop) {
      return;
    }
    if (*loop >= config_.host.threads) {
      problems_.add(own.find("loop")->where, "[plugins." + instance.name + "] loop: found " + std::to_string(*loop) +
                                                 ", expected 0 to " + std::to_string(config_.host.threads - 1) +
                                                 "; raise threads of [host] or lower it");
      return;
    }
    instance.loop = static_cast<std::uint32_t>(*loop);
  }

  // --- what the instances say about each other ---------------------------------------------------------------------

  void connect() {
    std::vector<Reference> references;
    for (std::size_t index = 0; index < config_.instances.size(); ++index) {
      collect_references(index, references);
    }
    for (const Reference& reference : references) {
      auto& names = config_.instances[reference.from].depends_on;
      const std::string& name = config_.instances[reference.to].name;
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        names.push_back(name);
      }
    }
    config_.loop_group_count = assign_loop_groups(config_.instances, references, problems_);
    const std::vector<std::size_t> order = start_order(config_.instances, references, problems_);
    std::vector<InstanceConfig> sorted;
    for (const std::size_t index : order) {
      sorted.push_back(std::move(config_.instances[index]));
    }
    config_.instances = std::move(sorted);
  }

  void collect_references(std::size_t from, std::vector<Reference>& references) {
    const InstanceConfig& instance = config_.instances[from];
    for (const OptionSpec& spec : instance.options.specs()) {
      const OptionValue* value = spec.refers_to_plugins() ? instance.options.find(spec.name) : nullptr;
      if (value == nullptr) {
        continue;
      }
      std::vector<std::string> names;
      if (const auto* text = std::get_if<std::string>(&value->data)) {
        names.push_back(*text);
      } else {
        names = std::get<std::vector<std::string>>(value->data);
      }
      const SourceLocation where = value->is_default ? instance.where : value->where;
      for (const std::string& name : names) {
        const auto to = name.empty() ? std::nullopt : resolve(instance, spec, name, where);
        if (to) {
          references.push_back({from, *to, spec.same_loop, spec.name, where});
        }
      }
    }
  }

  std::optional<std::size_t> resolve(const InstanceConfig& instance, const OptionSpec& spec, const std::string& name,
                                     const SourceLocation& where) {
    const std::string label = "[plugins." + instance.name + "] " + spec.name + ": ";
    const auto state = states_.find(name);
    if (state == states_.end()) {
      std::vector<std::string> names;
      for (const auto& [known, ignored] : states_) {
        names.push_back(known);
      }
      problems_.add(where, label + "there is no instance " + options::json_quote(name) + ", expected " +
                               options::describe_expected(spec) +
                               suggestion(name, names, "add a table [plugins." + name + "]"));
      return std::nullopt;
    }
    if (state->second == TableState::kDisabled) {
      problems_.add(where,
                    label + "the instance " + name +
                        (config_.host.safe_mode ? " is disabled or left out by safe mode; leave safe mode, enable "
                                                  "it or name another one"
                                                : " is disabled; enable it or name another one"));
      return std::nullopt;
    }
    const auto& instances = config_.instances;
    const auto found = std::find_if(instances.begin(), instances.end(),
                                    [&name](const InstanceConfig& other) { return other.name == name; });
    if (found == instances.end()) {
      return std::nullopt;  // its table is wrong and was complained about
    }
    if (!spec.extension.empty() && !found->manifest->provides_extension(spec.extension)) {
      problems_.add(where, label + "the instance " + name + " (" + found->manifest->name + ") does not provide " +
                               spec.extension + "; name an instance that does");
      return std::nullopt;
    }
    return static_cast<std::size_t>(found - instances.begin());
  }

  LoadReport finish() {
    LoadReport report;
    if (problems_.none()) {
      config_.file = request_.file;
      config_.warnings = problems_.take_warnings();
      report.config = std::move(config_);
      return report;
    }
    report.problems = problems_.take_errors();
    if (report.problems.size() > kProblemsMax) {
      report.problems_left_out = report.problems.size() - kProblemsMax;
      report.problems.resize(kProblemsMax);
    }
    return report;
  }

  const LoadRequest& request_;
  const Environment& environment_;
  ManifestSource& manifests_;
  Problems problems_;
  HostConfig config_;
  fs::path data_dir_;
  std::map<std::string, TableState, std::less<>> states_;
  std::map<std::string, fs::path> file_of_id_;
};

}  // namespace

bool Manifest::provides_extension(std::string_view extension_id) const noexcept {
  return std::find(provides.begin(), provides.end(), extension_id) != provides.end();
}

const OptionSpec* Manifest::find_option(std::string_view option) const noexcept {
  const auto found =
      std::find_if(options.begin(), options.end(), [option](const OptionSpec& spec) { return spec.name == option; });
  return found == options.end() ? nullptr : &*found;
}

bool InstanceConfig::granted(std::string_view host_table) const noexcept {
  return std::find(permissions.begin(), permissions.end(), host_table) != permissions.end();
}

LogLevel LogSettings::level_of(std::string_view instance) const noexcept {
  const auto found = levels.find(instance);
  return found == levels.end() ? level : found->second;
}

const InstanceConfig* HostConfig::find(std::string_view instance) const noexcept {
  const auto found = std::find_if(instances.begin(), instances.end(),
                                  [instance](const InstanceConfig& entry) { return entry.name == instance; });
  return found == instances.end() ? nullptr : &*found;
}

LoadReport load_config_report(const LoadRequest& request, const Environment& environment, ManifestSource& manifests) {
  return Loader(request, environment, manifests).run();
}

Result<HostConfig> load_config(const fs::path& file, const Environment& environment, ManifestSource& manifests) {
  LoadRequest request;
  request.file = file;
  LoadReport report = load_config_report(request, environment, manifests);
  if (report.config) {
    return std::move(*report.config);
  }
  std::string text;
  for (const Problem& problem : report.problems) {
    text += (text.empty() ? "" : "\n") + problem.line();
  }
  if (report.problems_left_out > 0) {
    text += "\nand " + std::to_string(report.problems_left_out) + " more";
  }
  return make_error(ErrorCode::kInvalid, std::move(text));
}

}  // namespace cm::config
