#include "host/config/describe.hpp"

#include <algorithm>

namespace cm::config {
namespace {

using options::json_quote;

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const std::string& word : words) {
    out += (out.empty() ? "" : std::string(separator)) + word;
  }
  return out;
}

std::string default_text(const OptionSpec& spec) {
  if (spec.required) {
    return "required";
  }
  return spec.default_value ? options::spell_raw(*spec.default_value) : "not set";
}

// "secret, reloadable; old name: x"
std::string remarks(const OptionSpec& spec) {
  std::vector<std::string> words;
  if (spec.secret) {
    words.push_back("secret; or " + spec.name + "_file = \"/path\"");
  }
  if (spec.reloadable) {
    words.emplace_back("reloadable");
  }
  if (spec.same_loop) {
    words.emplace_back("shares the loop");
  }
  if (!spec.aliases.empty()) {
    words.push_back("old name: " + join(spec.aliases, ", "));
  }
  if (!spec.deprecated.empty()) {
    words.push_back("deprecated: " + spec.deprecated);
  }
  return join(words, "; ");
}

std::string cell(std::string text) {
  for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) {
    text.replace(at, 1, "\\|");
  }
  return text;
}

std::string option_table(std::span<const OptionSpec> specs) {
  if (specs.empty()) {
    return "No options.\n";
  }
  std::string out = "| key | expects | default | meaning |\n|---|---|---|---|\n";
  for (const OptionSpec& spec : specs) {
    const std::string extra = remarks(spec);
    out += "| `" + spec.name + "` | " + cell(options::describe_expected(spec)) + " | `" + cell(default_text(spec)) +
           "` | " + cell(spec.doc) + (extra.empty() ? "" : " (" + cell(extra) + ")") + " |\n";
  }
  return out;
}

// --- JSON Schema ----------------------------------------------------------------------------------------------------

constexpr std::string_view kVariablePattern = R"("\\$\\{")";

void add_member(std::string& object, std::string_view key, std::string_view json) {
  object += (object.back() == '{' ? "" : ",") + json_quote(key) + ":" + std::string(json);
}

std::string json_list(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const std::string& word : words) {
    out += (out.size() > 1 ? "," : "") + json_quote(word);
  }
  return out + "]";
}

void add_range(std::string& object, const OptionSpec& spec, std::string_view low, std::string_view high) {
  if (spec.min_int) {
    add_member(object, low, std::to_string(*spec.min_int));
  } else if (spec.min_real) {
    add_member(object, low, options::spell_raw(*spec.min_real));
  }
  if (spec.max_int) {
    add_member(object, high, std::to_string(*spec.max_int));
  } else if (spec.max_real) {
    add_member(object, high, options::spell_raw(*spec.max_real));
  }
}

std::string text_schema(std::string_view pattern) {
  return R"({"type":"string","pattern":)" + std::string(pattern) + "}";
}

// The schema of the value itself, before ${VARIABLES} are allowed.
std::string value_schema(const OptionSpec& spec) {
  std::string out = "{";
  switch (spec.type) {
    case OptionType::kBool:
      return R"({"type":"boolean"})";
    case OptionType::kInt:
    case OptionType::kFloat:
      add_member(out, "type", spec.type == OptionType::kInt ? "\"integer\"" : "\"number\"");
      add_range(out, spec, "minimum", "maximum");
      return out + "}";
    case OptionType::kDuration:
      return text_schema(R"("^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$")");
    case OptionType::kSize:
      return R"({"anyOf":[{"type":"integer","minimum":0},)" + text_schema(R"("^[0-9]+(B|KiB|MiB|GiB|TiB)?$")") + "]}";
    case OptionType::kAddress:
      return text_schema(R"re("^(unix:.+|\\[[0-9A-Fa-f:.%]+.*\\]:[0-9]+|[A-Za-z0-9._-]+:[0-9]+)?$")re");
    case OptionType::kPlugin:
      return text_schema(R"("^([a-z][a-z0-9_]*)?$")");
    case OptionType::kList:
      add_member(out, "type", "\"array\"");
      add_member(out, "items",
                 spec.choices.empty() ? R"({"type":"string"})" : "{\"enum\":" + json_list(spec.choices) + "}");
      add_range(out, spec, "minItems", "maxItems");
      return out + "}";
    default:
      break;
  }
  if (!spec.choices.empty()) {
    add_member(out, "enum", json_list(spec.choices));
    return out + "}";
  }
  return R"({"type":"string"})";
}

std::string property_schema(const OptionSpec& spec) {
  std::string out = "{";
  add_member(out, "description", json_quote(spec.doc));
  if (!spec.deprecated.empty()) {
    add_member(out, "deprecated", "true");
  }
  if (spec.secret) {
    add_member(out, "writeOnly", "true");
  }
  if (spec.default_value && !spec.secret) {
    add_member(out, "default", options::spell_raw(*spec.default_value));
  }
  add_member(out, "anyOf", "[" + value_schema(spec) + "," + text_schema(kVariablePattern) + "]");
  return out + "}";
}

