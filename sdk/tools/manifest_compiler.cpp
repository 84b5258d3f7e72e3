// cm-manifest plugin.toml OUT VERSION: checks a plugin's description and writes its manifest as C (or, when OUT ends
// with
// ".json", as JSON). Every complaint is "file:line:column: error: ...", as compilers write it, so that editors jump
// there.
#include <claudemesh/abi.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "sdk/tools/options.hpp"

namespace {

using cm::options::OptionSpec;
using cm::options::RawValue;

constexpr std::size_t kLiteralBytesMax = 96;  // per line of the generated file

struct PluginDescription {
  std::string id;
  std::string name;
  std::string version;
  std::string description;
  std::string license;
  std::string abi_min;
  std::vector<std::string> kinds;
  std::vector<std::string> requires_;
  std::vector<std::string> provides;
  std::vector<OptionSpec> options;
};

// Prints complaints and counts them.
class Report {
 public:
  explicit Report(std::string file) : file_(std::move(file)) {}

  void error(const toml::source_region& where, std::string_view text) {
    std::cerr << file_ << ':' << where.begin.line << ':' << where.begin.column << ": error: " << text << '\n';
    ++errors_;
  }
  bool failed() const noexcept { return errors_ > 0; }

 private:
  std::string file_;
  int errors_ = 0;
};

RawValue to_raw(const toml::node& node) {
  if (const auto* flag = node.as_boolean()) {
    return flag->get();
  }
  if (const auto* number = node.as_integer()) {
    return number->get();
  }
  if (const auto* real = node.as_floating_point()) {
    return real->get();
  }
  if (const auto* text = node.as_string()) {
    return text->get();
  }
  const toml::array* array = node.as_array();
  if (array == nullptr) {
    return {};
  }
  std::vector<std::string> list;
  for (const toml::node& element : *array) {
    if (!element.is_string()) {
      return {};
    }
    list.push_back(element.as_string()->get());
  }
  return list;
}

// Reads [plugin].
class PluginReader {
 public:
  PluginReader(const toml::table& table, Report& report) : table_(table), report_(report) {}

  PluginDescription read(const std::string& default_version) {
    refuse_unknown();
    PluginDescription plugin;
    plugin.id = text("id", true, cm::options::is_plugin_id, R"(a reverse domain such as "org.example.hello")");
    plugin.name = text("name", true, cm::options::is_name, "[a-z][a-z0-9_]* of at most 64 bytes");
    plugin.version = text("version", false, cm::options::is_version, R"(a version such as "1.4.0")");
    plugin.description = text("description", true, is_one_line, "one line of text");
    plugin.license = text("license", true, is_one_line, R"(an SPDX expression such as "MIT")");
    plugin.abi_min = text("abi_min", false, is_abi_version, R"(an ABI version such as "1.0")");
    plugin.kinds = list("kinds", is_one_line, R"(words such as "storage")");
    plugin.requires_ = list("requires", cm::options::is_table_id, R"(host tables such as "cm.timer/1")");
    plugin.provides = list("provides", cm::options::is_table_id, R"(extensions such as "cm.storage/1")");
    if (plugin.version.empty()) {
      plugin.version = default_version;
    }
    return plugin;
  }

 private:
  static bool is_one_line(std::string_view text) noexcept {
    return !text.empty() && text.find('\n') == std::string_view::npos;
  }
  static bool is_abi_version(std::string_view text) noexcept {
    return text.size() >= 3 && text.find_first_not_of("0123456789.") == std::string_view::npos &&
           std::count(text.begin(), text.end(), '.') == 1 && text.front() != '.' && text.back() != '.';
  }

