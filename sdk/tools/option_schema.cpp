// Does a value fit an option, and does an option fit together?
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "sdk/tools/options.hpp"

namespace cm::options {
namespace {

using Members = std::map<std::string, RawValue, std::less<>>;

const std::vector<std::string>& member_names() {
  static const std::vector<std::string> names{"name",      "type",      "default",    "min",      "max",   "choices",
                                              "unit",      "secret",    "reloadable", "required", "alias", "deprecated",
                                              "extension", "same_loop", "list_of",    "doc"};
  return names;
}

Error wrong(const OptionSpec& spec, const RawValue& value) {
  const std::string found = spec.secret && !std::holds_alternative<std::monostate>(value)
                                ? "a value of another kind or length (a secret, not shown)"
                                : describe_raw(value);
  return make_error(ErrorCode::kInvalid, "found " + found + ", expected " + describe_expected(spec));
}

std::string bound_text(const OptionSpec& spec, std::int64_t bound) {
  switch (spec.type) {
    case OptionType::kDuration:
      return format_duration_ms(bound);
    case OptionType::kSize:
      return format_size_bytes(bound);
    default:
      return std::to_string(bound);
  }
}

std::string range_text(const OptionSpec& spec) {
  std::string from;
  std::string to;
  if (spec.min_int) {
    from = bound_text(spec, *spec.min_int);
  } else if (spec.min_real) {
    from = spell_raw(*spec.min_real);
  }
  if (spec.max_int) {
    to = bound_text(spec, *spec.max_int);
  } else if (spec.max_real) {
    to = spell_raw(*spec.max_real);
  }
  if (from.empty() && to.empty()) {
    return {};
  }
  if (to.empty()) {
    return " of at least " + from;
  }
  return from.empty() ? " of at most " + to : " from " + from + " to " + to;
}

std::string choices_text(const std::vector<std::string>& choices) {
  std::string out;
  for (const std::string& choice : choices) {
    out += (out.empty() ? "" : ", ") + json_quote(choice);
  }
  return out;
}

bool in_range(const OptionSpec& spec, std::int64_t value) noexcept {
  return (!spec.min_int || value >= *spec.min_int) && (!spec.max_int || value <= *spec.max_int);
}

bool is_choice(const OptionSpec& spec, const std::string& text) {
  return spec.choices.empty() || std::find(spec.choices.begin(), spec.choices.end(), text) != spec.choices.end();
}

bool has_zero_byte(std::string_view text) noexcept {
  return text.find('\0') != std::string_view::npos;
}

// True when `text` fits an option or list element of the type.
bool fits_text(OptionType type, const std::string& text, bool may_be_empty) {
  if (text.size() > kTextBytesMax || has_zero_byte(text)) {
    return false;
  }
  if (text.empty()) {
    return type == OptionType::kString || may_be_empty;
  }
  switch (type) {
    case OptionType::kAddress:
      return parse_address(text).ok();
    case OptionType::kPlugin:
      return is_name(text);
    default:
      return true;
  }
}

Result<OptionData> coerce_text(const OptionSpec& spec, const std::string& text) {
  if (!fits_text(spec.type, text, !spec.required && spec.type != OptionType::kChoice) || !is_choice(spec, text)) {
    const std::string near = spec.secret ? std::string() : nearest_name(text, spec.choices);
    Error error = wrong(spec, text);
    error.message += near.empty() ? "" : "; did you mean " + json_quote(near) + "?";
    return error;
  }
  const bool has_length = spec.type == OptionType::kString || spec.type == OptionType::kSecret;
  if (has_length && !in_range(spec, static_cast<std::int64_t>(text.size())) && !(text.empty() && !spec.required)) {
    return wrong(spec, text);
  }
  return OptionData(text);
}

Result<OptionData> coerce_number(const OptionSpec& spec, const RawValue& value) {
  std::int64_t number = 0;
  if (const auto* whole = std::get_if<std::int64_t>(&value); whole != nullptr && spec.type != OptionType::kDuration) {
    number = *whole;
  } else if (const auto* text = std::get_if<std::string>(&value); text != nullptr && spec.type != OptionType::kInt) {
    Result<std::int64_t> parsed =
        spec.type == OptionType::kDuration ? parse_duration_ms(*text) : parse_size_bytes(*text);
    if (!parsed) {
      return wrong(spec, value);
    }
    number = *parsed;
  } else if (whole != nullptr && *whole == 0) {
    number = 0;  // a duration of nothing needs no unit
  } else {
    return wrong(spec, value);
  }
  if (!in_range(spec, number) || (spec.type == OptionType::kSize && number < 0)) {
    return wrong(spec, value);
  }
  return OptionData(number);
}

Result<OptionData> coerce_real(const OptionSpec& spec, const RawValue& value) {
  double real = 0;
  if (const auto* number = std::get_if<double>(&value)) {
    real = *number;
  } else if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    real = static_cast<double>(*whole);
  } else {
    return wrong(spec, value);
  }
  if (!std::isfinite(real) || (spec.min_real && real < *spec.min_real) || (spec.max_real && real > *spec.max_real)) {
    return wrong(spec, value);
  }
  return OptionData(real);
}

Result<OptionData> coerce_list(const OptionSpec& spec, const RawValue& value) {
  const auto* list = std::get_if<std::vector<std::string>>(&value);
  if (list == nullptr || list->size() > kListElementsMax || !in_range(spec, static_cast<std::int64_t>(list->size()))) {
    return wrong(spec, value);
  }
  for (std::size_t index = 0; index < list->size(); ++index) {
    const std::string& element = (*list)[index];
    if (fits_text(spec.list_of, element, false) && is_choice(spec, element)) {
      continue;
    }
    Error error = wrong(spec, element);
    error.message = "element " + std::to_string(index + 1) + ": " + error.message;
    return error;
  }
  return OptionData(*list);
}

// --- building a schema ----------------------------------------------------------------------------------------------

// Reads the members of one option table and collects what is wrong with them.
class SpecReader {
 public:
  SpecReader(const Members& members, std::vector<SpecProblem>& problems) : members_(members), problems_(problems) {}

