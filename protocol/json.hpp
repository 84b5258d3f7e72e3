// A small bounded JSON tree with JavaScript's number and duplicate-key semantics, and the writer primitives of all
// serialisers. Own, because the canonical forms need what the general libraries do not give: correctly rounded doubles,
// lone surrogates, last-wins duplicates in insertion order. The hot messages do not pass through here
// (wire_reader.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <claudemesh/cpp/result.hpp>

namespace cm::protocol {

inline constexpr std::size_t kJsonMaxDepth = 64;                       // nesting of arrays and objects
inline constexpr std::size_t kJsonMaxBytesDefault = 16 * 1024 * 1024;  // input size

// JSON.parse accepts "\ud800" alone. kReject: an error (RFC 8785). kReplace: U+FFFD (texts for people and the wire).
// kKeep: stored as the three-byte form (WTF-8) and written back as the escape, as JSON.stringify does.
enum class LoneSurrogates { kReject, kReplace, kKeep };

struct JsonLimits {
  std::size_t max_bytes = kJsonMaxBytesDefault;
  std::size_t max_depth = kJsonMaxDepth;
  LoneSurrogates lone_surrogates = LoneSurrogates::kReplace;
};

struct JsonMember;

// A value; copying copies the whole tree. Objects keep insertion order; a duplicate key keeps its first place and its
// last value, as in JavaScript.
class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };

  JsonValue();
  explicit JsonValue(bool value);
  explicit JsonValue(double value);
  explicit JsonValue(std::string value);
  explicit JsonValue(std::string_view value);
  explicit JsonValue(const char* value);
  explicit JsonValue(Array value);
  explicit JsonValue(Object value);
  JsonValue(const JsonValue&);
  JsonValue(JsonValue&&) noexcept;
  JsonValue& operator=(const JsonValue&);
  JsonValue& operator=(JsonValue&&) noexcept;
  ~JsonValue();

  Kind kind() const noexcept { return static_cast<Kind>(state_.index()); }
  bool is_null() const noexcept { return kind() == Kind::kNull; }
  bool is_object() const noexcept { return kind() == Kind::kObject; }

  // The content, or nullptr when the value is of another kind.
  const bool* as_bool() const noexcept { return std::get_if<bool>(&state_); }
  const double* as_number() const noexcept { return std::get_if<double>(&state_); }
  const std::string* as_string() const noexcept { return std::get_if<std::string>(&state_); }
  const Array* as_array() const noexcept { return std::get_if<Array>(&state_); }
  const Object* as_object() const noexcept { return std::get_if<Object>(&state_); }

  // The member of an object; nullptr when absent or when this is no object.
  const JsonValue* find(std::string_view key) const noexcept;
  // Sets or replaces a member; a value of another kind becomes an empty object first.
  void set(std::string key, JsonValue value);

 private:
  std::variant<std::monostate, bool, double, std::string, Array, Object> state_;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

// "null", "a boolean", "a number", "a string", "an array", "an object": for error texts.
std::string_view describe(JsonValue::Kind kind);

// One JSON text (RFC 8259), nothing behind it but white space. Errors are kInvalid and name the byte offset, never the
// content. Numbers become the nearest double; one that overflows is refused (JSON.parse gives Infinity, which no
// canonical form can express).
Result<JsonValue> parse_json(std::string_view text, const JsonLimits& limits = {});

// Compact, members in insertion order, as JSON.stringify.
void write_json(std::string& out, const JsonValue& value);
std::string to_json(const JsonValue& value);

// --- primitives of the serialisers ---
// A quoted string with the escapes of JSON.stringify (\b \t \n \f \r \" \\ \u00xx; other characters as they are).
// Stored lone surrogates come out as \udxxx; bytes that are not UTF-8 become U+FFFD, so that the output is always JSON.
void append_json_string(std::string& out, std::string_view text);
// ECMAScript Number::toString (shortest round trip; -0 as 0). NaN and the infinities become null, as JSON.stringify
// does.
void append_json_number(std::string& out, double value);
void append_json_number(std::string& out, std::int64_t value);
// ECMAScript Number::toString including "NaN" and "Infinity": for the canonical texts.
std::string ecmascript_number(double value);

}  // namespace cm::protocol