  void refuse_unknown() {
    const std::vector<std::string> known{"id",      "name",  "version",  "description", "license",
                                         "abi_min", "kinds", "requires", "provides"};
    for (const auto& [key, node] : table_) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) {
        continue;
      }
      const std::string near = cm::options::nearest_name(key.str(), known);
      report_.error(key.source(), "[plugin] has no member \"" + std::string(key.str()) + "\"" +
                                      (near.empty() ? "; remove it" : "; did you mean \"" + near + "\"?"));
    }
  }

  using Check = bool (*)(std::string_view) noexcept;

  std::string text(std::string_view key, bool required, Check check, std::string_view expected) {
    const toml::node* node = table_.get(key);
    if (node == nullptr) {
      if (required) {
        report_.error(table_.source(), "[plugin] needs " + std::string(key) + ": expected " + std::string(expected));
      }
      return {};
    }
    const auto* value = node->as_string();
    if (value == nullptr || !check(value->get())) {
      report_.error(node->source(), std::string(key) + ": found " + cm::options::describe_raw(to_raw(*node)) +
                                        ", expected " + std::string(expected));
      return {};
    }
    return value->get();
  }

  std::vector<std::string> list(std::string_view key, Check check, std::string_view expected) {
    const toml::node* node = table_.get(key);
    if (node == nullptr) {
      return {};
    }
    RawValue raw = to_raw(*node);
    auto* values = std::get_if<std::vector<std::string>>(&raw);
    if (values == nullptr) {
      report_.error(node->source(), std::string(key) + ": expected a list of " + std::string(expected));
      return {};
    }
    std::set<std::string> seen;
    for (const std::string& value : *values) {
      if (!check(value) || !seen.insert(value).second) {
        report_.error(node->source(),
                      std::string(key) + ": found \"" + value + "\", expected distinct " + std::string(expected));
      }
    }
    return *values;
  }

  const toml::table& table_;
  Report& report_;
};

std::vector<OptionSpec> read_options(const toml::array& array, Report& report) {
  std::vector<OptionSpec> specs;
  std::map<std::string, toml::source_region> where;
  for (const toml::node& node : array) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      report.error(node.source(), "expected a table: [[option]]");
      continue;
    }
    std::map<std::string, RawValue, std::less<>> members;
    for (const auto& [key, value] : *table) {
      members.emplace(key.str(), to_raw(value));
    }
    std::vector<cm::options::SpecProblem> problems;
    OptionSpec spec = cm::options::make_option_spec(members, problems);
    for (const auto& problem : problems) {
      const toml::node* at = table->get(problem.key);
      report.error(at == nullptr ? table->source() : at->source(), "option \"" + spec.name + "\": " + problem.text);
    }
    where.emplace(spec.name, table->source());
    specs.push_back(std::move(spec));
  }
  std::vector<cm::options::SpecProblem> doubled;
  cm::options::check_unique_names(specs, doubled);
  for (const auto& problem : doubled) {
    const auto at = where.find(problem.key);
    report.error(at == where.end() ? array.source() : at->second, problem.text);
  }
  return specs;
}

PluginDescription read_description(const toml::table& root, const std::string& version, Report& report) {
  for (const auto& [key, node] : root) {
    if (key.str() != "plugin" && key.str() != "option") {
      report.error(key.source(), "found \"" + std::string(key.str()) + "\", expected [plugin] and [[option]]");
    }
  }
  const toml::table* plugin = root["plugin"].as_table();
  if (plugin == nullptr) {
    report.error(root.source(), "there is no [plugin] table; begin the file with one");
    return {};
  }
  PluginDescription description = PluginReader(*plugin, report).read(version);
  if (const toml::node* options = root.get("option")) {
    if (options->is_array()) {
      description.options = read_options(*options->as_array(), report);
    } else {
      report.error(options->source(), "option: expected [[option]] with two brackets");
    }
  }
  return description;
}

std::string json_list(const std::vector<std::string>& values) {
  std::string json = "[";
  for (const std::string& value : values) {
    json += (json.size() > 1 ? "," : "") + cm::options::json_quote(value);
  }
  return json + "]";
}

std::string abi_text(std::uint32_t version) {
  return std::to_string(version >> 16) + "." + std::to_string(version & 0xffff);
}