  OptionSpec read() {
    refuse_unknown();
    OptionSpec spec;
    spec.name = text("name");
    spec.doc = text("doc");
    spec.unit = text("unit");
    spec.extension = text("extension");
    spec.secret = flag("secret");
    spec.reloadable = flag("reloadable");
    spec.required = flag("required");
    spec.same_loop = flag("same_loop");
    spec.choices = list("choices");
    spec.aliases = list("alias");
    const RawValue* deprecated = find("deprecated");
    const bool bare = deprecated != nullptr && std::holds_alternative<bool>(*deprecated);
    spec.deprecated = bare ? (flag("deprecated") ? "it will go away" : "") : text("deprecated");
    if (!read_types(spec)) {
      return spec;  // without a type nothing else can be judged
    }
    check_names(spec);
    check_combination(spec);
    read_bounds(spec);
    read_default(spec);
    return spec;
  }

 private:
  void add(std::string_view key, std::string text) { problems_.push_back({std::string(key), std::move(text)}); }

  const RawValue* find(std::string_view key) const {
    const auto found = members_.find(key);
    return found == members_.end() ? nullptr : &found->second;
  }

  void refuse_unknown() {
    for (const auto& [key, value] : members_) {
      if (std::find(member_names().begin(), member_names().end(), key) != member_names().end()) {
        continue;
      }
      const std::string near = nearest_name(key, member_names());
      add(key, "an option has no member " + json_quote(key) +
                   (near.empty() ? std::string("; remove it") : "; did you mean " + json_quote(near) + "?"));
    }
  }

  template <typename T>
  T get(std::string_view key, std::string_view expected) {
    const RawValue* value = find(key);
    if (value == nullptr) {
      return T{};
    }
    if (const T* typed = std::get_if<T>(value)) {
      return *typed;
    }
    add(key, std::string(key) + ": found " + describe_raw(*value) + ", expected " + std::string(expected));
    return T{};
  }
  std::string text(std::string_view key) { return get<std::string>(key, "text"); }
  bool flag(std::string_view key) { return get<bool>(key, "true or false"); }

  // A list of texts, or one text.
  std::vector<std::string> list(std::string_view key) {
    const RawValue* value = find(key);
    if (value != nullptr && std::holds_alternative<std::string>(*value)) {
      return {std::get<std::string>(*value)};
    }
    return get<std::vector<std::string>>(key, "a list of texts");
  }

