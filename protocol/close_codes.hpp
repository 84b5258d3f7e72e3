// WebSocket close codes and their reason texts (wire/02 section 1.4, specification v0.9.0 section 15.5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cm::protocol {

enum class CloseCode : std::uint16_t {
  kNormal = 1000,
  kGoingAway = 1001,
  kPolicy = 1008,  // a refused hello, after an `error` frame with the same word
  kTooBig = 1009,
  kInternal = 1011,
  kKicked = 4001,
  kBanned = 4002,
  kFeatureUnavailable = 4010,  // reason text: the JSON of features.hpp, close_reason_json()
};

inline constexpr std::size_t kCloseReasonMaxBytes = 123;  // RFC 6455 section 5.5: 125 less the code

inline constexpr std::string_view kReasonSessionReplaced = "session_replaced";
inline constexpr std::string_view kReasonDisconnected = "disconnected";
inline constexpr std::string_view kReasonDisconnectedStale = "disconnected_stale";
inline constexpr std::string_view kReasonShuttingDown = "shutting down";
inline constexpr std::string_view kReasonKicked = "kicked";
inline constexpr std::string_view kReasonKickedStale = "kicked_stale";
inline constexpr std::string_view kReasonBanned = "banned";
inline constexpr std::string_view kReasonFeatureUnavailable = "feature_unavailable";

// Words of a refused hello: both `error.code` and (except for kRevoked, closed 4002 "banned") the close reason.
inline constexpr std::string_view kRefusedBadSessionPubkey = "bad_session_pubkey";
inline constexpr std::string_view kRefusedBadParentPubkey = "bad_parent_pubkey";
inline constexpr std::string_view kRefusedAttestationMismatch = "attestation_mismatch";
inline constexpr std::string_view kRefusedCapacity = "capacity";
inline constexpr std::string_view kRefusedUnauthorized = "unauthorized";
inline constexpr std::string_view kRefusedRevoked = "revoked";
inline constexpr std::string_view kRefusedParentMemberIdMismatch = "parent_member_id_mismatch";

// After 4001 and 4002 a client must not reconnect by itself; after 4010 not before its feature set changed.
bool is_terminal_close(std::uint16_t code);

}  // namespace cm::protocol
