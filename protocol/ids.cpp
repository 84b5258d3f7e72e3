#include "protocol/ids.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "protocol/encoding.hpp"

namespace cm::protocol {
namespace {

constexpr std::string_view kBase62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kInviteAlphabet = "23456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";
constexpr std::string_view kCrockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr std::uint64_t kUlidTimeMax = (std::uint64_t{1} << 48) - 1;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string generate_from(const RandomSource& random, std::string_view alphabet, std::size_t length) {
  // Bytes at or above the largest multiple of the alphabet's size are dropped: no symbol is likelier than another.
  const std::size_t limit = 256 - 256 % alphabet.size();
  std::string out;
  out.reserve(length);
  std::array<std::uint8_t, 64> pool{};
  while (out.size() < length) {
    random(pool);
    for (std::size_t i = 0; i < pool.size() && out.size() < length; ++i) {
      if (pool[i] < limit) {
        out.push_back(alphabet[pool[i] % alphabet.size()]);
      }
    }
  }
  return out;
}

}  // namespace

std::string generate_row_id(const RandomSource& random) {
  return generate_from(random, kBase62, kRowIdLength);
}

std::string generate_base62(const RandomSource& random, std::size_t length) {
  return generate_from(random, kBase62, length);
}

std::string generate_invite_code(const RandomSource& random) {
  return generate_from(random, kInviteAlphabet, kInviteCodeLength);
}

std::string generate_hex(const RandomSource& random, std::size_t bytes) {
  std::vector<std::uint8_t> raw(bytes);
  random(raw);
  return hex_encode(raw);
}

std::string generate_uuid_v4(const RandomSource& random) {
  std::array<std::uint8_t, 16> bytes{};
  random(bytes);
  bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0F) | 0x40);
  bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3F) | 0x80);
  std::string out = hex_encode(bytes);
  for (const std::size_t position : {20u, 16u, 12u, 8u}) {
    out.insert(position, 1, '-');
  }
  return out;
}

UlidGenerator::UlidGenerator(RandomSource random) : random_(std::move(random)) {}

std::string UlidGenerator::next(std::int64_t now_ms) {
  const std::uint64_t now = std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(now_ms, 0)), kUlidTimeMax);
  if (!used_ || now > last_ms_) {
    used_ = true;
    last_ms_ = now;
    random_(entropy_);
    entropy_[0] &= 0x7F;  // room to count upwards within the millisecond
  } else {
    std::size_t i = sizeof(entropy_);
    while (i > 0 && ++entropy_[i - 1] == 0) {
      --i;
    }
    if (i == 0) {
      ++last_ms_;  // all 2^79 values of this millisecond are spent; order matters more than the exact time
    }
  }
  // 48 bits of time, then 80 of entropy, five bits to a character: 26 characters hold 130 bits, the first two are zero.
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 0; i < 6; ++i) {
    bytes[i] = static_cast<std::uint8_t>(last_ms_ >> (8 * (5 - i)));
  }
  std::memcpy(bytes.data() + 6, entropy_, sizeof(entropy_));
  std::string out;
  out.reserve(kUlidLength);
  for (std::size_t i = 0; i < kUlidLength; ++i) {
    unsigned value = 0;
    for (std::size_t bit = 5 * i; bit < 5 * i + 5; ++bit) {
      const unsigned set = bit < 2 ? 0 : (bytes[(bit - 2) / 8] >> (7 - (bit - 2) % 8)) & 1u;
      value = (value << 1) | set;
    }
    out.push_back(kCrockford[value]);
  }
  return out;
}

bool is_base62(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return is_digit(c) || is_letter(c); });
}

bool is_row_id(std::string_view text) {
  return text.size() == kRowIdLength && is_base62(text);
}

bool is_message_id_or_prefix(std::string_view text) {
  return text.size() >= kMessageIdPrefixMin && text.size() <= kRowIdLength && is_base62(text);
}

bool is_uuid(std::string_view text) {
  if (text.size() != kUuidLength) {
    return false;
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !is_hex(text.substr(i, 1), 1, HexCase::kAny)) {
      return false;
    }
  }
  return true;
}

bool is_ulid(std::string_view text) {
  return text.size() == kUlidLength && text[0] <= '7' &&
         std::all_of(text.begin(), text.end(), [](char c) { return kCrockford.find(c) != std::string_view::npos; });
}

bool is_client_message_id(std::string_view text) {
  if (text.empty() || text.size() > kClientMessageIdMaxBytes || !is_valid_utf8(text)) {
    return false;
  }
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
  });
}

bool is_mesh_slug(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_digit(c) || is_letter(c) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace cm::protocol
