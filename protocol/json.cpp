#include "protocol/json.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "protocol/encoding.hpp"

namespace cm::protocol {

static_assert(
    std::variant_size_v<std::variant<std::monostate, bool, double, std::string, JsonValue::Array, JsonValue::Object>> ==
    6);

JsonValue::JsonValue() = default;
JsonValue::JsonValue(bool value) : state_(value) {}
JsonValue::JsonValue(double value) : state_(value) {}
JsonValue::JsonValue(std::string value) : state_(std::move(value)) {}
JsonValue::JsonValue(std::string_view value) : state_(std::string(value)) {}
JsonValue::JsonValue(const char* value) : state_(std::string(value)) {}
JsonValue::JsonValue(Array value) : state_(std::move(value)) {}
JsonValue::JsonValue(Object value) : state_(std::move(value)) {}
JsonValue::JsonValue(const JsonValue&) = default;
JsonValue::JsonValue(JsonValue&&) noexcept = default;
JsonValue& JsonValue::operator=(const JsonValue&) = default;
JsonValue& JsonValue::operator=(JsonValue&&) noexcept = default;
JsonValue::~JsonValue() = default;

const JsonValue* JsonValue::find(std::string_view key) const noexcept {
  const Object* object = as_object();
  if (object == nullptr) {
    return nullptr;
  }
  const auto found = std::find_if(object->begin(), object->end(), [&](const JsonMember& m) { return m.key == key; });
  return found == object->end() ? nullptr : &found->value;
}

void JsonValue::set(std::string key, JsonValue value) {
  if (!is_object()) {
    state_ = Object{};
  }
  Object& object = *std::get_if<Object>(&state_);
  const auto found = std::find_if(object.begin(), object.end(), [&](const JsonMember& m) { return m.key == key; });
  if (found != object.end()) {
    found->value = std::move(value);
    return;
  }
  object.push_back(JsonMember{std::move(key), std::move(value)});
}

std::string_view describe(JsonValue::Kind kind) {
  switch (kind) {
    case JsonValue::Kind::kNull:
      return "null";
    case JsonValue::Kind::kBool:
      return "a boolean";
    case JsonValue::Kind::kNumber:
      return "a number";
    case JsonValue::Kind::kString:
      return "a string";
    case JsonValue::Kind::kArray:
      return "an array";
    case JsonValue::Kind::kObject:
      return "an object";
  }
  return "a value";
}

namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool is_high_surrogate(char32_t c) {
  return c >= 0xD800 && c <= 0xDBFF;
}
bool is_low_surrogate(char32_t c) {
  return c >= 0xDC00 && c <= 0xDFFF;
}

// Surrogates are written in the same three-byte form as their neighbours (WTF-8).
void append_utf8(std::string& out, char32_t c) {
  const auto byte = [&](char32_t value) { out.push_back(static_cast<char>(static_cast<unsigned char>(value))); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | (c >> 6));
    byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | (c >> 12));
    byte(0x80 | ((c >> 6) & 0x3F));
    byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | (c >> 18));
    byte(0x80 | ((c >> 12) & 0x3F));
    byte(0x80 | ((c >> 6) & 0x3F));
    byte(0x80 | (c & 0x3F));
  }
}

// JavaScript assigns members one by one: a repeated name keeps its first place and takes the last value. Sorting finds
// the repetitions without quadratic work on hostile input.
void merge_duplicates(JsonValue::Object& members) {
  std::vector<std::size_t> order(members.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int names = members[a].key.compare(members[b].key);
    return names != 0 ? names < 0 : a < b;
  });
  std::vector<bool> drop(members.size(), false);
  bool any = false;
  for (std::size_t i = 0; i + 1 < order.size();) {
    std::size_t last = i;
    while (last + 1 < order.size() && members[order[last + 1]].key == members[order[i]].key) {
      ++last;
      drop[order[last]] = true;
    }
    if (last != i) {
      any = true;
      members[order[i]].value = std::move(members[order[last]].value);
    }
    i = last + 1;
  }
  if (!any) {
    return;
  }
  JsonValue::Object kept;
  kept.reserve(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (!drop[i]) {
      kept.push_back(std::move(members[i]));
    }
  }
  members = std::move(kept);
}

