// The texts that are signed, their signers and their verifiers (wire/01 section 5). Time is passed in.
// Fields are joined with '|' and not escaped; numbers are rendered as JavaScript renders them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/keys.hpp"

namespace cm::protocol {

inline constexpr std::int64_t kHelloSkewMs = 60'000;                         // HELLO_SKEW_MS
inline constexpr std::int64_t kSessionAttestationMaxTtlMs = 86'400'000;      // SESSION_ATTESTATION_MAX_TTL_MS
inline constexpr std::int64_t kSessionAttestationDefaultTtlMs = 43'200'000;  // what clients mint: 12 h

// Why a signed text was refused; the words go on the wire.
enum class VerifyOutcome { kOk, kTimestampSkew, kMalformed, kBadSignature, kExpired, kTtlTooLong };
// "ok", "timestamp_skew", "malformed", "bad_signature", "expired", "ttl_too_long".
std::string_view to_string(VerifyOutcome outcome);

// --- canonical texts ---
std::string canonical_hello(std::string_view mesh_id, std::string_view member_id, std::string_view pubkey,
                            double timestamp_ms);
std::string canonical_session_attestation(std::string_view parent_member_pubkey, std::string_view session_pubkey,
                                          double expires_at_ms);
// Proposed form with capabilities (wire/01 section 5.4): lower-cased, ASCII-sorted, comma-joined.
std::string canonical_session_attestation_v2(std::string_view parent_member_pubkey, std::string_view session_pubkey,
                                             double expires_at_ms, const std::vector<std::string>& capabilities);
std::string canonical_session_hello(std::string_view mesh_id, std::string_view parent_member_pubkey,
                                    std::string_view session_pubkey, double timestamp_ms);
// expires_at in unix seconds.
std::string canonical_invite_v1(int version, std::string_view mesh_id, std::string_view mesh_slug,
                                std::string_view broker_url, double expires_at_s, std::string_view mesh_root_key,
                                std::string_view role, std::string_view owner_pubkey);
std::string canonical_invite_v2(std::string_view mesh_id, std::string_view invite_id, double expires_at_s,
                                std::string_view role, std::string_view owner_pubkey);

// --- the attestation object on the wire ---
struct SessionAttestation {
  std::string session_pubkey;        // hex64
  std::string parent_member_pubkey;  // hex64
  double expires_at_ms = 0;          // NaN when it was missing or no number
  std::string signature;             // hex128
  // Additive fields of the proposed v2; a v1 verifier ignores them.
  std::optional<int> version;
  std::vector<std::string> allowed_caps;
};

// --- signers (timestamps in unix ms) ---
std::string sign_hello(const SecretKey& member, std::string_view mesh_id, std::string_view member_id,
                       std::int64_t timestamp_ms);
SessionAttestation sign_session_attestation(const SecretKey& member, const PublicKey& session,
                                            std::int64_t expires_at_ms);
std::string sign_session_hello(const SecretKey& session, std::string_view mesh_id, const PublicKey& parent_member,
                               std::int64_t timestamp_ms);

// --- verifiers: arguments are the claimed wire texts, unchecked. The order of the checks is the documented one. ---
// skew (or a timestamp that is not finite), then shape (hex in either case), then signature.
VerifyOutcome verify_hello(std::string_view mesh_id, std::string_view member_id, std::string_view pubkey,
                           double timestamp_ms, std::string_view signature, std::int64_t now_ms);
// not finite -> malformed; expires <= now -> expired; > now + 24 h -> ttl_too_long; shape; signature.
VerifyOutcome verify_session_attestation(const SessionAttestation& attestation, std::int64_t now_ms);
// As verify_session_attestation, but over the v2 text with the given capabilities.
VerifyOutcome verify_session_attestation_v2(const SessionAttestation& attestation, std::int64_t now_ms);
// skew, shape, then the signature against the session key.
VerifyOutcome verify_session_hello(std::string_view mesh_id, std::string_view parent_member_pubkey,
                                   std::string_view session_pubkey, double timestamp_ms, std::string_view signature,
                                   std::int64_t now_ms);

}  // namespace cm::protocol
