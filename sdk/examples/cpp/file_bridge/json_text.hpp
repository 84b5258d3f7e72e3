// Reads one text member of a JSON object, as the events of cm.peer/1 are. Any JSON library does it as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace json {

inline void append_utf8(std::string& out, std::uint32_t code) {
  const auto continuation = [code](int shift) { return static_cast<char>(0x80 | ((code >> shift) & 63)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += continuation(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += continuation(6);
    out += continuation(0);
  } else {
    out += static_cast<char>(0xf0 | (code >> 18));
    out += continuation(12);
    out += continuation(6);
    out += continuation(0);
  }
}

// The four hex digits at `at`; 0 where there are none.
inline std::uint32_t unit(std::string_view text, std::size_t at) {
  std::uint32_t value = 0;
  for (const char c : at < text.size() ? text.substr(at, 4) : std::string_view()) {
    const std::size_t digit = std::string_view("0123456789abcdefABCDEF").find(c);
    value = value * 16 + static_cast<std::uint32_t>(digit == std::string_view::npos ? 0
                                                    : digit > 15                    ? digit - 6
                                                                                    : digit);
  }
  return value;
}

// The decoded string whose opening quote is at `at`; `at` ends behind its closing quote.
inline std::string take_string(std::string_view text, std::size_t& at) {
  std::string out;
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] != '\\' || at + 1 == text.size()) {
      out += text[at];
      continue;
    }
    const char c = text[++at];
    if (c == 'u') {
      std::uint32_t code = unit(text, at + 1);
      at += 4;
      if (code >= 0xd800 && code < 0xdc00) {  // the first of two units
        code = 0x10000 + ((code - 0xd800) << 10) + ((unit(text, at + 3) - 0xdc00) & 0x3ff);
        at += 6;
      }
      append_utf8(out, code);
      continue;
    }
    const std::size_t known = std::string_view("ntrbf").find(c);
    out += known == std::string_view::npos ? c : "\n\t\r\b\f"[known];
  }
  ++at;
  return out;
}

// The member of the outermost object, or empty when it is missing or no string.
inline std::string text(std::string_view object, std::string_view member) {
  int depth = 0;
  for (std::size_t at = 0; at < object.size();) {
    if (object[at] != '"') {
      depth += object[at] == '{' || object[at] == '[' ? 1 : object[at] == '}' || object[at] == ']' ? -1 : 0;
      ++at;
      continue;
    }
    const std::string name = take_string(object, at);
    const std::size_t value = object.find_first_not_of(" \t\r\n:", at);
    const bool is_member = depth == 1 && at < object.size() && object.find(':', at) < value;
    if (is_member && name == member) {
      at = value;
      return value != std::string_view::npos && object[value] == '"' ? take_string(object, at) : std::string();
    }
  }
  return {};
}

}  // namespace json
