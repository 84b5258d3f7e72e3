// `session_hello`: the connection of one launched session (wire/02 section 2.2).
#include "plugins/ws_broker/src/admission.hpp"
#include "protocol/encoding.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

using protocol::SessionHello;
using protocol::VerifyOutcome;

bool is_key(std::string_view text) {
  return protocol::is_hex(text, protocol::kPublicKeyHexLength, protocol::HexCase::kLowerOnly);
}

bool attestation_binds(const SessionHello& hello) {
  return hello.parent_attestation && hello.parent_attestation->session_pubkey == hello.session_pubkey &&
         hello.parent_attestation->parent_member_pubkey == hello.parent_member_pubkey;
}

bool takes_over(const SessionHello& hello, Mesh* mesh) {
  const Member* member = mesh == nullptr ? nullptr : MeshCache::active_member(*mesh, hello.parent_member_pubkey);
  if (member == nullptr) {
    return false;
  }
  return Registry::session_presence(*mesh, *member, hello.session_pubkey) != nullptr ||
         (!hello.session_id.empty() && !Registry::with_session_id(*mesh, *member, hello.session_id).empty());
}

// The shape checks before the capacity, in their order.
bool shape_is_good(Broker& broker, Connection& connection, const SessionHello& hello) {
  if (!is_key(hello.session_pubkey)) {
    refuse_hello(broker, connection, protocol::kRefusedBadSessionPubkey,
                 "sessionPubkey must be 64 lowercase hex chars");
    return false;
  }
  if (!is_key(hello.parent_member_pubkey)) {
    refuse_hello(broker, connection, protocol::kRefusedBadParentPubkey,
                 "parentMemberPubkey must be 64 lowercase hex chars");
    return false;
  }
  if (!attestation_binds(hello)) {
    refuse_hello(broker, connection, protocol::kRefusedAttestationMismatch,
                 "parentAttestation does not bind the claimed session+parent pubkeys");
    return false;
  }
  return true;
}

bool proofs_are_good(Broker& broker, Connection& connection, const SessionHello& hello) {
  const std::int64_t now_ms = broker.context().wall_ms();
  const VerifyOutcome attested = protocol::verify_session_attestation(*hello.parent_attestation, now_ms);
  if (attested != VerifyOutcome::kOk) {
    const std::string word(protocol::to_string(attested));
    refuse_hello(broker, connection, word, "attestation rejected: " + word, "attestation_" + word);
    return false;
  }
  const VerifyOutcome signed_by_session = protocol::verify_session_hello(
      hello.mesh_id, hello.parent_member_pubkey, hello.session_pubkey, hello.timestamp_ms, hello.signature, now_ms);
  if (signed_by_session != VerifyOutcome::kOk) {
    const std::string word(protocol::to_string(signed_by_session));
    refuse_hello(broker, connection, word, "session_hello rejected: " + word, "session_" + word);
    return false;
  }
  return true;
}

void reply_ack(Broker& broker, Connection& connection, const Presence& presence, bool reattached) {
  protocol::HelloAck ack;
  ack.presence_id = presence.id;
  ack.member_display_name = presence.display_name;
  if (!reattached) {
    ack.member_profile = member_profile(*presence.member);
    if (!presence.mesh->self_editable_json.empty()) {
      ack.self_editable_json = presence.mesh->self_editable_json;
    }
  }
  std::string frame;
  protocol::write_hello_ack(frame, ack);
  broker.messages().contribute("hello_ack", presence, R"({"type":"session_hello"})", frame);
  connection.reply(std::move(frame));
}

void reattach(Broker& broker, Connection& connection, Presence& presence, const SessionHello& hello) {
  presence.cwd = hello.cwd;
  presence.kind = PresenceKind::kSession;  // it has proved the key now
  if (hello.display_name && !hello.display_name->empty()) {
    presence.display_name = *hello.display_name;
  }
  broker.registry().set_session_id(presence, hello.session_id);
  broker.bind(connection, presence);
  reply_ack(broker, connection, presence, true);
  broker.delivery().presence_online(presence);
}

void join(Broker& broker, Connection& connection, Member& member, const SessionHello& hello) {
  replace_same_session(broker, *member.mesh, member, hello.session_id);
  auto fresh = make_presence(broker, connection, member, PresenceKind::kSession);
  fresh->session_key = hello.session_pubkey;
  fresh->session_id = hello.session_id;
  fresh->display_name = presence_name(hello.display_name, member);
  fresh->cwd = hello.cwd;
  fresh->hostname = hello.hostname;
  fresh->peer_type = hello.peer_type;
  fresh->channel = hello.channel;
  fresh->model = hello.model;
  fresh->groups = hello.groups.value_or(member.default_groups);
  fresh->acknowledges = client_acknowledges(hello.channel);
  Presence& presence = broker.registry().add(std::move(fresh));
  broker.context().metrics.presences.set(static_cast<std::int64_t>(broker.registry().size()));
  broker.bind(connection, presence);
  reply_ack(broker, connection, presence, false);
  broker.delivery().presence_online(presence);

  protocol::JsonValue audit;
  audit.set("pubkey", protocol::JsonValue(member.pubkey));
  audit.set("session_pubkey", protocol::JsonValue(presence.session_key));
  audit.set("groups", groups_value(presence.groups));
  audit.set("via", protocol::JsonValue("session_hello"));
  audit.set("role", protocol::JsonValue("session"));
  broker.audit().append(*presence.mesh, "peer_joined", &member, audit);
  protocol::JsonValue data = presence_event_data(presence);
  data.set("groups", groups_value(presence.groups));
  data.set("displayName", protocol::JsonValue(presence.display_name));  // what the 1.37.0 client prints
  broker.push_event(*presence.mesh, "peer_joined", protocol::to_json(data),
                    [&presence](const Presence& other) { return &other != &presence; });
  broker.messages().presence_joined(presence);
}

}  // namespace

void handle_session_hello(Broker& broker, Connection& connection, const protocol::JsonValue& frame) {
  const auto parsed = protocol::parse_session_hello(frame);
  if (!parsed.ok() || is_second_hello(broker, connection)) {
    return;
  }
  const SessionHello& hello = *parsed;
  if (!shape_is_good(broker, connection, hello)) {
    return;
  }
  Mesh* mesh = broker.cache().find(hello.mesh_id);
  if (!has_capacity(broker, connection, mesh, takes_over(hello, mesh)) || !proofs_are_good(broker, connection, hello)) {
    return;
  }
  Member* member =
      admit_member(broker, connection, mesh, hello.parent_member_pubkey, "parent pubkey not found in mesh");
  if (member == nullptr) {
    return;
  }
  if (hello.parent_member_id && !hello.parent_member_id->empty() && *hello.parent_member_id != member->id) {
    refuse_hello(broker, connection, protocol::kRefusedParentMemberIdMismatch,
                 "parentMemberId does not match parentMemberPubkey");
    return;
  }
  Presence* known = still_leased(broker, Registry::session_presence(*mesh, *member, hello.session_pubkey));
  if (known != nullptr) {
    reattach(broker, connection, *known, hello);
  } else {
    join(broker, connection, *member, hello);
  }
}

}  // namespace cm::broker
