// Invites: the v1 token, all link forms, and what a person may type (wire/01 section 10). No network: a short code is
// only recognised, resolving it is the caller's HTTP request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <claudemesh/cpp/result.hpp>

#include "protocol/keys.hpp"

namespace cm::protocol {

inline constexpr std::size_t kInviteTokenMaxBytes = 8'192;   // our bound; real tokens have about 600
inline constexpr std::size_t kInviteRawTokenMinLength = 21;  // a bare token must be longer than 20 characters
inline constexpr std::string_view kInviteFallbackHost = "claudemesh.com";

// The JSON object inside a v1 token. Contains the mesh root key: treat the whole as a secret.
struct InvitePayload {
  int v = 1;
  std::string mesh_id;
  std::string mesh_slug;
  std::string broker_url;     // WebSocket URL
  double expires_at_s = 0;    // unix seconds
  std::string mesh_root_key;  // base64url
  std::string role;           // "admin" or "member"
  std::string owner_pubkey;   // hex64
  std::string signature;      // hex128

  std::string canonical() const;
};

// Fills owner_pubkey and signature.
void sign_invite(InvitePayload& payload, const SecretKey& owner);
// base64url(JSON); the exact text is the database key of the invite, so keep what was returned.
std::string build_invite_token(const InvitePayload& payload);

// Decodes and checks the shape, neither expiry nor signature. kInvalid with the original's texts: "invite link base64
// decode failed: ...", "invite link JSON parse failed: ...", "invite payload: ...".
Result<InvitePayload> parse_invite_token(std::string_view token);
// "invite expired: expires_at=<n>, now=<n>" (kGone; expired when expires_at < floor(now / 1000)), "invite signature
// invalid (link tampered?)" (kDenied).
Status verify_invite(const InvitePayload& payload, std::int64_t now_ms);

// --- what a person may paste ---
// A v1 token, from any link form or bare.
struct InviteToken {
  std::string token;
};
// A short code: GET resolve_url gives {found: true, token} (v1); the v2 claim uses the code alone.
struct InviteShortCode {
  std::string code;
  std::string host;         // of the link; kInviteFallbackHost for a bare code
  std::string resolve_url;  // https://<host>/api/public/invite-code/<code>
};
using InviteInput = std::variant<InviteToken, InviteShortCode>;

// v1 forms: ic://join/<token>[/], http(s)://host[/xx]/join/<token>, http(s)://host[/xx]/i/<code>, a bare token; and the
// claudemesh:// forms, which are rewritten first. kInvalid: "invite link has no payload" or "invalid invite format.
// ...".
Result<InviteInput> classify_invite(std::string_view text);
// v2 forms: http(s)://host[/xx]/i/<code>[/], host[/xx]/i/<code>, a bare code of 6 to 16 letters and digits.
std::optional<InviteShortCode> parse_invite_code(std::string_view text);
// classify_invite, then parse_invite_token, then verify_invite; a short code is kUnsupported here.
Result<InvitePayload> read_invite(std::string_view text, std::int64_t now_ms);

// Whether the bare argument of `claudemesh <url>` is an invite (section 10.3).
bool is_invite_url(std::string_view text);
// claudemesh://i/<c>, claudemesh://join/<t>, claudemesh://<c> to https://claudemesh.com/...; anything else unchanged.
std::string normalise_invite_url(std::string_view text);

// --- link builders ---
std::string invite_join_link(std::string_view web_base, std::string_view token);  // <base>/join/<token>
std::string invite_short_link(std::string_view web_base, std::string_view code);  // <base>/i/<code>
std::string invite_ic_link(std::string_view token);                               // ic://join/<token>
// wss://host:port/ws to https://host:port, ws to http; kInvalid for another scheme or no host.
Result<std::string> broker_http_base(std::string_view broker_url);

// --- v2 capability (section 10.2) ---
// {"canonical":"v=2|...","signature":"<hex>"}, as stored beside the invite.
std::string build_invite_capability(std::string_view mesh_id, std::string_view invite_id, double expires_at_s,
                                    std::string_view role, const SecretKey& owner);
// kInvalid "malformed" when unreadable, kDenied "bad_signature" when the text differs from the recomputed one or the
// signature does not fit: the two words of the claim's answer.
Status verify_invite_capability(std::string_view capability_json, std::string_view mesh_id, std::string_view invite_id,
                                double expires_at_s, std::string_view role, std::string_view owner_pubkey);

}  // namespace cm::protocol
