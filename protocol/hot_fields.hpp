// Private to wire_reader.cpp: the members of the hot messages and the table that finds them by name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/wire_reader.hpp"

namespace cm::protocol {

// Every member that one of the hot messages has, with its name on the wire.
#define CM_HOT_FIELDS(X)                                   \
  X(kType, "type")                                         \
  X(kId, "id")                                             \
  X(kReqId, "_reqId")                                      \
  X(kTargetSpec, "targetSpec")                             \
  X(kPriority, "priority")                                 \
  X(kNonce, "nonce")                                       \
  X(kCiphertext, "ciphertext")                             \
  X(kMentions, "mentions")                                 \
  X(kReplyToId, "replyToId")                               \
  X(kBodyVersion, "bodyVersion")                           \
  X(kClientMessageId, "client_message_id")                 \
  X(kRequestFingerprint, "request_fingerprint")            \
  X(kMessageId, "messageId")                               \
  X(kMeshId, "meshId")                                     \
  X(kSenderPubkey, "senderPubkey")                         \
  X(kSenderMemberPubkey, "senderMemberPubkey")             \
  X(kSenderMemberId, "senderMemberId")                     \
  X(kSenderName, "senderName")                             \
  X(kTopic, "topic")                                       \
  X(kCreatedAt, "createdAt")                               \
  X(kSubtype, "subtype")                                   \
  X(kEvent, "event")                                       \
  X(kEventData, "eventData")                               \
  X(kClientMessageIdCamel, "clientMessageId")              \
  X(kBrokerMessageId, "brokerMessageId")                   \
  X(kQueued, "queued")                                     \
  X(kError, "error")                                       \
  X(kDuplicate, "duplicate")                               \
  X(kHistoryAvailable, "history_available")                \
  X(kFirstSeenAt, "first_seen_at")                         \
  X(kCode, "code")                                         \
  X(kBrokerFingerprintPrefix, "broker_fingerprint_prefix") \
  X(kRetryable, "retryable")                               \
  X(kRetryAfterMs, "retry_after_ms")

#define CM_FIELD_ENUMERATOR(name, text) name,
#define CM_FIELD_NAME(name, text) std::string_view(text),
enum class Field : std::uint8_t { CM_HOT_FIELDS(CM_FIELD_ENUMERATOR) kCount };
inline constexpr std::size_t kFieldCount = static_cast<std::size_t>(Field::kCount);
inline constexpr std::array<std::string_view, kFieldCount> kFieldNames = {CM_HOT_FIELDS(CM_FIELD_NAME)};
#undef CM_FIELD_ENUMERATOR
#undef CM_FIELD_NAME
static_assert(kFieldCount <= 64, "the presence mask has 64 bits");

inline std::string_view name_of(Field field) {
  return kFieldNames[static_cast<std::size_t>(field)];
}

// A small open-addressing table from name to field: one probe for nearly every name.
inline constexpr std::size_t kSlotCount = 256;
inline constexpr std::uint8_t kNoField = 0xFF;

constexpr std::size_t hash_name(std::string_view name) {
  const auto at = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(name[i])); };
  return (name.size() * 37 + at(0) * 5 + at(name.size() / 2) * 11 + at(name.size() - 1) * 3) % kSlotCount;
}

constexpr std::array<std::uint8_t, kSlotCount> make_field_table() {
  std::array<std::uint8_t, kSlotCount> table{};
  table.fill(kNoField);
  for (std::uint8_t i = 0; i < kFieldCount; ++i) {
    std::size_t slot = hash_name(kFieldNames[i]);
    while (table[slot] != kNoField) {
      slot = (slot + 1) % kSlotCount;
    }
    table[slot] = i;
  }
  return table;
}
inline constexpr auto kFieldTable = make_field_table();

constexpr std::size_t longest_name() {
  std::size_t longest = 0;
  for (const std::string_view name : kFieldNames) {
    longest = name.size() > longest ? name.size() : longest;
  }
  return longest;
}
inline constexpr std::size_t kLongestName = longest_name();
static_assert(kLongestName < kParsePadding, "a name is looked for without asking where the frame ends");

inline Field find_field(std::string_view name) {
  if (name.empty()) {
    return Field::kCount;
  }
  for (std::size_t slot = hash_name(name); kFieldTable[slot] != kNoField; slot = (slot + 1) % kSlotCount) {
    if (kFieldNames[kFieldTable[slot]] == name) {
      return static_cast<Field>(kFieldTable[slot]);
    }
  }
  return Field::kCount;
}

}  // namespace cm::protocol
