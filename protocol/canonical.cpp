#include "protocol/canonical.hpp"

#include <algorithm>
#include <cmath>

#include "protocol/json.hpp"

namespace cm::protocol {
namespace {

std::string join(std::initializer_list<std::string_view> parts) {
  std::size_t size = parts.size();
  for (const std::string_view part : parts) {
    size += part.size();
  }
  std::string out;
  out.reserve(size);
  bool first = true;
  for (const std::string_view part : parts) {
    if (!first) {
      out.push_back('|');
    }
    first = false;
    out += part;
  }
  return out;
}

bool is_key(std::string_view text) {
  return is_hex(text, kPublicKeyHexLength, HexCase::kAny);
}
bool is_signature(std::string_view text) {
  return is_hex(text, kSignatureHexLength, HexCase::kAny);
}

bool is_skewed(double timestamp_ms, std::int64_t now_ms) {
  return !std::isfinite(timestamp_ms) ||
         std::fabs(static_cast<double>(now_ms) - timestamp_ms) > static_cast<double>(kHelloSkewMs);
}

VerifyOutcome check_lifetime(double expires_at_ms, std::int64_t now_ms) {
  if (!std::isfinite(expires_at_ms)) {
    return VerifyOutcome::kMalformed;
  }
  if (expires_at_ms <= static_cast<double>(now_ms)) {
    return VerifyOutcome::kExpired;
  }
  if (expires_at_ms > static_cast<double>(now_ms + kSessionAttestationMaxTtlMs)) {
    return VerifyOutcome::kTtlTooLong;
  }
  return VerifyOutcome::kOk;
}

VerifyOutcome check_attestation(const SessionAttestation& attestation, const std::string& text, std::int64_t now_ms) {
  const VerifyOutcome lifetime = check_lifetime(attestation.expires_at_ms, now_ms);
  if (lifetime != VerifyOutcome::kOk) {
    return lifetime;
  }
  if (!is_key(attestation.parent_member_pubkey) || !is_key(attestation.session_pubkey) ||
      !is_signature(attestation.signature)) {
    return VerifyOutcome::kMalformed;
  }
  return verify_hex(attestation.parent_member_pubkey, text, attestation.signature) ? VerifyOutcome::kOk
                                                                                   : VerifyOutcome::kBadSignature;
}

}  // namespace

std::string_view to_string(VerifyOutcome outcome) {
  switch (outcome) {
    case VerifyOutcome::kOk:
      return "ok";
    case VerifyOutcome::kTimestampSkew:
      return "timestamp_skew";
    case VerifyOutcome::kMalformed:
      return "malformed";
    case VerifyOutcome::kBadSignature:
      return "bad_signature";
    case VerifyOutcome::kExpired:
      return "expired";
    case VerifyOutcome::kTtlTooLong:
      return "ttl_too_long";
  }
  return "malformed";
}

std::string canonical_hello(std::string_view mesh_id, std::string_view member_id, std::string_view pubkey,
                            double timestamp_ms) {
  return join({mesh_id, member_id, pubkey, ecmascript_number(timestamp_ms)});
}

std::string canonical_session_attestation(std::string_view parent_member_pubkey, std::string_view session_pubkey,
                                          double expires_at_ms) {
  return join({"claudemesh-session-attest", parent_member_pubkey, session_pubkey, ecmascript_number(expires_at_ms)});
}

std::string canonical_session_attestation_v2(std::string_view parent_member_pubkey, std::string_view session_pubkey,
                                             double expires_at_ms, const std::vector<std::string>& capabilities) {
  std::vector<std::string> sorted = capabilities;
  for (std::string& capability : sorted) {
    std::transform(capability.begin(), capability.end(), capability.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  }
  std::sort(sorted.begin(), sorted.end());
  std::string list;
  for (const std::string& capability : sorted) {
    list += (list.empty() ? "" : ",") + capability;
  }
  return join(
      {"claudemesh-session-attest-v2", parent_member_pubkey, session_pubkey, ecmascript_number(expires_at_ms), list});
}

std::string canonical_session_hello(std::string_view mesh_id, std::string_view parent_member_pubkey,
                                    std::string_view session_pubkey, double timestamp_ms) {
  return join(
      {"claudemesh-session-hello", mesh_id, parent_member_pubkey, session_pubkey, ecmascript_number(timestamp_ms)});
}

std::string canonical_invite_v1(int version, std::string_view mesh_id, std::string_view mesh_slug,
                                std::string_view broker_url, double expires_at_s, std::string_view mesh_root_key,
                                std::string_view role, std::string_view owner_pubkey) {
  return join({std::to_string(version), mesh_id, mesh_slug, broker_url, ecmascript_number(expires_at_s), mesh_root_key,
               role, owner_pubkey});
}

std::string canonical_invite_v2(std::string_view mesh_id, std::string_view invite_id, double expires_at_s,
                                std::string_view role, std::string_view owner_pubkey) {
  return join({"v=2", mesh_id, invite_id, ecmascript_number(expires_at_s), role, owner_pubkey});
}

std::string sign_hello(const SecretKey& member, std::string_view mesh_id, std::string_view member_id,
                       std::int64_t timestamp_ms) {
  return sign_hex(member,
                  canonical_hello(mesh_id, member_id, member.public_key().hex(), static_cast<double>(timestamp_ms)));
}

SessionAttestation sign_session_attestation(const SecretKey& member, const PublicKey& session,
                                            std::int64_t expires_at_ms) {
  SessionAttestation out;
  out.session_pubkey = session.hex();
  out.parent_member_pubkey = member.public_key().hex();
  out.expires_at_ms = static_cast<double>(expires_at_ms);
  out.signature =
      sign_hex(member, canonical_session_attestation(out.parent_member_pubkey, out.session_pubkey, out.expires_at_ms));
  return out;
}

std::string sign_session_hello(const SecretKey& session, std::string_view mesh_id, const PublicKey& parent_member,
                               std::int64_t timestamp_ms) {
  return sign_hex(session, canonical_session_hello(mesh_id, parent_member.hex(), session.public_key().hex(),
                                                   static_cast<double>(timestamp_ms)));
}

VerifyOutcome verify_hello(std::string_view mesh_id, std::string_view member_id, std::string_view pubkey,
                           double timestamp_ms, std::string_view signature, std::int64_t now_ms) {
  if (is_skewed(timestamp_ms, now_ms)) {
    return VerifyOutcome::kTimestampSkew;
  }
  if (!is_key(pubkey) || !is_signature(signature)) {
    return VerifyOutcome::kMalformed;
  }
  return verify_hex(pubkey, canonical_hello(mesh_id, member_id, pubkey, timestamp_ms), signature)
             ? VerifyOutcome::kOk
             : VerifyOutcome::kBadSignature;
}

VerifyOutcome verify_session_attestation(const SessionAttestation& attestation, std::int64_t now_ms) {
  return check_attestation(attestation,
                           canonical_session_attestation(attestation.parent_member_pubkey, attestation.session_pubkey,
                                                         attestation.expires_at_ms),
                           now_ms);
}

VerifyOutcome verify_session_attestation_v2(const SessionAttestation& attestation, std::int64_t now_ms) {
  return check_attestation(
      attestation,
      canonical_session_attestation_v2(attestation.parent_member_pubkey, attestation.session_pubkey,
                                       attestation.expires_at_ms, attestation.allowed_caps),
      now_ms);
}

VerifyOutcome verify_session_hello(std::string_view mesh_id, std::string_view parent_member_pubkey,
                                   std::string_view session_pubkey, double timestamp_ms, std::string_view signature,
                                   std::int64_t now_ms) {
  if (is_skewed(timestamp_ms, now_ms)) {
    return VerifyOutcome::kTimestampSkew;
  }
  if (!is_key(parent_member_pubkey) || !is_key(session_pubkey) || !is_signature(signature)) {
    return VerifyOutcome::kMalformed;
  }
  const std::string text = canonical_session_hello(mesh_id, parent_member_pubkey, session_pubkey, timestamp_ms);
  return verify_hex(session_pubkey, text, signature) ? VerifyOutcome::kOk : VerifyOutcome::kBadSignature;
}

}  // namespace cm::protocol
