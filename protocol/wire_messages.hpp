// The wire messages as plain structs. Field names are the wire's in snake_case; std::optional means "may be absent",
// and an absent field is never written as null. Texts of a hello are claims: unchecked until canonical.hpp verified
// them, which is why they are texts and not keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/canonical.hpp"
#include "protocol/target.hpp"

namespace cm::protocol {

struct GroupMembership {
  std::string name;
  std::optional<std::string> role;
  friend bool operator==(const GroupMembership&, const GroupMembership&) = default;
};

// --- hot messages: once with views into a reader's buffer, once owning ---

// client -> broker (wire/02 section 4.1).
template <typename Text>
struct BasicSend {
  Text id{};  // empty when absent; echoed in the ack
  Text target_spec{};
  Priority priority = Priority::kNext;
  Text nonce{};
  Text ciphertext{};
  std::vector<Text> mentions{};                // topic sends only
  std::optional<Text> reply_to_id{};           // topic message id
  std::optional<std::int32_t> body_version{};  // absent means 1
  std::optional<Text> client_message_id{};     // never present and empty
  std::optional<Text> request_fingerprint{};   // never present and empty; 64 hex characters, not checked here
};
using SendView = BasicSend<std::string_view>;
using Send = BasicSend<std::string>;

// broker -> client (wire/02 section 3.2; from `duplicate` on: additive, under negotiated idempotency, specification
// v0.9.0 section 4.5b).
template <typename Text>
struct BasicAck {
  Text id{};
  Text message_id{};
  bool queued = false;
  std::optional<Text> error{};
  std::optional<Text> req_id{};

