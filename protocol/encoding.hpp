// Hex, base64 and UTF-8 as the wire uses them (wire encodings: lower-case hex, base64 ORIGINAL, base64url without
// padding). All functions are pure and usable from any thread. Decoders are strict: exactly one text decodes to given
// bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cm::protocol {

using Bytes = std::vector<std::uint8_t>;
using ByteSpan = std::span<const std::uint8_t>;

// The bytes of a text, without a copy; valid as long as the text is.
inline ByteSpan as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
// The bytes as a text, without a copy and without any check; valid as long as the bytes are.
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// --- hex ---
// Which letters a hex decoder takes. Keys and signatures on the wire are emitted in lower case; the broker's signature
// checks accept either case, its routing checks only lower case.
enum class HexCase { kLowerOnly, kAny };

std::string hex_encode(ByteSpan bytes);
void append_hex(std::string& out, ByteSpan bytes);
// nullopt: odd length or a foreign character.
std::optional<Bytes> hex_decode(std::string_view text, HexCase hex_case);
// Decodes exactly out.size() bytes; false (out is then unspecified) when the length or a character does not fit.
bool hex_decode_into(std::string_view text, HexCase hex_case, std::span<std::uint8_t> out);
// Exactly `length` hex characters (64 for a key, 128 for a signature).
bool is_hex(std::string_view text, std::size_t length, HexCase hex_case);

// --- base64 ORIGINAL (alphabet +/, with padding; RFC 4648 section 4) ---
std::string base64_encode(ByteSpan bytes);
void append_base64(std::string& out, ByteSpan bytes);
// nullopt: foreign character, white space, missing or surplus padding, non-zero left-over bits.
std::optional<Bytes> base64_decode(std::string_view text);

// --- base64url without padding (RFC 4648 section 5) ---
std::string base64url_encode(ByteSpan bytes);
// nullopt: foreign character, any padding, impossible length, non-zero left-over bits.
std::optional<Bytes> base64url_decode(std::string_view text);

// --- UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF) ---
bool is_valid_utf8(std::string_view text);
// The longest prefix of at most max_bytes that does not cut a character; the text must be valid UTF-8.
std::string_view utf8_prefix(std::string_view text, std::size_t max_bytes);
// Length as JavaScript counts it (UTF-16 code units); the `send` size check of the original broker uses this measure.
// Invalid bytes count one unit each.
std::size_t utf16_length(std::string_view text);

// Comparison in constant time with respect to content (not to length).
bool equal_constant_time(std::string_view a, std::string_view b);

}  // namespace cm::protocol
