// Identifiers: strong types, generators (randomness and time are passed in) and validators.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/random.hpp"

namespace cm::protocol {

// A text that may not be mixed up with the text of another kind. Opaque: nothing but equality and order is meaningful.
template <typename Tag>
class StrongText {
 public:
  StrongText() = default;
  explicit StrongText(std::string text) : text_(std::move(text)) {}
  explicit StrongText(std::string_view text) : text_(text) {}
  explicit StrongText(const char* text) : text_(text) {}

  const std::string& str() const noexcept { return text_; }
  std::string_view view() const noexcept { return text_; }
  bool empty() const noexcept { return text_.empty(); }

  friend bool operator==(const StrongText&, const StrongText&) = default;
  friend auto operator<=>(const StrongText&, const StrongText&) = default;

 private:
  std::string text_;
};

using MeshId = StrongText<struct MeshIdTag>;
using MemberId = StrongText<struct MemberIdTag>;
using PresenceId = StrongText<struct PresenceIdTag>;
using MessageId = StrongText<struct MessageIdTag>;              // the broker's id of an accepted message
using ClientMessageId = StrongText<struct ClientMessageIdTag>;  // the sender's idempotency key
using TopicId = StrongText<struct TopicIdTag>;
using SessionId = StrongText<struct SessionIdTag>;  // the launch session's id (de-duplication key of a presence)
using InviteId = StrongText<struct InviteIdTag>;
using RequestId = StrongText<struct RequestIdTag>;  // `_reqId`
using DeliveryId = StrongText<struct DeliveryIdTag>;

// --- lengths and bounds ---
inline constexpr std::size_t kRowIdLength = 32;               // base62 row ids
inline constexpr std::size_t kMessageIdPrefixMin = 8;         // shortest prefix that message_status accepts
inline constexpr std::size_t kUlidLength = 26;                // Crockford base32
inline constexpr std::size_t kUuidLength = 36;                // 8-4-4-4-12
inline constexpr std::size_t kInviteCodeLength = 8;           // generated short codes
inline constexpr std::size_t kClientMessageIdMaxBytes = 256;  // our bound; 1.37.0 has none

// --- generators ---
// 32 characters of [0-9A-Za-z], uniform, from a cryptographic source: broker row ids, among them message ids, because
// message_status accepts nothing but 8 to 32 base62 characters.
std::string generate_row_id(const RandomSource& random);
// `length` characters of [0-9A-Za-z].
std::string generate_base62(const RandomSource& random, std::size_t length);
// RFC 9562 version 4, lower case.
std::string generate_uuid_v4(const RandomSource& random);
// 8 characters of 23456789 and letters without the look-alikes l, I, O, 0, 1 (wire/01 section 2, web alphabet).
std::string generate_invite_code(const RandomSource& random);
// `bytes` random bytes as lower-case hex: request ids (8), tokens (32).
std::string generate_hex(const RandomSource& random, std::size_t bytes);

// ULIDs that grow strictly from call to call, also within one millisecond and when the clock steps back (the random
// part is then incremented). One per owner; not thread-safe.
class UlidGenerator {
 public:
  explicit UlidGenerator(RandomSource random);
  std::string next(std::int64_t now_ms);

 private:
  RandomSource random_;
  std::uint64_t last_ms_ = 0;
  std::uint8_t entropy_[10] = {};
  bool used_ = false;
};

// --- validators ---
bool is_base62(std::string_view text);
bool is_row_id(std::string_view text);
// What message_status takes: 8 to 32 base62 characters (shorter than 32 means a prefix).
bool is_message_id_or_prefix(std::string_view text);
// 8-4-4-4-12 hex in either case, any version (session ids of Claude Code).
bool is_uuid(std::string_view text);
bool is_ulid(std::string_view text);
// 1 to kClientMessageIdMaxBytes bytes of valid UTF-8 without control characters.
bool is_client_message_id(std::string_view text);
// [A-Za-z0-9._-]+, the shape that session key files demand of a mesh slug.
bool is_mesh_slug(std::string_view text);

}  // namespace cm::protocol

template <typename Tag>
struct std::hash<cm::protocol::StrongText<Tag>> {
  std::size_t operator()(const cm::protocol::StrongText<Tag>& id) const noexcept {
    return std::hash<std::string>{}(id.str());
  }
};