// The power of ten of the first digit that is not zero, roughly: its sign is what matters.
std::int64_t leading_digit_exponent(std::string_view literal) {
  constexpr std::int64_t kExponentEnough = 1'000'000'000;  // beyond any literal's own length
  const std::size_t e = std::min(literal.find_first_of("eE"), literal.size());
  const std::string_view mantissa = literal.substr(0, e);
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t digit = std::min(mantissa.find_first_of("123456789"), mantissa.size());
  const std::int64_t exponent = static_cast<std::int64_t>(point) - static_cast<std::int64_t>(digit);
  std::int64_t written = 0;
  const bool negative = literal.substr(e).find('-') != std::string_view::npos;
  for (const char c : literal.substr(e)) {
    if (c >= '0' && c <= '9') {
      written = std::min(written * 10 + (c - '0'), kExponentEnough);
    }
  }
  return exponent + (negative ? -written : written);
}

// Recursive descent over valid UTF-8; the depth bound bounds the stack.
class Parser {
 public:
  Parser(std::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}

  Result<JsonValue> parse() {
    JsonValue value;
    skip_space();
    if (!parse_value(value, 0)) {
      return failure();
    }
    skip_space();
    if (position_ != text_.size()) {
      fail("something follows the value; expected the end of the text");
      return failure();
    }
    return value;
  }

