#include "host/loader/verbs.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <iomanip>
#include <ostream>

#include "host/config/describe.hpp"
#include "host/config/host_config.hpp"
#include "host/loader/elf_reader.hpp"

namespace cm::loader {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using config::HostConfig;
using config::InstanceConfig;
using config::LoadReport;
using config::Problem;

json::array to_json(const std::vector<std::string>& words) {
  return json::array(words.begin(), words.end());
}

json::array to_json(const std::vector<Problem>& problems) {
  json::array out;
  for (const Problem& problem : problems) {
    json::object entry{{"text", problem.text}};
    if (problem.where.file != nullptr) {
      entry["file"] = *problem.where.file;
      entry["line"] = problem.where.line;
      entry["column"] = problem.where.column;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

// Host tables that the manifest asks for and the configuration does not grant.
std::vector<std::string> withheld_tables(const InstanceConfig& instance) {
  std::vector<std::string> withheld;
  for (const std::string& table : instance.manifest->host_tables) {
    if (std::find(instance.permissions.begin(), instance.permissions.end(), table) == instance.permissions.end()) {
      withheld.push_back(table);
    }
  }
  return withheld;
}

json::object to_json(const InstanceConfig& instance, bool values) {
  json::object out{{"name", instance.name},
                   {"plugin", instance.manifest->name},
                   {"id", instance.manifest->id},
                   {"version", instance.manifest->version},
                   {"file", instance.manifest->file.string()},
                   {"loop_group", instance.loop_group},
                   {"depends_on", to_json(instance.depends_on)},
                   {"permissions", to_json(instance.permissions)},
                   {"withheld", to_json(withheld_tables(instance))}};
  if (values) {
    json::object options;
    for (const auto& spec : instance.options.specs()) {
      options[spec.name] = instance.options.printable(spec.name);
    }
    out["options"] = std::move(options);
  }
  return out;
}

void print_check_json(const LoadReport& report, const CheckArguments& arguments, std::ostream& out) {
  json::object root{{"ok", report.config.has_value()},
                    {"file", arguments.file.string()},
                    {"problems", to_json(report.problems)},
                    {"problems_left_out", report.problems_left_out}};
  if (report.config) {
    json::array instances;
    for (const InstanceConfig& instance : report.config->instances) {
      instances.push_back(to_json(instance, arguments.values));
    }
    root["warnings"] = to_json(report.config->warnings);
    root["instances"] = std::move(instances);
    root["disabled"] = to_json(report.config->disabled);
  }
  out << json::serialize(root) << '\n';
}

void print_values(const std::string& title, const config::ValidatedOptions& options, std::ostream& out) {
  out << "\n[" << title << "]\n";
  for (const auto& spec : options.specs()) {
    const auto* value = options.find(spec.name);
    const std::string from = value == nullptr || value->is_default ? "default" : value->where.text();
    out << spec.name << " = " << options.printable(spec.name) << "  # " << from << '\n';
  }
}

void print_check_text(const HostConfig& config, const CheckArguments& arguments, std::ostream& out) {
  out << arguments.file.string() << ": fine; " << config.instances.size() << " instance"
      << (config.instances.size() == 1 ? "" : "s") << " on " << config.host.threads << " loop"
      << (config.host.threads == 1 ? "" : "s") << ", in start order:\n";
  for (const InstanceConfig& instance : config.instances) {
    out << "  " << instance.name << ": " << instance.manifest->name << ' ' << instance.manifest->version;
    for (std::size_t index = 0; index < instance.depends_on.size(); ++index) {
      out << (index == 0 ? ", uses " : ", ") << instance.depends_on[index];
    }
    const std::vector<std::string> withheld = withheld_tables(instance);
    for (std::size_t index = 0; index < withheld.size(); ++index) {
      out << (index == 0 ? "; asks for and does not get " : ", ") << withheld[index];
    }
    out << '\n';
  }
  if (!arguments.values) {
    return;
  }
  print_values("host", config.host.options, out);
  print_values("log", config.log.options, out);
  print_values("ops", config.ops.options, out);
  for (const InstanceConfig& instance : config.instances) {
    print_values("plugins." + instance.name, instance.options, out);
  }
}

json::object to_json(const FoundPlugin& plugin) {
  json::object out{{"file", plugin.file.string()}, {"origin", plugin.origin}};
  if (plugin.manifest != nullptr) {
    out["name"] = plugin.manifest->name;
    out["id"] = plugin.manifest->id;
    out["version"] = plugin.manifest->version;
    out["kinds"] = to_json(plugin.manifest->kinds);
    out["provides"] = to_json(plugin.manifest->provides);
    out["description"] = plugin.manifest->description;
  }
  if (!plugin.problem.empty()) {
    out["problem"] = plugin.problem;
  }
  if (!plugin.shadowed_by.empty()) {
    out["shadowed_by"] = plugin.shadowed_by;
  }
  return out;
}

void print_list(const std::vector<FoundPlugin>& plugins, std::ostream& out) {
  if (plugins.empty()) {
    out << "no plugins found\n";
  }
  for (const FoundPlugin& plugin : plugins) {
    const std::string where = plugin.file.empty() ? "built-in" : plugin.file.string();
    if (plugin.manifest != nullptr) {
      out << std::left << std::setw(20) << plugin.manifest->name << ' ' << std::setw(8) << plugin.manifest->version
          << ' ' << where << '\n';
      out << "    " << plugin.manifest->description << '\n';
    } else {
      out << where << '\n';
    }
    if (!plugin.problem.empty()) {
      out << "    not usable: " << plugin.problem << '\n';
    }
    if (!plugin.shadowed_by.empty()) {
      out << "    not used by name: " << plugin.shadowed_by << " comes first\n";
    }
  }
}

// What `inspect` finds out about one file, piece by piece.
struct Inspection {
  Manifest manifest;
  std::string sha256;
  std::vector<std::string> symbols;
  std::vector<std::string> problems;
};

constexpr std::size_t kSymbolsShownMax = 5;

// "nothing", or the first few names.
std::string names_of(const std::vector<std::string>& symbols) {
  std::string text;
  for (std::size_t i = 0; i < std::min(symbols.size(), kSymbolsShownMax); ++i) {
    text += (i == 0 ? "" : ", ") + symbols[i];
  }
  if (symbols.size() > kSymbolsShownMax) {
    text += " and " + std::to_string(symbols.size() - kSymbolsShownMax) + " more";
  }
  return text.empty() ? "nothing" : text;
}

Inspection inspect(const fs::path& file, Manifest manifest) {
  Inspection found;
  found.manifest = std::move(manifest);
  const auto note = [&found](const Status& status) {
    if (!status) {
      found.problems.push_back(status.error().message);
    }
  };
  note(check_trusted(file));
  note(check_compatible(found.manifest));
  if (Result<std::string> hash = file_sha256(file)) {
    found.sha256 = *hash;
  }
  Result<std::vector<std::string>> symbols = exported_symbols(file);
  if (symbols) {
    found.symbols = std::move(symbols).value();
  }
  if (found.symbols != std::vector<std::string>{"cm_plugin_entry"}) {
    found.problems.push_back("it exports " + names_of(found.symbols) +
                             ", expected cm_plugin_entry and no other; link it with a version script");
  }
  return found;
}

void print_inspection(const Inspection& found, std::ostream& out) {
  out << config::describe_text(found.manifest) << "\nfile:      " << found.manifest.file.string()
      << "\nsha256:    " << found.sha256 << "\nplugin ABI: " << found.manifest.abi_min.text() << " to "
      << found.manifest.abi_built.text() << "\nplatform:  " << found.manifest.platform << '\n';
  for (const std::string& problem : found.problems) {
    out << "problem:   " << problem << '\n';
  }
}

json::object inspection_json(const Inspection& found) {
  json::error_code error;
  json::value manifest = json::parse(found.manifest.json, error);
  return json::object{{"file", found.manifest.file.string()},
                      {"sha256", found.sha256},
                      {"exported_symbols", to_json(found.symbols)},
                      {"problems", to_json(found.problems)},
                      {"manifest", std::move(manifest)}};
}

std::string describe(const Manifest& manifest, const std::string& format) {
  if (format == "json-schema") {
    return config::describe_json_schema(manifest) + "\n";
  }
  return format == "markdown" ? config::describe_markdown(manifest) : config::describe_text(manifest);
}

using Manifests = std::vector<std::shared_ptr<const Manifest>>;

std::string describe_all(const Manifests& manifests, const std::string& format) {
  return format == "json-schema" ? config::config_json_schema(manifests) + "\n"
                                 : config::config_reference_markdown(manifests);
}

Manifests usable_manifests(PluginCatalog& catalog, const std::vector<fs::path>& plugin_path) {
  Manifests manifests;
  for (const FoundPlugin& plugin : catalog.scan(plugin_path)) {
    if (plugin.problem.empty() && plugin.shadowed_by.empty()) {
      manifests.push_back(plugin.manifest);
    }
  }
  std::sort(manifests.begin(), manifests.end(), [](const auto& a, const auto& b) { return a->name < b->name; });
  return manifests;
}

}  // namespace

int verb_check(const CheckArguments& arguments, VerbContext& context) {
  PluginCatalog catalog(context.environment, context.catalog);
  config::LoadRequest request;
  request.file = arguments.file;
  request.safe_mode = arguments.safe_mode;
  const LoadReport report = config::load_config_report(request, context.environment, catalog);
  const int exit_code = report.config ? 0 : 1;
  if (arguments.json) {
    print_check_json(report, arguments, context.out);
    return exit_code;
  }
  for (const Problem& problem : report.problems) {
    context.err << problem.line() << '\n';
  }
  if (report.problems_left_out > 0) {
    context.err << "and " << report.problems_left_out << " more; correct these first\n";
  }
  if (report.config) {
    for (const Problem& warning : report.config->warnings) {
      context.err << warning.line() << '\n';
    }
    print_check_text(*report.config, arguments, context.out);
  }
  return exit_code;
}

int verb_plugin_list(const PluginListArguments& arguments, VerbContext& context) {
  PluginCatalog catalog(context.environment, context.catalog);
  const std::vector<FoundPlugin> plugins = catalog.scan(arguments.plugin_path);
  if (!arguments.json) {
    print_list(plugins, context.out);
    return 0;
  }
  json::array list;
  for (const FoundPlugin& plugin : plugins) {
    list.push_back(to_json(plugin));
  }
  context.out << json::serialize(json::object{{"plugins", std::move(list)}}) << '\n';
  return 0;
}

int verb_plugin_inspect(const PluginInspectArguments& arguments, VerbContext& context) {
  std::error_code error;
  const fs::path file = fs::absolute(arguments.file, error).lexically_normal();
  Result<Manifest> manifest = read_manifest(file);
  if (!manifest) {
    if (arguments.json) {
      context.out << json::serialize(json::object{{"file", file.string()}, {"error", manifest.error().message}})
                  << '\n';
    } else {
      context.err << manifest.error().message << '\n';
    }
    return 1;
  }
  const Inspection found = inspect(file, std::move(manifest).value());
  if (arguments.json) {
    context.out << json::serialize(inspection_json(found)) << '\n';
  } else {
    print_inspection(found, context.out);
  }
  return found.problems.empty() ? 0 : 1;
}

int verb_plugin_describe(const PluginDescribeArguments& arguments, VerbContext& context) {
  const std::string format = arguments.json ? "json-schema" : arguments.format;
  PluginCatalog catalog(context.environment, context.catalog);
  if (arguments.name.empty() || arguments.name == "host") {
    const Manifests none;
    context.out << describe_all(arguments.name.empty() ? usable_manifests(catalog, arguments.plugin_path) : none,
                                format);
    return 0;
  }
  config::PluginQuery query;
  query.plugin_path = arguments.plugin_path;
  const bool is_file = arguments.name.find('/') != std::string::npos;
  query.use = is_file ? "" : arguments.name;
  query.file = is_file ? fs::absolute(arguments.name).lexically_normal() : fs::path();
  const auto manifest = catalog.find(query);
  if (!manifest) {
    const std::string near = is_file ? "" : options::nearest_name(arguments.name, catalog.known_names(query));
    context.err << manifest.error().message
                << (near.empty() ? "; see: claudemesh plugin list" : "; did you mean \"" + near + "\"?") << '\n';
    return 1;
  }
  context.out << describe(**manifest, format);
  return 0;
}

}  // namespace cm::loader
