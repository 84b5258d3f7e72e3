#include "sdk/checker/check_config.hpp"

#include <claudemesh/ext/storage.h>
#include <claudemesh/ext/transport.h>
#include <toml++/toml.h>

#include <sstream>
#include <vector>

namespace cm::checker {
namespace {

using options::OptionSpec;
using options::OptionType;

std::string spelled(const toml::node& node) {
  std::ostringstream text;
  if (const toml::array* array = node.as_array()) {
    text << "[";
    for (std::size_t i = 0; i < array->size(); ++i) {
      text << (i == 0 ? "" : ", ") << spelled(*array->get(i));
    }
    text << "]";
  } else if (const auto* string = node.as_string()) {
    text << toml_text(string->get());
  } else {
    node.visit([&text](const auto& value) { text << value; });
  }
  return text.str();
}

std::string section(const std::string& name, const toml::table& table) {
  std::string text = "[plugins." + name + "]\n";
  for (const auto& [key, value] : table) {
    text += std::string(key.str()) + " = " + spelled(value) + "\n";
  }
  return text;
}

// A provider of the product for an option that needs one.
struct Companion {
  std::string_view extension;
  std::string_view name;
  std::string_view toml;
};
constexpr Companion kCompanions[] = {
    {CM_STORAGE_ID, "check_store",
     "[plugins.check_store]\nuse = \"storage_sqlite\"\npath = \"/cmsim/check/companion.db\"\nvfs = \"cmsim\"\n"},
    {CM_TRANSPORT_ID, "check_link", "[plugins.check_link]\nuse = \"broker_link\"\n"},
};

std::string provider_of(const OptionSpec& spec, CheckConfig& config) {
  for (const Companion& companion : kCompanions) {
    if (companion.extension != spec.extension) {
      continue;
    }
    if (config.other_plugins.find(companion.toml) == std::string::npos) {
      config.other_plugins += companion.toml;
    }
    return std::string(companion.name);
  }
  return {};
}

std::string plausible(const OptionSpec& spec, CheckConfig& config) {
  switch (spec.type) {
    case OptionType::kBool:
      return "true";
    case OptionType::kInt:
    case OptionType::kDuration:
    case OptionType::kSize:
    case OptionType::kFloat:
      return good_values(spec).front();
    case OptionType::kPath:
      return toml_text("${CM_CHECK_DIR}/" + spec.name);
    case OptionType::kAddress:
      return toml_text("127.0.0.1:0");
    case OptionType::kChoice:
      return toml_text(spec.choices.empty() ? "" : spec.choices.front());
    case OptionType::kPlugin:
      return toml_text(provider_of(spec, config));
    case OptionType::kList: {
      const std::string provider = spec.refers_to_plugins() ? provider_of(spec, config) : "check";
      return provider.empty() ? "[]" : "[" + toml_text(provider) + "]";
    }
    case OptionType::kString:
    case OptionType::kSecret:
      return toml_text("check");
  }
  return toml_text("check");
}

std::string number_of(const OptionSpec& spec, std::int64_t value) {
  switch (spec.type) {
    case OptionType::kDuration:
      return toml_text(options::format_duration_ms(value));
    case OptionType::kSize:
      return toml_text(options::format_size_bytes(value));
    default:
      return std::to_string(value);
  }
}

std::string number_of(double value) {
  std::ostringstream text;
  text << std::showpoint << value;
  return text.str();
}

std::string text_of_length(std::int64_t length) {
  return toml_text(std::string(static_cast<std::size_t>(std::max<std::int64_t>(0, length)), 'x'));
}

void add_bad_range(const OptionSpec& spec, std::vector<std::string>& values) {
  const bool is_number =
      spec.type == OptionType::kInt || spec.type == OptionType::kDuration || spec.type == OptionType::kSize;
  if (is_number && spec.min_int && (spec.type == OptionType::kInt || *spec.min_int > 0)) {
    values.push_back(number_of(spec, *spec.min_int - 1));
  }
  if (is_number && spec.max_int) {
    values.push_back(number_of(spec, *spec.max_int + 1));
  }
  if (spec.type == OptionType::kFloat && spec.max_real) {
    values.push_back(number_of(*spec.max_real * 2 + 1));
  }
  if (spec.type == OptionType::kString && spec.max_int && *spec.max_int < 65'536) {
    values.push_back(text_of_length(*spec.max_int + 1));
  }
}

}  // namespace

std::string toml_text(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      result += escaped;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

Result<CheckConfig> read_check_config(const std::filesystem::path& file) {
  CheckConfig config;
  try {
    const toml::table root = toml::parse_file(file.string());
    for (const auto& [key, value] : root) {
      const std::string name(key.str());
      const toml::table* table = value.as_table();
      if (table == nullptr) {
        config.values[name] = spelled(value);
      } else if (name == "plugins") {
        for (const auto& [instance, options] : *table) {
          if (options.is_table()) {
            config.other_plugins += section(std::string(instance.str()), *options.as_table());
          }
        }
      } else if (name == "check") {
        config.durable = (*table)["durable"].value_or(config.durable);
        config.url = (*table)["url"].value_or(config.url);
      } else {
        return make_error(ErrorCode::kInvalid, file.string() + ": found the table [" + name +
                                                   "], expected values, [plugins.NAME] or [check]");
      }
    }
  } catch (const toml::parse_error& error) {
    return make_error(ErrorCode::kInvalid, file.string() + ":" + std::to_string(error.source().begin.line) + ": " +
                                               std::string(error.description()) + "; correct the file");
  }
  return config;
}

CheckConfig complete(CheckConfig config, const config::Manifest& manifest) {
  for (const OptionSpec& spec : manifest.options) {
    if (spec.required && !config.values.contains(spec.name)) {
      config.values[spec.name] = plausible(spec, config);
    }
  }
  return config;
}

std::vector<std::string> good_values(const OptionSpec& spec) {
  std::vector<std::string> values;
  switch (spec.type) {
    case OptionType::kBool:
      return {"true", "false"};
    case OptionType::kInt:
    case OptionType::kDuration:
    case OptionType::kSize: {
      const std::int64_t low = spec.min_int.value_or(1);
      const std::int64_t high = spec.max_int.value_or(low + 1'000'000);
      return {number_of(spec, low), number_of(spec, low + (high - low) / 2), number_of(spec, high)};
    }
    case OptionType::kFloat: {
      const double low = spec.min_real.value_or(0);
      const double high = spec.max_real.value_or(low + 1);
      return {number_of(low), number_of((low + high) / 2), number_of(high)};
    }
    case OptionType::kChoice:
      for (const std::string& choice : spec.choices) {
        values.push_back(toml_text(choice));
      }
      return values;
    case OptionType::kString:
    case OptionType::kSecret:
      values = {toml_text(""), toml_text("x"), toml_text("\xc3\xa4 \xf0\x9f\x98\x80 \t\"'\\ %s%n ${"),
                text_of_length(spec.max_int.value_or(4096))};
      values[2] = toml_text("\xc3\xa4 \xf0\x9f\x98\x80 \t\"'\\ %s%n");
      return values;
    case OptionType::kList:
      return spec.refers_to_plugins() ? values : std::vector<std::string>{"[]", "[\"x\"]", "[\"\", \"y\", \"y\"]"};
    case OptionType::kPath:
    case OptionType::kAddress:
    case OptionType::kPlugin:
      return values;  // what they name must exist; only the author knows
  }
  return values;
}

std::vector<std::string> bad_values(const OptionSpec& spec) {
  std::vector<std::string> values;
  switch (spec.type) {
    case OptionType::kBool:
      values = {"1", toml_text("true")};
      break;
    case OptionType::kInt:
      values = {toml_text("5"), "1.5", "true"};
      break;
    case OptionType::kFloat:
      values = {toml_text("1.0"), "true"};
      break;
    case OptionType::kDuration:
      values = {toml_text("soon"), toml_text("-1s"), "true", "[]"};
      break;
    case OptionType::kSize:
      values = {toml_text("big"), toml_text("-1"), "true", "[]"};
      break;
    case OptionType::kChoice:
      values = {toml_text("none_of_the_choices_for_sure"), "1"};
      break;
    case OptionType::kAddress:
      values = {toml_text("nowhere"), toml_text("127.0.0.1:99999"), "80"};
      break;
    case OptionType::kPlugin:
      values = {toml_text("no_such_instance"), "1"};
      break;
    case OptionType::kList:
      values = {toml_text("x"), "[1]", "1"};
      break;
    case OptionType::kString:
    case OptionType::kSecret:
    case OptionType::kPath:
      values = {"1", "true", "[\"x\"]"};
      break;
  }
  add_bad_range(spec, values);
  return values;
}

}  // namespace cm::checker