// The manifest around the name of the platform, which only the C compiler knows when it compiles for another machine.
std::pair<std::string, std::string> manifest_json(const PluginDescription& plugin) {
  using cm::options::json_quote;
  const std::string options = cm::options::options_to_json(plugin.options);
  const std::string abi_min = plugin.abi_min.empty() ? abi_text(CM_ABI_VERSION_1_0) : plugin.abi_min;
  std::string head = "{\"id\":" + json_quote(plugin.id) + ",\"name\":" + json_quote(plugin.name) +
                     ",\"version\":" + json_quote(plugin.version) + ",\"abi\":{\"min\":" + json_quote(abi_min) +
                     ",\"built\":" + json_quote(abi_text(CM_ABI_VERSION_CURRENT)) +
                     "},\"description\":" + json_quote(plugin.description) +
                     ",\"license\":" + json_quote(plugin.license) + ",\"kinds\":" + json_list(plugin.kinds) +
                     ",\"requires\":" + json_list(plugin.requires_) + ",\"provides\":" + json_list(plugin.provides) +
                     ",\"platform\":\"";
  std::string tail =
      "\",\"config_schema_hash\":\"" + cm::options::sha256_hex(options) + "\",\"options\":" + options + "}";
  return {std::move(head), std::move(tail)};
}

// C string literals, one per line. '?' is escaped because strict C11 still knows trigraphs.
void write_literals(std::ostream& out, std::string_view text) {
  std::string line;
  const auto flush = [&] {
    out << "  \"" << line << "\" \\\n";
    line.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\' || c == '?') {
      line += '\\';
      line += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      char octal[8];
      std::snprintf(octal, sizeof(octal), "\\%03o", static_cast<unsigned>(byte));
      line += octal;
    } else {
      line += c;
    }
    if (line.size() >= kLiteralBytesMax) {
      flush();
    }
  }
  flush();
}

void write_c(std::ostream& out, const std::pair<std::string, std::string>& json) {
  out << "/* Written by cm-manifest; changes go to plugin.toml. */\n"
         "#include <claudemesh/plugin.h>\n\n"
         "#if defined(__x86_64__)\n#define MANIFEST_PLATFORM \"linux-x86_64\"\n"
         "#elif defined(__aarch64__)\n#define MANIFEST_PLATFORM \"linux-aarch64\"\n"
         "#elif defined(__riscv)\n#define MANIFEST_PLATFORM \"linux-riscv64\"\n"
         "#else\n#error \"this platform has no name in manifests yet; add it to cm-manifest\"\n#endif\n\n"
         "/* A manifest is one literal, longer than C11 promises and than any compiler minds. */\n"
         "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n\n"
         "#define MANIFEST_JSON \\\n";
  write_literals(out, json.first);
  out << "  MANIFEST_PLATFORM \\\n";
  write_literals(out, json.second);
  out << "\nCM_PLUGIN_MANIFEST(MANIFEST_JSON);\n";
}

std::string_view own_platform() {
#if defined(__aarch64__)
  return "linux-aarch64";
#elif defined(__riscv)
  return "linux-riscv64";
#else
  return "linux-x86_64";
#endif
}

int compile(const std::string& input, const std::string& output, const std::string& version) {
  Report report(input);
  PluginDescription plugin;
  try {
    const toml::table root = toml::parse_file(input);
    plugin = read_description(root, version, report);
  } catch (const toml::parse_error& error) {
    report.error(error.source(), error.description());
  }
  if (report.failed()) {
    return 1;
  }
  const auto json = manifest_json(plugin);
  std::ostringstream text;
  if (output.ends_with(".json")) {
    text << json.first << own_platform() << json.second << '\n';
  } else {
    write_c(text, json);
  }
  std::ofstream out(output, std::ios::binary | std::ios::trunc);
  out << text.str();
  out.close();
  if (!out) {
    std::cerr << output << ": error: cannot be written; check the folder and the free space\n";
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() != 3 || !cm::options::is_version(arguments[2])) {
    std::cerr << "usage: cm-manifest plugin.toml OUT.c|OUT.json VERSION (such as 1.4.0)\n";
    return 2;
  }
  return compile(arguments[0], arguments[1], arguments[2]);
}
