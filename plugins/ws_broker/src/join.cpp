// `POST /join`: a new member by invite (wire/03 section 4). The order of the checks is part of the protocol.
#include <cmath>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"
#include "protocol/invite.hpp"
#include "protocol/object_writer.hpp"

namespace cm::broker {

using protocol::JsonValue;

namespace {

constexpr std::string_view kMissing = "invite_token, invite_payload, peer_pubkey, display_name required";
constexpr std::string_view kBadKey = "peer_pubkey must be 64 hex chars (32 bytes)";

struct JoinBody {
  std::string token;
  JsonValue payload;
  std::string pubkey;
  std::string display_name;
};

void respond_error(const HttpRequest& request, std::string_view error, std::uint32_t status = 400) {
  std::string body;
  protocol::ObjectWriter object(body);
  object.boolean("ok", false);
  object.text("error", error);
  object.close();
  respond_json_cors(request, status, body);
}

void respond_member(const HttpRequest& request, const Member& member, bool already) {
  std::string body;
  protocol::ObjectWriter object(body);
  object.boolean("ok", true);
  object.text("memberId", member.id);
  if (already) {
    object.boolean("alreadyMember", true);
  }
  object.close();
  respond_json_cors(request, 200, body);
}

Result<JoinBody> parse_body(std::string_view text) {
  auto json = protocol::parse_json(text);
  if (!json.ok()) {
    return make_error(ErrorCode::kInternal, json.error().message);
  }
  JoinBody body;
  body.token = text_member(*json, "invite_token");
  body.pubkey = text_member(*json, "peer_pubkey");
  body.display_name = text_member(*json, "display_name");
  const JsonValue* payload = json->find("invite_payload");
  if (body.token.empty() || body.pubkey.empty() || body.display_name.empty() || payload == nullptr ||
      !payload->is_object()) {
    return make_error(ErrorCode::kInvalid, std::string(kMissing));
  }
  if (!protocol::is_hex(body.pubkey, protocol::kPublicKeyHexLength, protocol::HexCase::kLowerOnly)) {
    return make_error(ErrorCode::kInvalid, std::string(kBadKey));
  }
  body.payload = *payload;
  return body;
}

// The payload as the struct that knows its canonical text; false when a field is missing or of the wrong kind.
bool read_payload(const JsonValue& json, protocol::InvitePayload& out) {
  const auto number = [&](std::string_view name) {
    const JsonValue* value = json.find(name);
    const double* found = value == nullptr ? nullptr : value->as_number();
    return found == nullptr ? std::nan("") : *found;
  };
  const double version = number("v");
  out.expires_at_s = number("expires_at");
  if (version != 1 || !std::isfinite(out.expires_at_s)) {
    return false;
  }
  out.v = 1;
  out.mesh_id = text_member(json, "mesh_id");
  out.mesh_slug = text_member(json, "mesh_slug");
  out.broker_url = text_member(json, "broker_url");
  out.mesh_root_key = text_member(json, "mesh_root_key");
  out.role = text_member(json, "role");
  out.owner_pubkey = text_member(json, "owner_pubkey");
  out.signature = text_member(json, "signature");
  return true;
}

// What the checks leave behind.
struct Admission {
  Mesh* mesh = nullptr;
  Invite* invite = nullptr;
  std::string role;
};

// The documented checks up to the expiry; the word of the first that fails.
std::string_view check(Broker& broker, const JoinBody& body, Admission& out) {
  protocol::InvitePayload payload;
  if (!read_payload(body.payload, payload) ||
      !protocol::verify_hex(payload.owner_pubkey, payload.canonical(), payload.signature)) {
    return "invite_bad_signature";
  }
  out.mesh = broker.cache().find(payload.mesh_id);
  if (out.mesh == nullptr) {
    return "mesh_not_found";
  }
  if (out.mesh->owner_pubkey.empty()) {
    return "mesh_missing_owner_key";
  }
  if (out.mesh->owner_pubkey != payload.owner_pubkey) {
    return "invite_owner_mismatch";
  }
  const MeshCache::FoundInvite found = broker.cache().find_invite(body.token);
  if (found.invite == nullptr) {
    return "invite_not_found";
  }
  if (found.mesh != out.mesh) {
    return "invite_mesh_mismatch";
  }
  if (found.invite->revoked_at_ms) {
    return "invite_revoked";
  }
  if (found.invite->expires_at_ms <= broker.context().wall_ms()) {
    return "invite_expired";
  }
  out.invite = found.invite;
  // Of the stored invite that is used up, not of the payload: a payload that was signed for another, say an old one for
  // an admin, passes the signature check as well.
  out.role = found.invite->role;
  return {};
}

// One member row and one use, in one transaction. The member is visible only after the commit; the use is reserved
// before, so that concurrent joins cannot overuse the invite.
void enrol(Broker& broker, const HttpRequest& request, const Admission& admission, JoinBody body) {
  Context& context = broker.context();
  auto member = std::make_shared<std::unique_ptr<Member>>(std::make_unique<Member>());
  Member& fresh = **member;
  fresh.id = protocol::generate_row_id(context.random);
  fresh.pubkey = std::move(body.pubkey);
  fresh.display_name = std::move(body.display_name);
  fresh.role = admission.role == "admin" ? "admin" : "member";
  fresh.joined_at_ms = context.wall_ms();
  ++admission.invite->used_count;
  auto claim = broker.joins_in_flight().claim(admission.mesh->id + fresh.pubkey);
  Mesh* mesh = admission.mesh;
  Invite* invite = admission.invite;
  context.storage.submit(
      [sql = context.sql, member, mesh_id = mesh->id, invite_id = invite->id](SqlTransaction& tx) {
        Status status = sql->use_invite(tx, invite_id);
        return status.ok() ? sql->insert_member(tx, **member, mesh_id) : status;
      },
      [&broker, request, member, mesh, invite, claim = std::move(claim)](Status status) {
        if (!status.ok()) {
          --invite->used_count;
          const bool exhausted = status.error().code == ErrorCode::kDenied;
          respond_error(request, exhausted ? "invite_exhausted" : "member_insert_failed");
          return;
        }
        Member& added = broker.cache().add_member(*mesh, std::move(*member));
        respond_member(request, added, false);
        broker.messages().member_joined(added);
      });
}

}  // namespace

void handle_join(Broker& broker, const HttpRequest& request) {
  if (request.body().size() > broker.context().options.max_message_bytes) {
    respond_error(request, "payload too large", 413);
    return;
  }
  auto body = parse_body(request.body());
  if (!body.ok()) {
    respond_error(request, body.error().message, body.error().code == ErrorCode::kInternal ? 500 : 400);
    return;
  }
  Admission admission;
  const std::string_view fault = check(broker, *body, admission);
  if (!fault.empty()) {
    respond_error(request, fault);
    return;
  }
  if (const Member* known = MeshCache::active_member(*admission.mesh, body->pubkey)) {
    respond_member(request, *known, true);
    return;
  }
  if (broker.joins_in_flight().taken(admission.mesh->id + body->pubkey)) {
    // The same key, twice at once: whoever repeats after the first answer is told that it is a member.
    respond_error(request, "member_insert_failed");
    return;
  }
  if (admission.invite->used_count >= admission.invite->max_uses) {
    respond_error(request, "invite_exhausted");
    return;
  }
  enrol(broker, request, admission, std::move(*body));
}

}  // namespace cm::broker