  std::optional<bool> duplicate{};
  std::optional<Text> client_message_id{};
  std::optional<bool> history_available{};
  std::optional<Text> first_seen_at{};              // ISO 8601
  std::optional<Text> code{};                       // kAckCode...
  std::optional<Text> broker_fingerprint_prefix{};  // 16 hex characters
  std::optional<bool> retryable{};
  std::optional<std::int64_t> retry_after_ms{};
};
using AckView = BasicAck<std::string_view>;
using Ack = BasicAck<std::string>;

// Words of Ack.code.
inline constexpr std::string_view kAckIdempotencyKeyReused = "idempotency_key_reused";
inline constexpr std::string_view kAckRateLimited = "rate_limited";
inline constexpr std::string_view kAckPayloadTooLarge = "payload_too_large";
inline constexpr std::string_view kAckNoRecipient = "no_recipient";
inline constexpr std::string_view kAckBlocked = "blocked";
inline constexpr std::string_view kAckInvalid = "invalid";
inline constexpr std::string_view kAckNotFound = "not_found";
inline constexpr std::string_view kAckForbidden = "forbidden";
inline constexpr std::string_view kAckStorage = "storage_unavailable";

// broker -> client (wire/02 section 3.3).
template <typename Text>
struct BasicPush {
  Text message_id{};
  Text mesh_id{};
  Text sender_pubkey{};  // a key in hex, "system" or "webhook:<name>"
  std::optional<Text> sender_member_pubkey{};
  std::optional<Text> sender_member_id{};
  std::optional<Text> sender_name{};
  std::optional<Text> topic{};  // topic name
  std::optional<Text> reply_to_id{};
  std::optional<Text> target_spec{};  // additive: of a queued multicast, which the recipient could not tell apart
  Priority priority = Priority::kNext;
  Text nonce{};
  Text ciphertext{};
  Text created_at{};                           // ISO 8601
  std::optional<std::int32_t> body_version{};  // additive: tells a topic v2 body apart
  std::optional<Text> client_message_id{};
  std::optional<Text> request_fingerprint{};
  std::optional<Text> subtype{};  // "reminder", "system", "webhook"
  std::optional<Text> event{};
  std::optional<Text> event_data_json{};  // one JSON value, written verbatim
};
using PushView = BasicPush<std::string_view>;
using Push = BasicPush<std::string>;

// client -> broker (wire/02 section 4.2): the recipient has stored the message durably.
template <typename Text>
struct BasicClientAck {
  std::optional<Text> client_message_id{};
  std::optional<Text> broker_message_id{};
};
using ClientAckView = BasicClientAck<std::string_view>;
using ClientAck = BasicClientAck<std::string>;

// Copies out of the reader's buffer.
Send to_owned(const SendView& view);
Ack to_owned(const AckView& view);
Push to_owned(const PushView& view);
ClientAck to_owned(const ClientAckView& view);

// --- handshake ---

struct Hello {
  std::string mesh_id;
  std::string member_id;
  std::string pubkey;
  std::optional<std::string> session_pubkey;  // absent when missing, null or empty
  std::optional<std::string> display_name;
  std::string session_id;
  double pid = 0;
  std::string cwd;  // empty when absent (the original SDK omits it)
  std::optional<std::string> hostname;
  std::optional<std::string> peer_type;  // "ai", "human", "connector", also others
  std::optional<std::string> channel;
  std::optional<std::string> model;
  std::vector<GroupMembership> groups;
  double timestamp_ms = 0;  // NaN when missing or no number, which verification reports as timestamp_skew
  std::string signature;
};

struct SessionHello {
  std::string mesh_id;
  std::optional<std::string> parent_member_id;
  std::string parent_member_pubkey;
  std::string session_pubkey;
  std::optional<SessionAttestation> parent_attestation;  // absent when missing or no object
  std::optional<std::string> display_name;
  std::string session_id;
  double pid = 0;
  std::string cwd;
  std::optional<std::string> hostname;
  std::optional<std::string> peer_type;
  std::optional<std::string> channel;
  std::optional<std::string> model;
  std::optional<std::vector<GroupMembership>> groups;  // an empty list is kept as empty, absent means the default
  std::optional<std::string> role;                     // accepted and ignored
  double timestamp_ms = 0;
  std::string signature;
};

struct MemberProfile {
  std::optional<std::string> role_tag;  // written as null when absent
  std::vector<GroupMembership> groups;
  std::string message_mode = "push";
};
struct RestoredStats {
  double messages_in = 0;
  double messages_out = 0;
  double tool_calls = 0;
  double errors = 0;
};
struct HelloAck {
  std::string presence_id;
  std::string member_display_name;
  std::optional<MemberProfile> member_profile;
  std::optional<std::string> self_editable_json;  // content of meshPolicy.selfEditable, verbatim
  bool restored = false;
  std::optional<std::string> last_summary;
  std::optional<std::string> last_seen_at;
  std::optional<std::vector<GroupMembership>> restored_groups;
  std::optional<RestoredStats> restored_stats;
  std::optional<std::string> services_json;  // an array, verbatim
};

// --- requests and answers ---

struct ErrorFrame {
  std::string code;
  std::string message;
  std::optional<std::string> id;
  std::optional<std::string> req_id;
};

struct ListPeers {
  std::optional<std::string> req_id;
};
struct PeerEntry {
  std::string pubkey;  // session key, else member key
  std::string member_pubkey;
  std::string display_name;
  std::string status = "idle";         // "idle", "working", "dnd"
  std::optional<std::string> summary;  // written as null when absent
  std::vector<GroupMembership> groups;
  std::string session_id;
  std::string connected_at;  // ISO 8601
  std::string cwd;
  std::string peer_role;  // "control-plane", "session", "service"
  std::optional<std::string> hostname;
  std::optional<std::string> peer_type;
  std::optional<std::string> channel;
  std::optional<std::string> model;
  std::optional<std::string> stats_json;  // an object, verbatim
  std::optional<bool> visible;
  std::optional<std::string> profile_json;  // an object, verbatim
};
struct PeersList {
  std::vector<PeerEntry> peers;
  std::optional<std::string> req_id;
};

struct MessageStatusRequest {
  std::string message_id;  // unchecked; see is_message_id_or_prefix
  std::optional<std::string> req_id;
};
struct MessageRecipient {
  std::string name;
  std::string pubkey;
  std::string status;  // "delivered", "held", "disconnected"
};
struct MessageStatusResult {
  std::string message_id;
  std::string target_spec;
  bool delivered = false;
  std::optional<std::string> delivered_at;  // written as null when absent
  std::vector<MessageRecipient> recipients;
  std::optional<std::string> req_id;
};

}  // namespace cm::protocol
