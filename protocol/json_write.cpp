// The serialising half of json.hpp: exactly what JSON.stringify and Number::toString of ECMAScript give.
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "protocol/json.hpp"

namespace cm::protocol {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

// Length of the sequence at text[0] in WTF-8 (UTF-8 that also has surrogates), 0 when there is none.
std::size_t wtf8_sequence_length(std::string_view text, bool& surrogate) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  surrogate = false;
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF) {
    return tail(1) ? 2 : 0;
  }
  if ((lead & 0xF0) == 0xE0) {
    if (!tail(1) || !tail(2) || (lead == 0xE0 && byte(1) < 0xA0)) {
      return 0;
    }
    surrogate = lead == 0xED && byte(1) > 0x9F;
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool whole = tail(1) && tail(2) && tail(3);
    return !whole || (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F) ? 0 : 4;
  }
  return 0;
}

void append_unicode_escape(std::string& out, unsigned unit) {
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) {
    out.push_back(kHexDigits[(unit >> shift) & 15]);
  }
}

void append_ascii_escaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      append_unicode_escape(out, static_cast<unsigned char>(c));
      return;
  }
}

bool is_plain_ascii(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
}

// How many plain characters stand at the front. Eight at a time: nearly all that is written is base64, hex and names.
std::size_t plain_run(std::string_view text) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHighs = 0x8080808080808080;
  const auto has_zero = [](std::uint64_t word) { return (word - kOnes) & ~word & kHighs; };
  std::size_t length = 0;
  while (length + sizeof(std::uint64_t) <= text.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + length, sizeof(word));
    const std::uint64_t special = (word & kHighs) | ((word - kOnes * 0x20) & ~word & kHighs) |
                                  has_zero(word ^ (kOnes * '"')) | has_zero(word ^ (kOnes * '\\'));
    if (special != 0) {
      break;  // the byte loop finds which one; a false alarm costs no more than that
    }
    length += sizeof(word);
  }
  while (length < text.size() && is_plain_ascii(text[length])) {
    ++length;
  }
  return length;
}

// One character that is not plain ASCII; returns how many bytes it took.
std::size_t append_special(std::string& out, std::string_view text) {
  if (static_cast<unsigned char>(text[0]) < 0x80) {
    append_ascii_escaped(out, text[0]);
    return 1;
  }
  bool surrogate = false;
  const std::size_t length = wtf8_sequence_length(text, surrogate);
  if (length == 0) {
    out += kReplacementUtf8;
    return 1;
  }
  if (!surrogate) {
    out.append(text.substr(0, length));
    return length;
  }
  const auto bits = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(text[i]) & 0x3F); };
  append_unicode_escape(out, 0xD000u | (bits(1) << 6) | bits(2));
  return length;
}

// ECMA-262 Number::toString: `digits` without trailing zeros, the decimal point behind position `point`.
void append_placed(std::string& out, std::string_view digits, int point) {
  const int count = static_cast<int>(digits.size());
  if (count <= point && point <= 21) {
    out.append(digits).append(static_cast<std::size_t>(point - count), '0');
    return;
  }
  if (0 < point && point <= 21) {
    const auto whole = static_cast<std::size_t>(point);
    out.append(digits.substr(0, whole)).append(1, '.').append(digits.substr(whole));
    return;
  }
  if (-6 < point && point <= 0) {
    out.append("0.").append(static_cast<std::size_t>(-point), '0').append(digits);
    return;
  }
  const int exponent = point - 1;
  out.append(digits.substr(0, 1));
  if (count > 1) {
    out.append(1, '.').append(digits.substr(1));
  }
  out.append(exponent < 0 ? "e-" : "e+").append(std::to_string(std::abs(exponent)));
}

}  // namespace

std::string ecmascript_number(double value) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "Infinity" : "-Infinity";
  }
  if (value == 0) {
    return "0";
  }
  // Shortest round-trip digits come from to_chars, in the form d.ddde+xx; only their arrangement is ECMAScript's own.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), std::fabs(value), std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) {
    digits += text.substr(2, e - 2);
  }
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string out;
  if (value < 0) {
    out.push_back('-');
  }
  append_placed(out, digits, exponent + 1);
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  out.reserve(out.size() + text.size() + 2);
  out.push_back('"');
  std::size_t position = 0;
  while (position < text.size()) {
    const std::size_t run = plain_run(text.substr(position));
    out.append(text.substr(position, run));
    position += run;
    if (position < text.size()) {
      position += append_special(out, text.substr(position));
    }
  }
  out.push_back('"');
}

void append_json_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  out += ecmascript_number(value);
}

void append_json_number(std::string& out, std::int64_t value) {
  out += std::to_string(value);
}

void write_json(std::string& out, const JsonValue& value) {
  switch (value.kind()) {
    case JsonValue::Kind::kNull:
      out += "null";
      return;
    case JsonValue::Kind::kBool:
      out += *value.as_bool() ? "true" : "false";
      return;
    case JsonValue::Kind::kNumber:
      append_json_number(out, *value.as_number());
      return;
    case JsonValue::Kind::kString:
      append_json_string(out, *value.as_string());
      return;
    case JsonValue::Kind::kArray: {
      out.push_back('[');
      bool first = true;
      for (const JsonValue& element : *value.as_array()) {
        if (!first) {
          out.push_back(',');
        }
        first = false;
        write_json(out, element);
      }
      out.push_back(']');
      return;
    }
    case JsonValue::Kind::kObject: {
      out.push_back('{');
      bool first = true;
      for (const JsonMember& member : *value.as_object()) {
        if (!first) {
          out.push_back(',');
        }
        first = false;
        append_json_string(out, member.key);
        out.push_back(':');
        write_json(out, member.value);
      }
      out.push_back('}');
      return;
    }
  }
}

std::string to_json(const JsonValue& value) {
  std::string out;
  write_json(out, value);
  return out;
}

}  // namespace cm::protocol