  bool read_types(OptionSpec& spec) {
    const std::string type = text("type");
    const std::optional<OptionType> known = type_from_name(type);
    if (!known) {
      const std::vector<std::string> names(type_names().begin(), type_names().end());
      add("type", "type: found " + json_quote(type) + ", expected one of " + choices_text(names));
      return false;
    }
    spec.type = *known;
    spec.secret = spec.secret || spec.type == OptionType::kSecret;
    if (find("list_of") != nullptr) {
      const std::optional<OptionType> element = type_from_name(text("list_of"));
      const bool allowed = element == OptionType::kString || element == OptionType::kPlugin ||
                           element == OptionType::kPath || element == OptionType::kAddress ||
                           element == OptionType::kChoice;
      if (!allowed || spec.type != OptionType::kList) {
        add("list_of", R"(list_of: expected "string", "plugin", "path", "address" or "choice", and the type "list")");
        return false;
      }
      spec.list_of = *element;
    }
    return true;
  }

  void check_names(const OptionSpec& spec) {
    if (!is_name(spec.name) || is_reserved_option(spec.name)) {
      add("name",
          "name: found " + json_quote(spec.name) +
              ", expected [a-z][a-z0-9_]* of at most 64 bytes that is not one of the host's own keys (use, file, "
              "sha256, permissions, loop, enabled, isolation, isolation_*)");
    }
    for (const std::string& alias : spec.aliases) {
      if (!is_name(alias) || is_reserved_option(alias) || alias == spec.name) {
        add("alias", "alias: found " + json_quote(alias) + ", expected another name of the form [a-z][a-z0-9_]*");
      }
    }
    if (spec.doc.empty() || spec.doc.find('\n') != std::string::npos) {
      add("doc", "doc: expected one line that says what the option does");
    }
    if (!spec.extension.empty() && !is_table_id(spec.extension)) {
      add("extension", "extension: found " + json_quote(spec.extension) + R"(, expected an id such as "cm.storage/1")");
    }
  }

  void check_combination(const OptionSpec& spec) {
    const bool textual = spec.type == OptionType::kString || spec.type == OptionType::kSecret;
    if (spec.type == OptionType::kChoice && spec.choices.empty()) {
      add("type", "a choice needs choices: add choices = [\"...\"]");
    }
    const bool may_choose =
        spec.type == OptionType::kChoice || spec.type == OptionType::kList || spec.type == OptionType::kString;
    if (!spec.choices.empty() && !may_choose) {
      add("choices", "choices: only a choice, a string or a list has choices");
    }
    if (spec.secret && !textual) {
      add("secret", "secret: only a string or a secret can be secret");
    }
    if (!spec.refers_to_plugins() && (!spec.extension.empty() || spec.same_loop)) {
      add(spec.same_loop ? "same_loop" : "extension", "extension and same_loop belong to plugin options");
    }
    if (spec.required && find("default") != nullptr) {
      add("required", "an option is either required or has a default: remove one of them");
    }
  }

  std::optional<std::int64_t> whole_bound(const OptionSpec& spec, std::string_view key) {
    const RawValue* value = find(key);
    if (value == nullptr) {
      return std::nullopt;
    }
    OptionSpec bare;
    const bool scaled = spec.type == OptionType::kDuration || spec.type == OptionType::kSize;
    bare.type = scaled ? spec.type : OptionType::kInt;
    Result<OptionData> bound = coerce_value(bare, *value);
    if (!bound) {
      add(key, std::string(key) + ": " + bound.error().message);
      return std::nullopt;
    }
    return std::get<std::int64_t>(*bound);
  }

  std::optional<double> real_bound(std::string_view key) {
    const RawValue* value = find(key);
    if (value == nullptr) {
      return std::nullopt;
    }
    OptionSpec bare;
    bare.type = OptionType::kFloat;
    Result<OptionData> bound = coerce_value(bare, *value);
    if (!bound) {
      add(key, std::string(key) + ": " + bound.error().message);
      return std::nullopt;
    }
    return std::get<double>(*bound);
  }

