// Option schemas as data: what a plugin's option looks like, and whether a value fits it. Shared by the manifest
// compiler (plugin.toml) and the host (manifest and configuration), so that both refuse the same things with the same
// words.
//
// Everything here is pure: no files, no environment, no clock. Usable on any thread.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cm::options {

inline constexpr std::size_t kNameBytesMax = 64;
inline constexpr std::size_t kTextBytesMax = 64 * 1024;
inline constexpr std::size_t kListElementsMax = 4096;

enum class OptionType : std::uint8_t {
  kBool,
  kInt,
  kFloat,
  kString,
  kDuration,  // milliseconds
  kSize,      // bytes
  kPath,
  kAddress,
  kSecret,
  kChoice,
  kList,
  kPlugin,
};

// A value as a file spells it. monostate: something that no option accepts (a table, a date, a list with a non-text
// element).
using RawValue = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>>;

// A value that fits its option: durations are milliseconds, sizes are bytes, everything textual is std::string.
using OptionData = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

struct OptionSpec {
  std::string name;
  OptionType type = OptionType::kString;
  OptionType list_of = OptionType::kString;  // of a list
  std::optional<RawValue> default_value;     // as spelled by the author; fits (checked by make_option_spec)
  std::optional<std::int64_t> min_int;       // int, duration (ms), size (bytes), text (bytes), list (elements)
  std::optional<std::int64_t> max_int;
  std::optional<double> min_real;  // float
  std::optional<double> max_real;
  std::vector<std::string> choices;
  std::string unit;
  bool secret = false;  // also true for the type kSecret
  bool reloadable = false;
  bool required = false;
  bool same_loop = false;
  std::vector<std::string> aliases;
  std::string deprecated;  // what to use instead; empty: not deprecated
  std::string extension;   // of plugin options
  std::string doc;

  // True for a plugin option or a list of them.
  bool refers_to_plugins() const noexcept {
    return type == OptionType::kPlugin || (type == OptionType::kList && list_of == OptionType::kPlugin);
  }
  friend bool operator==(const OptionSpec&, const OptionSpec&) = default;
};

// "duration" for kDuration, and back. nullopt: no such type.
std::string_view type_name(OptionType type) noexcept;
std::optional<OptionType> type_from_name(std::string_view name) noexcept;
std::span<const std::string_view> type_names() noexcept;

// "30s", "1h30m" (descending units), "0" -> milliseconds. kInvalid with found and expected.
Result<std::int64_t> parse_duration_ms(std::string_view text);
// "64KiB", "512" -> bytes. kInvalid with found and expected.
Result<std::int64_t> parse_size_bytes(std::string_view text);
// The shortest exact spelling: "1m30s", "64KiB".
std::string format_duration_ms(std::int64_t duration_ms);
std::string format_size_bytes(std::int64_t size_bytes);

// An address in parts. Unix: `path` set; otherwise host (without brackets) and port (0..65535).
struct Address {
  std::string host;
  std::uint16_t port = 0;
  std::string path;
  bool is_unix() const noexcept { return !path.empty(); }
};
// "host:port", "[v6]:port", "unix:/path". kInvalid with found and expected.
Result<Address> parse_address(std::string_view text);

// [a-z][a-z0-9_]*, at most kNameBytesMax bytes: options, plugins, instances.
bool is_name(std::string_view text) noexcept;
// "org.example.hello": at least two dot-separated words of [a-z0-9][a-z0-9_-]*, the first beginning with a letter.
bool is_plugin_id(std::string_view text) noexcept;
// "cm.timer/1": a dotted word, a slash, a revision from 1.
bool is_table_id(std::string_view text) noexcept;
// "1.4.0" or "1.4.0-rc1".
bool is_version(std::string_view text) noexcept;
// Names of [plugins.NAME] keys that belong to the host; an option must not be called so.
bool is_reserved_option(std::string_view name) noexcept;

// The candidate with the smallest edit distance, if it is near enough to be a misspelling; empty otherwise.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// What a person reads about a raw value: the text "abc", the integer 5, a list. Never called with a secret.
std::string describe_raw(const RawValue& value);
// The value in TOML's spelling, for documents: "30s" in quotes, true, ["a", "b"].
std::string spell_raw(const RawValue& value);
// What the option accepts: a duration such as "30s", from 10ms to 1m.
std::string describe_expected(const OptionSpec& spec);

// Converts and checks one value. The error says "found ..., expected ..." without the option's name and, for a secret,
// without the value. kInvalid.
Result<OptionData> coerce_value(const OptionSpec& spec, const RawValue& value);

// One complaint about a schema. `key` is the member at fault, so that the caller can point at its line.
struct SpecProblem {
  std::string key;
  std::string text;
};
// Builds an option from the members of its table ("name", "type", ...; see README). On return without problems the
// result is consistent: ranges ordered, the default fits.
OptionSpec make_option_spec(const std::map<std::string, RawValue, std::less<>>& members,
                            std::vector<SpecProblem>& problems);
// Names and aliases must be unique within one schema. Appends to `problems`; `key` is the doubled name.
void check_unique_names(std::span<const OptionSpec> specs, std::vector<SpecProblem>& problems);

// The options as canonical JSON (sorted keys, no white space, defaulted members left out): the text whose SHA-256 is
// the manifest's config_schema_hash.
std::string options_to_json(std::span<const OptionSpec> specs);
// A JSON string literal with quotes.
std::string json_quote(std::string_view text);
// Lower-case hex SHA-256. Needs no initialisation.
std::string sha256_hex(std::string_view bytes);

}  // namespace cm::options
