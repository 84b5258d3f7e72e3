// `hello`: the member connection (wire/02 section 2.1). The order of the checks is part of the protocol.
#include "plugins/ws_broker/src/admission.hpp"
#include "protocol/encoding.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

using protocol::Hello;

// All that features see of a hello: its proofs are good for a minute and nobody else's.
constexpr std::string_view kHelloFrame = R"({"type":"hello"})";

struct Restored {
  bool restored = false;
  std::string last_seen_at;
  std::string summary;
};

bool bad_session_key(const Hello& hello) {
  return hello.session_pubkey &&
         !protocol::is_hex(*hello.session_pubkey, protocol::kPublicKeyHexLength, protocol::HexCase::kLowerOnly);
}

// Nothing in this hello proves the session key. One that is known to be somebody else's would put words into his mouth:
// what is sent carries it as the sender, and a queued message carries nothing else.
bool is_key_of_another(const Mesh& mesh, const Member& member, const std::string& key) {
  const auto active = mesh.active_by_key.find(key);
  const auto session = mesh.session_keys.find(key);
  return (active != mesh.active_by_key.end() && active->second != &member) ||
         (session != mesh.session_keys.end() && session->second.member != &member);
}

// Whether this hello would take the place of a presence rather than need a new one. Decided before the signature is
// checked, from claims only; whoever lies fails at the signature.
bool takes_over(const Hello& hello, Mesh* mesh) {
  const Member* member = mesh == nullptr ? nullptr : MeshCache::active_member(*mesh, hello.pubkey);
  if (member == nullptr) {
    return false;
  }
  return Registry::reattachable(*mesh, *member, hello.session_pubkey.value_or(""), hello.session_id) != nullptr ||
         (!hello.session_id.empty() && !Registry::with_session_id(*mesh, *member, hello.session_id).empty());
}

protocol::HelloAck ack_for(const Presence& presence) {
  protocol::HelloAck ack;
  ack.presence_id = presence.id;
  ack.member_display_name = presence.display_name;
  ack.member_profile = member_profile(*presence.member);
  if (!presence.mesh->self_editable_json.empty()) {
    ack.self_editable_json = presence.mesh->self_editable_json;
  }
  ack.services_json = "[]";
  return ack;
}

void reply_ack(Broker& broker, Connection& connection, const protocol::HelloAck& ack) {
  std::string frame;
  protocol::write_hello_ack(frame, ack);
  broker.messages().contribute("hello_ack", *connection.presence, kHelloFrame, frame);
  connection.reply(std::move(frame));
}

void reattach(Broker& broker, Connection& connection, Presence& presence, const Hello& hello) {
  presence.cwd = hello.cwd;
  if (hello.display_name && !hello.display_name->empty()) {
    presence.display_name = *hello.display_name;
  }
  broker.bind(connection, presence);
  reply_ack(broker, connection, ack_for(presence));
  broker.delivery().presence_online(presence);
}

// Fills what the hello gives and what the member left behind.
Restored fill(Presence& presence, const Hello& hello) {
  const Member& member = *presence.member;
  presence.session_key = hello.session_pubkey.value_or("");
  presence.session_id = hello.session_id;
  presence.display_name = presence_name(hello.display_name, member);
  presence.cwd = hello.cwd;
  presence.hostname = hello.hostname;
  presence.peer_type = hello.peer_type;
  presence.channel = hello.channel;
  presence.model = hello.model;
  presence.acknowledges = client_acknowledges(hello.channel);
  presence.groups = hello.groups;
  Restored restored;
  if (member.peer_state) {
    const PeerState& state = *member.peer_state;
    restored = {true, iso_time(state.last_seen_at_ms), state.last_summary};
    presence.visible = state.visible;
    if (state.profile.is_object()) {
      presence.profile = state.profile;
    }
    presence.stats_seeded = true;
    if (presence.groups.empty()) {
      presence.groups = state.groups;
    }
  }
  if (presence.groups.empty()) {
    presence.groups = member.default_groups;
  }
  return restored;
}

