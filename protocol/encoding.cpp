#include "protocol/encoding.hpp"

#include <sodium.h>

namespace cm::protocol {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kBase64Url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t kInvalidDigit = 0xFF;

using DecodeTable = std::array<std::uint8_t, 256>;

constexpr DecodeTable make_base64_table(const char* alphabet) {
  DecodeTable table{};
  table.fill(kInvalidDigit);
  for (std::uint8_t i = 0; i < 64; ++i) {
    table[static_cast<unsigned char>(alphabet[i])] = i;
  }
  return table;
}

constexpr DecodeTable make_hex_table(bool upper) {
  DecodeTable table{};
  table.fill(kInvalidDigit);
  for (std::uint8_t i = 0; i < 16; ++i) {
    table[static_cast<unsigned char>(kHexDigits[i])] = i;
  }
  for (std::uint8_t i = 0; upper && i < 6; ++i) {
    table[static_cast<std::size_t>('A') + i] = static_cast<std::uint8_t>(10 + i);
  }
  return table;
}

constexpr DecodeTable kBase64Table = make_base64_table(kBase64);
constexpr DecodeTable kBase64UrlTable = make_base64_table(kBase64Url);
constexpr DecodeTable kHexLowerTable = make_hex_table(false);
constexpr DecodeTable kHexAnyTable = make_hex_table(true);

const DecodeTable& hex_table(HexCase hex_case) {
  return hex_case == HexCase::kLowerOnly ? kHexLowerTable : kHexAnyTable;
}

void append_base64_with(std::string& out, ByteSpan bytes, const char* alphabet, bool padding) {
  const std::size_t whole = bytes.size() / 3;
  const std::size_t rest = bytes.size() % 3;
  const std::size_t start = out.size();
  out.resize(start + whole * 4 + (rest == 0 ? 0 : (padding ? 4 : rest + 1)));
  char* to = out.data() + start;
  const std::uint8_t* from = bytes.data();
  for (std::size_t i = 0; i < whole; ++i, from += 3) {
    const std::uint32_t group = (std::uint32_t{from[0]} << 16) | (std::uint32_t{from[1]} << 8) | from[2];
    *to++ = alphabet[group >> 18];
    *to++ = alphabet[(group >> 12) & 63];
    *to++ = alphabet[(group >> 6) & 63];
    *to++ = alphabet[group & 63];
  }
  if (rest == 0) {
    return;
  }
  const std::uint32_t group = (std::uint32_t{from[0]} << 16) | (rest == 2 ? std::uint32_t{from[1]} << 8 : 0);
  *to++ = alphabet[group >> 18];
  *to++ = alphabet[(group >> 12) & 63];
  if (rest == 2) {
    *to++ = alphabet[(group >> 6) & 63];
  } else if (padding) {
    *to++ = '=';
  }
  if (padding) {
    *to = '=';
  }
}

// Decodes digits without padding characters. Left-over bits must be zero, so that each byte string has one text.
std::optional<Bytes> decode_base64_digits(std::string_view digits, const DecodeTable& table) {
  if (digits.size() % 4 == 1) {
    return std::nullopt;
  }
  Bytes out;
  out.reserve(digits.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  unsigned bit_count = 0;
  for (const char character : digits) {
    const std::uint8_t value = table[static_cast<unsigned char>(character)];
    if (value == kInvalidDigit) {
      return std::nullopt;
    }
    bits = (bits << 6) | value;
    bit_count += 6;
    if (bit_count >= 8) {
      bit_count -= 8;
      out.push_back(static_cast<std::uint8_t>(bits >> bit_count));
      bits &= (1u << bit_count) - 1;
    }
  }
  if (bits != 0) {
    return std::nullopt;
  }
  return out;
}

// Length of the valid UTF-8 sequence at text[0], 0 when there is none.
std::size_t utf8_sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF) {
    return tail(1) ? 2 : 0;
  }
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!tail(1) || !tail(2)) {
      return 0;
    }
    const bool overlong = lead == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = lead == 0xED && byte(1) > 0x9F;
    return overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) {
      return 0;
    }
    const bool overlong = lead == 0xF0 && byte(1) < 0x90;
    const bool too_large = lead == 0xF4 && byte(1) > 0x8F;
    return overlong || too_large ? 0 : 4;
  }
  return 0;
}

}  // namespace

std::string hex_encode(ByteSpan bytes) {
  std::string out;
  append_hex(out, bytes);
  return out;
}

void append_hex(std::string& out, ByteSpan bytes) {
  out.reserve(out.size() + bytes.size() * 2);
  for (const std::uint8_t byte : bytes) {
    out.push_back(kHexDigits[byte >> 4]);
    out.push_back(kHexDigits[byte & 15]);
  }
}

bool hex_decode_into(std::string_view text, HexCase hex_case, std::span<std::uint8_t> out) {
  if (text.size() != out.size() * 2) {
    return false;
  }
  const DecodeTable& table = hex_table(hex_case);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint8_t high = table[static_cast<unsigned char>(text[2 * i])];
    const std::uint8_t low = table[static_cast<unsigned char>(text[2 * i + 1])];
    if (high == kInvalidDigit || low == kInvalidDigit) {
      return false;
    }
    out[i] = static_cast<std::uint8_t>((high << 4) | low);
  }
  return true;
}

std::optional<Bytes> hex_decode(std::string_view text, HexCase hex_case) {
  Bytes out(text.size() / 2);
  if (text.size() % 2 != 0 || !hex_decode_into(text, hex_case, out)) {
    return std::nullopt;
  }
  return out;
}

bool is_hex(std::string_view text, std::size_t length, HexCase hex_case) {
  if (text.size() != length) {
    return false;
  }
  const DecodeTable& table = hex_table(hex_case);
  for (const char character : text) {
    if (table[static_cast<unsigned char>(character)] == kInvalidDigit) {
      return false;
    }
  }
  return true;
}

std::string base64_encode(ByteSpan bytes) {
  std::string out;
  append_base64(out, bytes);
  return out;
}

void append_base64(std::string& out, ByteSpan bytes) {
  append_base64_with(out, bytes, kBase64, true);
}

std::optional<Bytes> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) {
    return std::nullopt;
  }
  // At most two padding characters; one that stands elsewhere is a foreign character for the digit decoder.
  for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i) {
    text.remove_suffix(1);
  }
  return decode_base64_digits(text, kBase64Table);
}

std::string base64url_encode(ByteSpan bytes) {
  std::string out;
  append_base64_with(out, bytes, kBase64Url, false);
  return out;
}

std::optional<Bytes> base64url_decode(std::string_view text) {
  return decode_base64_digits(text, kBase64UrlTable);
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    if (length == 0) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

std::string_view utf8_prefix(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) {
    return text;
  }
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return text.substr(0, end);
}

std::size_t utf16_length(std::string_view text) {
  std::size_t units = 0;
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_length(text);
    units += length == 4 ? 2 : 1;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return units;
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace cm::protocol
