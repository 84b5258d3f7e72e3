// As much JSON as this bridge needs: one text member of a flat object, and a text with its quotes. Any JSON library
// does it as well.
#pragma once
#include <cstdlib>
#include <string>
#include <string_view>

inline void append_utf8(std::string& out, unsigned code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
  } else if (code < 0x10000) {
    out += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
            static_cast<char>(0x80 | (code & 63))};
  } else {
    out += {static_cast<char>(0xf0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
            static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
  }
}

// The decoded string that begins behind `at` (a quote); `at` ends behind its closing quote.
inline std::string json_string(std::string_view json, std::size_t& at) {
  std::string out;
  const auto hex = [&](std::size_t from) {
    const std::string digits(from < json.size() ? json.substr(from, 4) : std::string_view());
    return static_cast<unsigned>(std::strtoul(digits.c_str(), nullptr, 16));
  };
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] != '\\' || at + 1 == json.size()) {
      out += json[at];
      continue;
    }
    const char c = json[++at];
    if (c == 'u') {
      unsigned code = hex(at + 1);
      at += 4;
      if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + (hex(at + 3) - 0xdc00);
        at += 6;
      }
      append_utf8(out, code);
    } else {
      out += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
    }
  }
  ++at;
  return out;
}

inline std::string json_text(std::string_view json, std::string_view member) {
  std::size_t at = 0;
  int depth = 0;
  while (at < json.size()) {
    if (json[at] != '"') {
      depth += json[at] == '{' || json[at] == '[' ? 1 : json[at] == '}' || json[at] == ']' ? -1 : 0;
      ++at;
      continue;
    }
    const std::string name = json_string(json, at);
    const std::size_t colon = json.find_first_not_of(" \t\r\n", at);
    std::size_t value = colon < json.size() ? json.find_first_not_of(" \t\r\n", colon + 1) : json.size();
    if (depth == 1 && name == member && value < json.size() && json[colon] == ':' && json[value] == '"') {
      return json_string(json, value);
    }
  }
  return {};
}

inline std::string json_quote(std::string_view text) {
  constexpr const char* kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[c >> 4 & 15], kHex[c & 15]};
    } else {
      out += c;
    }
  }
  return out + '"';
}
