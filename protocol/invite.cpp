// The invite token and the capability: wire/01 sections 10.1 and 10.2. The link forms are in invite_links.cpp.
#include "protocol/invite.hpp"

#include <cmath>

#include "protocol/canonical.hpp"
#include "protocol/encoding.hpp"
#include "protocol/json.hpp"
#include "protocol/object_writer.hpp"

namespace cm::protocol {
namespace {

Error bad_payload(std::string_view detail) {
  return make_error(ErrorCode::kInvalid, "invite payload: " + std::string(detail));
}

// Reads the fields of the token's object in their documented order and remembers the first that does not fit.
class PayloadReader {
 public:
  explicit PayloadReader(const JsonValue& object) : object_(object) {}

  std::string text(std::string_view name) {
    const JsonValue* value = object_.find(name);
    const std::string* content = value == nullptr ? nullptr : value->as_string();
    if (content == nullptr || content->empty()) {
      complain(std::string(name) + " missing or not a string");
      return {};
    }
    return *content;
  }
  std::string hex(std::string_view name, std::size_t length) {
    std::string content = text(name);
    if (!is_hex(content, length, HexCase::kAny)) {
      complain(std::string(name) + " must be " + std::to_string(length) + " hex chars");
    }
    return content;
  }
  double number(std::string_view name) {
    const JsonValue* value = object_.find(name);
    const double* content = value == nullptr ? nullptr : value->as_number();
    return content == nullptr ? 0 : *content;
  }
  void complain(std::string problem) {
    if (problem_.empty()) {
      problem_ = std::move(problem);
    }
  }
  const std::string& problem() const { return problem_; }

 private:
  const JsonValue& object_;
  std::string problem_;
};

Result<InvitePayload> read_payload(const JsonValue& object) {
  if (!object.is_object()) {
    return bad_payload("not an object");
  }
  PayloadReader reader(object);
  if (reader.number("v") != 1) {
    return bad_payload("unsupported version, expected v=1; update claudemesh");
  }
  InvitePayload out;
  out.mesh_id = reader.text("mesh_id");
  out.mesh_slug = reader.text("mesh_slug");
  out.broker_url = reader.text("broker_url");
  out.expires_at_s = reader.number("expires_at");
  if (!(out.expires_at_s > 0)) {
    reader.complain("expires_at must be a number > 0");
  }
  out.mesh_root_key = reader.text("mesh_root_key");
  out.role = reader.text("role");
  if (out.role != "admin" && out.role != "member") {
    reader.complain("role must be admin or member");
  }
  out.owner_pubkey = reader.hex("owner_pubkey", kPublicKeyHexLength);
  out.signature = reader.hex("signature", kSignatureHexLength);
  if (!reader.problem().empty()) {
    return bad_payload(reader.problem());
  }
  return out;
}

}  // namespace

std::string InvitePayload::canonical() const {
  return canonical_invite_v1(v, mesh_id, mesh_slug, broker_url, expires_at_s, mesh_root_key, role, owner_pubkey);
}

void sign_invite(InvitePayload& payload, const SecretKey& owner) {
  payload.owner_pubkey = owner.public_key().hex();
  payload.signature = sign_hex(owner, payload.canonical());
}

std::string build_invite_token(const InvitePayload& payload) {
  std::string json;
  ObjectWriter object(json);
  object.integer("v", payload.v);
  object.text("mesh_id", payload.mesh_id);
  object.text("mesh_slug", payload.mesh_slug);
  object.text("broker_url", payload.broker_url);
  object.number("expires_at", payload.expires_at_s);
  object.text("mesh_root_key", payload.mesh_root_key);
  object.text("role", payload.role);
  object.text("owner_pubkey", payload.owner_pubkey);
  object.text("signature", payload.signature);
  object.close();
  return base64url_encode(as_bytes(json));
}

Result<InvitePayload> parse_invite_token(std::string_view token) {
  if (token.empty()) {
    return make_error(ErrorCode::kInvalid, "invite link has no payload");
  }
  if (token.size() > kInviteTokenMaxBytes) {
    return make_error(ErrorCode::kInvalid, "invite link base64 decode failed: found " + std::to_string(token.size()) +
                                               " characters, at most " + std::to_string(kInviteTokenMaxBytes) +
                                               " are accepted");
  }
  const auto bytes = base64url_decode(token);
  if (!bytes) {
    return make_error(ErrorCode::kInvalid,
                      "invite link base64 decode failed: the token is cut or altered; copy the whole link");
  }
  const auto tree = parse_json(as_text(*bytes));
  if (!tree.ok()) {
    return make_error(ErrorCode::kInvalid, "invite link JSON parse failed: " + tree.error().message);
  }
  return read_payload(*tree);
}

Status verify_invite(const InvitePayload& payload, std::int64_t now_ms) {
  const std::int64_t now_s = now_ms / 1'000;
  if (payload.expires_at_s < static_cast<double>(now_s)) {
    return make_error(ErrorCode::kGone, "invite expired: expires_at=" + ecmascript_number(payload.expires_at_s) +
                                            ", now=" + std::to_string(now_s));
  }
  if (!verify_hex(payload.owner_pubkey, payload.canonical(), payload.signature)) {
    return make_error(ErrorCode::kDenied, "invite signature invalid (link tampered?)");
  }
  return {};
}

Result<InvitePayload> read_invite(std::string_view text, std::int64_t now_ms) {
  const auto input = classify_invite(text);
  if (!input.ok()) {
    return input.error();
  }
  const auto* token = std::get_if<InviteToken>(&*input);
  if (token == nullptr) {
    return make_error(ErrorCode::kUnsupported, "a short invite link holds only a code; fetch its token first: " +
                                                   std::get<InviteShortCode>(*input).resolve_url);
  }
  auto payload = parse_invite_token(token->token);
  if (!payload.ok()) {
    return payload;
  }
  const Status verified = verify_invite(*payload, now_ms);
  if (!verified.ok()) {
    return verified.error();
  }
  return payload;
}

std::string build_invite_capability(std::string_view mesh_id, std::string_view invite_id, double expires_at_s,
                                    std::string_view role, const SecretKey& owner) {
  const std::string canonical = canonical_invite_v2(mesh_id, invite_id, expires_at_s, role, owner.public_key().hex());
  std::string out;
  ObjectWriter object(out);
  object.text("canonical", canonical);
  object.text("signature", sign_hex(owner, canonical));
  object.close();
  return out;
}

Status verify_invite_capability(std::string_view capability_json, std::string_view mesh_id, std::string_view invite_id,
                                double expires_at_s, std::string_view role, std::string_view owner_pubkey) {
  const auto tree = parse_json(capability_json);
  const JsonValue* canonical = tree.ok() ? tree->find("canonical") : nullptr;
  const JsonValue* signature = tree.ok() ? tree->find("signature") : nullptr;
  if (canonical == nullptr || canonical->as_string() == nullptr || signature == nullptr ||
      signature->as_string() == nullptr) {
    return make_error(ErrorCode::kInvalid, "malformed");
  }
  const std::string expected = canonical_invite_v2(mesh_id, invite_id, expires_at_s, role, owner_pubkey);
  if (*canonical->as_string() != expected || !verify_hex(owner_pubkey, expected, *signature->as_string())) {
    return make_error(ErrorCode::kDenied, "bad_signature");
  }
  return {};
}

}  // namespace cm::protocol