  void read_bounds(OptionSpec& spec) {
    static constexpr std::array kBounded{OptionType::kInt,  OptionType::kFloat,  OptionType::kDuration,
                                         OptionType::kSize, OptionType::kString, OptionType::kSecret,
                                         OptionType::kList};
    const bool any = find("min") != nullptr || find("max") != nullptr;
    if (any && std::find(kBounded.begin(), kBounded.end(), spec.type) == kBounded.end()) {
      add("min", "min and max do not apply to the type " + std::string(type_name(spec.type)));
      return;
    }
    if (spec.type == OptionType::kFloat) {
      spec.min_real = real_bound("min");
      spec.max_real = real_bound("max");
    } else {
      spec.min_int = whole_bound(spec, "min");
      spec.max_int = whole_bound(spec, "max");
    }
    if ((spec.min_int && spec.max_int && *spec.min_int > *spec.max_int) ||
        (spec.min_real && spec.max_real && *spec.min_real > *spec.max_real)) {
      add("min", "min is larger than max");
    }
  }

  void read_default(OptionSpec& spec) {
    const RawValue* value = find("default");
    if (value == nullptr) {
      return;
    }
    Result<OptionData> fits = coerce_value(spec, *value);
    if (!fits) {
      add("default", "default: " + fits.error().message);
      return;
    }
    spec.default_value = *value;
  }

  const Members& members_;
  std::vector<SpecProblem>& problems_;
};

}  // namespace

std::string describe_expected(const OptionSpec& spec) {
  switch (spec.type) {
    case OptionType::kBool:
      return "true or false";
    case OptionType::kInt:
      return "an integer" + range_text(spec) + (spec.unit.empty() ? "" : " " + spec.unit);
    case OptionType::kFloat:
      return "a number" + range_text(spec) + (spec.unit.empty() ? "" : " " + spec.unit);
    case OptionType::kDuration:
      return R"(a duration such as "250ms", "30s", "5m", "2h" or "7d")" + range_text(spec);
    case OptionType::kSize:
      return R"(a size such as "64KiB", "1MiB" or 512)" + range_text(spec);
    case OptionType::kPath:
      return R"(a path in quotes, such as "~/data" or "/var/lib/x")";
    case OptionType::kAddress:
      return R"("host:port", "[v6 address]:port" or "unix:/path")";
    case OptionType::kPlugin:
      return "the name of an instance" + (spec.extension.empty() ? "" : " that provides " + spec.extension);
    case OptionType::kList: {
      const std::string elements = spec.list_of == OptionType::kString ? "text" : std::string(type_name(spec.list_of));
      const std::string range = range_text(spec);
      return "a list of " + elements + (range.empty() ? "" : " with a length" + range) +
             (spec.choices.empty() ? "" : " out of " + choices_text(spec.choices));
    }
    case OptionType::kChoice:
      return "one of " + choices_text(spec.choices);
    case OptionType::kString:
    case OptionType::kSecret:
      break;
  }
  if (!spec.choices.empty()) {
    return "one of " + choices_text(spec.choices);
  }
  const std::string range = range_text(spec);
  return "text in quotes" + (range.empty() ? "" : " with a length in bytes" + range);
}

Result<OptionData> coerce_value(const OptionSpec& spec, const RawValue& value) {
  switch (spec.type) {
    case OptionType::kBool:
      if (const auto* flag = std::get_if<bool>(&value)) {
        return OptionData(*flag);
      }
      return wrong(spec, value);
    case OptionType::kInt:
    case OptionType::kDuration:
    case OptionType::kSize:
      return coerce_number(spec, value);
    case OptionType::kFloat:
      return coerce_real(spec, value);
    case OptionType::kList:
      return coerce_list(spec, value);
    default:
      if (const auto* text = std::get_if<std::string>(&value)) {
        return coerce_text(spec, *text);
      }
      return wrong(spec, value);
  }
}

OptionSpec make_option_spec(const Members& members, std::vector<SpecProblem>& problems) {
  return SpecReader(members, problems).read();
}

void check_unique_names(std::span<const OptionSpec> specs, std::vector<SpecProblem>& problems) {
  std::set<std::string, std::less<>> seen;
  const auto claim = [&](const std::string& name) {
    if (!seen.insert(name).second) {
      problems.push_back({name, "two options answer to the name " + json_quote(name) + "; rename one of them"});
    }
  };
  for (const OptionSpec& spec : specs) {
    claim(spec.name);
    if (spec.secret) {
      claim(spec.name + "_file");
    }
    std::for_each(spec.aliases.begin(), spec.aliases.end(), claim);
  }
}

}  // namespace cm::options