protocol::HelloAck restored_ack(const Presence& presence, const Hello& hello, const Restored& restored) {
  protocol::HelloAck ack = ack_for(presence);
  if (!restored.restored) {
    return ack;
  }
  const PeerState& state = *presence.member->peer_state;
  ack.restored = true;
  if (!restored.summary.empty()) {
    ack.last_summary = restored.summary;
  }
  ack.last_seen_at = restored.last_seen_at;
  if (hello.groups.empty() && !state.groups.empty()) {
    ack.restored_groups = state.groups;
  }
  ack.restored_stats = state.stats;
  return ack;
}

void announce(Broker& broker, Presence& presence, const Restored& restored) {
  const Member* member = presence.member;
  protocol::JsonValue data = presence_event_data(presence);
  data.set("groups", groups_value(presence.groups));
  data.set("displayName", protocol::JsonValue(presence.display_name));  // what the 1.37.0 client prints
  if (restored.restored) {
    data.set("lastSeenAt", protocol::JsonValue(restored.last_seen_at));
    if (!restored.summary.empty()) {
      data.set("summary", protocol::JsonValue(restored.summary));
    }
  }
  protocol::JsonValue audit;
  audit.set("pubkey", protocol::JsonValue(member->pubkey));
  audit.set("groups", groups_value(presence.groups));
  audit.set("restored", protocol::JsonValue(restored.restored));
  audit.set("role", protocol::JsonValue("control-plane"));
  broker.audit().append(*presence.mesh, "peer_joined", member, audit);
  broker.push_event(*presence.mesh, restored.restored ? "peer_returned" : "peer_joined", protocol::to_json(data),
                    [member](const Presence& other) { return other.member != member; });
}

void join(Broker& broker, Connection& connection, Member& member, const Hello& hello) {
  replace_same_session(broker, *member.mesh, member, hello.session_id);
  auto fresh = make_presence(broker, connection, member, PresenceKind::kControlPlane);
  const Restored restored = fill(*fresh, hello);
  Presence& presence = broker.registry().add(std::move(fresh));
  broker.context().metrics.presences.set(static_cast<std::int64_t>(broker.registry().size()));
  broker.bind(connection, presence);
  reply_ack(broker, connection, restored_ack(presence, hello, restored));
  broker.delivery().presence_online(presence);
  announce(broker, presence, restored);
  broker.messages().presence_joined(presence);
}

}  // namespace

void handle_hello(Broker& broker, Connection& connection, const protocol::JsonValue& frame) {
  const auto parsed = protocol::parse_hello(frame);
  if (!parsed.ok() || is_second_hello(broker, connection)) {
    return;
  }
  const Hello& hello = *parsed;
  if (bad_session_key(hello)) {
    refuse_hello(broker, connection, protocol::kRefusedBadSessionPubkey,
                 "sessionPubkey must be 64 lowercase hex chars");
    return;
  }
  Mesh* mesh = broker.cache().find(hello.mesh_id);
  if (!has_capacity(broker, connection, mesh, takes_over(hello, mesh))) {
    return;
  }
  const protocol::VerifyOutcome outcome = protocol::verify_hello(
      hello.mesh_id, hello.member_id, hello.pubkey, hello.timestamp_ms, hello.signature, broker.context().wall_ms());
  if (outcome != protocol::VerifyOutcome::kOk) {
    const std::string_view word = protocol::to_string(outcome);
    refuse_hello(broker, connection, word, "hello rejected: " + std::string(word));
    return;
  }
  Member* member = admit_member(broker, connection, mesh, hello.pubkey, "pubkey not found in mesh");
  if (member == nullptr) {
    return;
  }
  const std::string session_key = hello.session_pubkey.value_or("");
  if (is_key_of_another(*mesh, *member, session_key)) {
    refuse_hello(broker, connection, protocol::kRefusedBadSessionPubkey,
                 "sessionPubkey belongs to another member; make a key pair of your own");
    return;
  }
  Presence* leased = still_leased(broker, Registry::reattachable(*mesh, *member, session_key, hello.session_id));
  if (leased != nullptr) {
    reattach(broker, connection, *leased, hello);
  } else {
    join(broker, connection, *member, hello);
  }
}

}  // namespace cm::broker