 private:
  Error failure() const {
    return make_error(ErrorCode::kInvalid, "JSON at byte " + std::to_string(position_) + ": " + problem_);
  }
  bool fail(const char* problem) {
    problem_ = problem;
    return false;
  }
  bool at_end() const { return position_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[position_]; }
  void skip_space() {
    while (!at_end() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) {
      ++position_;
    }
  }
  bool take(char wanted) {
    if (at_end() || peek() != wanted) {
      return false;
    }
    ++position_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) {
      return fail("expected a JSON value");
    }
    position_ += word.size();
    return true;
  }

  bool parse_value(JsonValue& out, std::size_t depth) {
    switch (peek()) {
      case '{':
        return parse_object(out, depth + 1);
      case '[':
        return parse_array(out, depth + 1);
      case '"': {
        std::string text;
        if (!parse_string(text)) {
          return false;
        }
        out = JsonValue(std::move(text));
        return true;
      }
      case 't':
        out = JsonValue(true);
        return take_word("true");
      case 'f':
        out = JsonValue(false);
        return take_word("false");
      case 'n':
        out = JsonValue();
        return take_word("null");
      default:
        return parse_number(out);
    }
  }

  bool parse_object(JsonValue& out, std::size_t depth) {
    if (depth > limits_.max_depth) {
      return fail("nested too deeply; flatten the value");
    }
    ++position_;
    JsonValue::Object members;
    skip_space();
    while (!take('}')) {
      if (!members.empty() && !take(',')) {
        return fail("expected ',' or '}'");
      }
      skip_space();
      JsonMember member;
      if (peek() != '"') {
        return fail("expected a member name in quotes");
      }
      if (!parse_string(member.key)) {
        return false;
      }
      skip_space();
      if (!take(':')) {
        return fail("expected ':' after the member name");
      }
      skip_space();
      if (!parse_value(member.value, depth)) {
        return false;
      }
      members.push_back(std::move(member));
      skip_space();
    }
    if (members.size() > 1) {
      merge_duplicates(members);
    }
    out = JsonValue(std::move(members));
    return true;
  }

  bool parse_array(JsonValue& out, std::size_t depth) {
    if (depth > limits_.max_depth) {
      return fail("nested too deeply; flatten the value");
    }
    ++position_;
    JsonValue::Array elements;
    skip_space();
    while (!take(']')) {
      if (!elements.empty() && !take(',')) {
        return fail("expected ',' or ']'");
      }
      skip_space();
      JsonValue element;
      if (!parse_value(element, depth)) {
        return false;
      }
      elements.push_back(std::move(element));
      skip_space();
    }
    out = JsonValue(std::move(elements));
    return true;
  }

  bool is_digit_here() const { return !at_end() && peek() >= '0' && peek() <= '9'; }
  bool skip_digits() {
    const std::size_t start = position_;
    while (is_digit_here()) {
      ++position_;
    }
    return position_ != start;
  }

  bool parse_number(JsonValue& out) {
    const std::size_t start = position_;
    take('-');
    const bool leading_zero = peek() == '0';
    if (!skip_digits() || (leading_zero && position_ - start > (text_[start] == '-' ? 2u : 1u))) {
      position_ = start;
      return fail("expected a JSON value");
    }
    if (take('.') && !skip_digits()) {
      return fail("expected digits after the decimal point");
    }
    if (peek() == 'e' || peek() == 'E') {
      ++position_;
      if (!take('+')) {
        take('-');
      }
      if (!skip_digits()) {
        return fail("expected digits in the exponent");
      }
    }
    double value = 0;
    const char* const first = text_.data() + start;
    const char* const last = text_.data() + position_;
    const auto [end, error] = std::from_chars(first, last, value);
    if (error == std::errc::result_out_of_range) {
      return finish_out_of_range(std::string_view(first, static_cast<std::size_t>(last - first)), out);
    }
    if (error != std::errc() || end != last) {
      return fail("expected a number");
    }
    out = JsonValue(value);
    return true;
  }

  // The nearest double is zero or infinite; which of them, the position of the first significant digit tells.
  bool finish_out_of_range(std::string_view literal, JsonValue& out) {
    if (leading_digit_exponent(literal) >= 0) {
      return fail("the number does not fit a double");
    }
    out = JsonValue(0.0);
    return true;
  }

  bool parse_hex4(char32_t& out) {
    out = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = peek();
      char32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = static_cast<char32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        digit = static_cast<char32_t>(c - 'a' + 10);
      } else if (c >= 'A' && c <= 'F') {
        digit = static_cast<char32_t>(c - 'A' + 10);
      } else {
        return fail("expected four hex digits after \\u");
      }
      out = out * 16 + digit;
      ++position_;
    }
    return true;
  }

  bool append_lone_surrogate(std::string& out, char32_t unit) {
    switch (limits_.lone_surrogates) {
      case LoneSurrogates::kReject:
        return fail("a lone surrogate is no character");
      case LoneSurrogates::kReplace:
        append_utf8(out, kReplacement);
        return true;
      case LoneSurrogates::kKeep:
        append_utf8(out, unit);
        return true;
    }
    return false;
  }

  // Behind "\u".
  bool parse_unicode_escape(std::string& out) {
    char32_t unit = 0;
    if (!parse_hex4(unit)) {
      return false;
    }
    if (!is_high_surrogate(unit) && !is_low_surrogate(unit)) {
      append_utf8(out, unit);
      return true;
    }
    const std::size_t behind = position_;
    char32_t low = 0;
    if (is_high_surrogate(unit) && take('\\') && take('u') && parse_hex4(low) && is_low_surrogate(low)) {
      append_utf8(out, 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00));
      return true;
    }
    position_ = behind;  // what follows is read by itself
    return append_lone_surrogate(out, unit);
  }

  bool parse_escape(std::string& out) {
    const char c = peek();
    ++position_;
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out.push_back(c);
        return true;
      case 'b':
        out.push_back('\b');
        return true;
      case 'f':
        out.push_back('\f');
        return true;
      case 'n':
        out.push_back('\n');
        return true;
      case 'r':
        out.push_back('\r');
        return true;
      case 't':
        out.push_back('\t');
        return true;
      case 'u':
        return parse_unicode_escape(out);
      default:
        --position_;
        return fail("unknown escape");
    }
  }

  bool parse_string(std::string& out) {
    ++position_;
    while (true) {
      const std::size_t run = position_;
      while (!at_end() && peek() != '"' && peek() != '\\' && static_cast<unsigned char>(peek()) >= 0x20) {
        ++position_;
      }
      out.append(text_, run, position_ - run);
      if (take('"')) {
        return true;
      }
      if (!take('\\')) {
        return fail(at_end() ? "the string does not end" : "control character in a string; write it as an escape");
      }
      if (at_end() || !parse_escape(out)) {
        return at_end() ? fail("the string does not end") : false;
      }
    }
  }

  std::string_view text_;
  const JsonLimits& limits_;
  std::size_t position_ = 0;
  const char* problem_ = "";
};

}  // namespace

Result<JsonValue> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return make_error(ErrorCode::kInvalid, "JSON: found " + std::to_string(text.size()) + " bytes, at most " +
                                               std::to_string(limits.max_bytes) + " are accepted");
  }
  if (!is_valid_utf8(text)) {
    return make_error(ErrorCode::kInvalid, "JSON: the text is not UTF-8");
  }
  return Parser(text, limits).parse();
}

}  // namespace cm::protocol