std::string object_schema(std::string_view title, std::string_view doc, std::span<const OptionSpec> specs,
                          std::span<const OptionSpec> more = {}) {
  std::string properties = "{";
  std::string demands;  // one entry per required option: NAME, or NAME_file of a secret
  const auto add = [&](const OptionSpec& spec) {
    const std::string schema = property_schema(spec);
    add_member(properties, spec.name, schema);
    std::string ways = R"({"required":[)" + json_quote(spec.name) + "]}";
    if (spec.secret) {
      add_member(properties, spec.name + "_file", R"({"type":"string","description":"File with )" + spec.name + ".\"}");
      ways += R"(,{"required":[)" + json_quote(spec.name + "_file") + "]}";
    }
    for (const std::string& alias : spec.aliases) {
      add_member(properties, alias, schema);
      ways += R"(,{"required":[)" + json_quote(alias) + "]}";
    }
    if (spec.required) {
      demands += (demands.empty() ? "" : ",") + (R"({"anyOf":[)" + ways + "]}");
    }
  };
  std::for_each(specs.begin(), specs.end(), add);
  std::for_each(more.begin(), more.end(), add);
  std::string out = "{";
  add_member(out, "title", json_quote(title));
  add_member(out, "description", json_quote(doc));
  add_member(out, "type", "\"object\"");
  add_member(out, "additionalProperties", "false");
  add_member(out, "properties", properties + "}");
  if (!demands.empty()) {
    add_member(out, "allOf", "[" + demands + "]");
  }
  return out + "}";
}

std::string plugin_schema(const Manifest& manifest) {
  return object_schema(manifest.name, manifest.description, instance_section().options, manifest.options);
}

constexpr std::string_view kDialect = R"("https://json-schema.org/draft/2020-12/schema")";

std::string with_dialect(const std::string& schema) {
  return "{\"$schema\":" + std::string(kDialect) + "," + schema.substr(1);
}

std::string list_or_none(const std::vector<std::string>& words) {
  return words.empty() ? "none" : join(words, ", ");
}

}  // namespace

std::string describe_text(const Manifest& manifest) {
  std::string out = manifest.name + " " + manifest.version + " (" + manifest.id + ")\n" + manifest.description +
                    "\n\nlicense:   " + manifest.license + "\nkinds:     " + list_or_none(manifest.kinds) +
                    "\nprovides:  " + list_or_none(manifest.provides) +
                    "\nasks for:  " + list_or_none(manifest.host_tables) +
                    "\n\n[plugins.NAME]\nuse = " + json_quote(manifest.name) + "\n";
  for (const OptionSpec& spec : manifest.options) {
    const std::string extra = remarks(spec);
    out += "\n# " + spec.doc + "\n# Expects " + options::describe_expected(spec) + "." +
           (extra.empty() ? "" : "\n# (" + extra + ")") + "\n";
    out += spec.required        ? spec.name + " = ...  # required\n"
           : spec.default_value ? "# " + spec.name + " = " + options::spell_raw(*spec.default_value) + "\n"
                                : "# " + spec.name + " = ...  # not set\n";
  }
  return out;
}

std::string describe_markdown(const Manifest& manifest) {
  return "## `use = \"" + manifest.name + "\"`\n\n" + manifest.description + "\n\nId `" + manifest.id + "`; provides " +
         list_or_none(manifest.provides) + "; asks for " + list_or_none(manifest.host_tables) + ".\n\n" +
         option_table(manifest.options);
}

std::string describe_json_schema(const Manifest& manifest) {
  return with_dialect(plugin_schema(manifest));
}

std::string config_reference_markdown(std::span<const std::shared_ptr<const Manifest>> manifests) {
  std::string out =
      "# Configuration reference\n\nGenerated from the schemas; do not edit. Strings may hold `${NAME}` or "
      "`${NAME:-default}`. The top-level key `include = [\"common.toml\"]` reads other files first; later keys win.\n";
  for (const SectionSpec& section : host_sections()) {
    out += "\n## `[" + section.name + "]`\n\n" + section.doc + "\n\n" + option_table(section.options);
  }
  out += "\n## `[" + instance_section().name + "]`\n\n" + instance_section().doc + "\n\n" +
         option_table(instance_section().options);
  for (const auto& manifest : manifests) {
    out += "\n" + describe_markdown(*manifest);
  }
  return out;
}

std::string config_json_schema(std::span<const std::shared_ptr<const Manifest>> manifests) {
  std::string properties = "{";
  add_member(properties, "include", R"({"type":"array","items":{"type":"string"}})");
  for (const SectionSpec& section : host_sections()) {
    std::string schema = object_schema(section.name, section.doc, section.options);
    if (section.name == "log") {
      const std::string levels =
          R"("levels":{"type":"object","additionalProperties":)" + property_schema(section.options.front()) + "},";
      const std::string_view anchor = "\"properties\":{";
      schema.insert(schema.find(anchor) + anchor.size(), levels);
    }
    add_member(properties, section.name, schema);
  }
  // A table is judged by the schema of the plugin that `use` names; without `use` its name is the plugin.
  std::string cases = manifests.empty() ? "[true" : "[";  // allOf must not be empty
  for (const auto& manifest : manifests) {
    cases += std::string(cases.size() > 1 ? "," : "") + R"({"if":{"properties":{"use":{"enum":[)" +
             json_quote(manifest->name) + "," + json_quote(manifest->id) + R"(]}},"required":["use"]},"then":)" +
             plugin_schema(*manifest) + "}";
  }
  add_member(properties, "plugins",
             R"({"type":"object","additionalProperties":{"type":"object","allOf":)" + cases + "]}}");
  std::string out = "{";
  add_member(out, "$schema", kDialect);
  add_member(out, "title", "\"claudemesh configuration\"");
  add_member(out, "type", "\"object\"");
  add_member(out, "additionalProperties", "false");
  add_member(out, "properties", properties + "}");
  return out + "}";
}

}  // namespace cm::config
