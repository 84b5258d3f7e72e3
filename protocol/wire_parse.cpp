#include "protocol/wire_parse.hpp"

#include <cmath>
#include <limits>

#include "protocol/field_reader.hpp"

namespace cm::protocol {
namespace {

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();
// Stands for a session key that is not even a string: it can never look like one.
constexpr std::string_view kNotAString = "(not a string)";

// Missing, null and empty mean "no session key"; anything else is a claim that the shape check must see.
std::optional<std::string> claimed_session_key(const FieldReader& fields) {
  const JsonValue* value = fields.present("sessionPubkey");
  if (value == nullptr) {
    return std::nullopt;
  }
  const std::string* text = value->as_string();
  if (text == nullptr) {
    return std::string(kNotAString);
  }
  return text->empty() ? std::nullopt : std::optional(*text);
}

template <typename T>
Result<T> parse_text(std::string_view text, Result<T> (*parse)(const JsonValue&)) {
  const auto tree = parse_json(text);
  if (!tree.ok()) {
    return tree.error();
  }
  return parse(*tree);
}

MemberProfile parse_profile(const JsonValue& value) {
  const FieldReader fields("memberProfile", value);
  MemberProfile profile;
  profile.role_tag = fields.maybe_text("roleTag");
  profile.groups = parse_groups(value.find("groups"));
  profile.message_mode = fields.maybe_text("messageMode").value_or("push");
  return profile;
}

RestoredStats parse_stats(const JsonValue& value) {
  const FieldReader fields("restoredStats", value);
  return RestoredStats{fields.any_number("messagesIn", 0), fields.any_number("messagesOut", 0),
                       fields.any_number("toolCalls", 0), fields.any_number("errors", 0)};
}

// What a hello, a session_hello and a row of the peers' list say of the program at the other end.
template <typename About>
void read_program(const FieldReader& fields, About& out) {
  out.hostname = fields.maybe_text("hostname");
  out.peer_type = fields.maybe_text("peerType");
  out.channel = fields.maybe_text("channel");
  out.model = fields.maybe_text("model");
}

// What both kinds of hello say of the session.
template <typename AnyHello>
void read_session(const FieldReader& fields, AnyHello& out) {
  out.display_name = fields.maybe_text("displayName");
  out.session_id = fields.any_text("sessionId");
  out.pid = fields.any_number("pid", 0);
  out.cwd = fields.any_text("cwd");
  read_program(fields, out);
}

PeerEntry parse_peer(FieldReader& fields, const JsonValue& value) {
  PeerEntry peer;
  peer.pubkey = fields.text("pubkey");
  // Older brokers leave some of these out; only the routing key is indispensable.
  peer.member_pubkey = fields.any_text("memberPubkey");
  peer.display_name = fields.any_text("displayName");
  peer.status = fields.maybe_text("status").value_or("idle");
  peer.summary = fields.maybe_text("summary");
  peer.groups = parse_groups(value.find("groups"));
  peer.session_id = fields.any_text("sessionId");
  peer.connected_at = fields.any_text("connectedAt");
  peer.cwd = fields.any_text("cwd");
  peer.peer_role = fields.any_text("peerRole");
  read_program(fields, peer);
  peer.stats_json = fields.json_of("stats", JsonValue::Kind::kObject);
  const JsonValue* visible = fields.present("visible");
  if (visible != nullptr && visible->as_bool() != nullptr) {
    peer.visible = *visible->as_bool();
  }
  peer.profile_json = fields.json_of("profile", JsonValue::Kind::kObject);
  return peer;
}

}  // namespace

std::vector<GroupMembership> parse_groups(const JsonValue* value) {
  std::vector<GroupMembership> groups;
  const JsonValue::Array* array = value == nullptr ? nullptr : value->as_array();
  if (array == nullptr) {
    return groups;
  }
  for (const JsonValue& entry : *array) {
    const FieldReader fields("groups", entry);
    auto name = fields.maybe_text("name");
    if (name) {
      groups.push_back(GroupMembership{std::move(*name), fields.maybe_text("role")});
    }
  }
  return groups;
}

Result<SessionAttestation> parse_attestation(const JsonValue& value) {
  const FieldReader fields("parentAttestation", value);
  if (!fields.ok()) {
    return fields.error();
  }
  SessionAttestation out;
  out.session_pubkey = fields.any_text("sessionPubkey");
  out.parent_member_pubkey = fields.any_text("parentMemberPubkey");
  out.expires_at_ms = fields.any_number("expiresAt", kNoNumber);
  out.signature = fields.any_text("signature");
  const double version = fields.any_number("version", kNoNumber);
  if (version >= 1 && version <= 1'000 && version == std::floor(version)) {
    out.version = static_cast<int>(version);
  }
  const JsonValue* caps = fields.present("allowed_caps");
  if (caps != nullptr && caps->as_array() != nullptr) {
    for (const JsonValue& cap : *caps->as_array()) {
      if (cap.as_string() != nullptr) {
        out.allowed_caps.push_back(*cap.as_string());
      }
    }
  }
  return out;
}

Result<Hello> parse_hello(const JsonValue& frame) {
  const FieldReader fields("hello", frame);
  if (!fields.ok()) {
    return fields.error();
  }
  Hello out;
  out.mesh_id = fields.any_text("meshId");
  out.member_id = fields.any_text("memberId");
  out.pubkey = fields.any_text("pubkey");
  out.session_pubkey = claimed_session_key(fields);
  read_session(fields, out);
  out.groups = parse_groups(frame.find("groups"));
  out.timestamp_ms = fields.any_number("timestamp", kNoNumber);
  out.signature = fields.any_text("signature");
  return out;
}

Result<SessionHello> parse_session_hello(const JsonValue& frame) {
  const FieldReader fields("session_hello", frame);
  if (!fields.ok()) {
    return fields.error();
  }
  SessionHello out;
  out.mesh_id = fields.any_text("meshId");
  out.parent_member_id = fields.maybe_text("parentMemberId");
  if (out.parent_member_id && out.parent_member_id->empty()) {
    out.parent_member_id.reset();
  }
  out.parent_member_pubkey = fields.any_text("parentMemberPubkey");
  out.session_pubkey = fields.any_text("sessionPubkey");
  const JsonValue* attestation = fields.present("parentAttestation");
  if (attestation != nullptr && attestation->is_object()) {
    auto parsed = parse_attestation(*attestation);
    if (parsed.ok()) {
      out.parent_attestation = std::move(parsed).value();
    }
  }
  read_session(fields, out);
  if (fields.present("groups") != nullptr) {
    out.groups = parse_groups(frame.find("groups"));
  }
  out.role = fields.maybe_text("role");
  out.timestamp_ms = fields.any_number("timestamp", kNoNumber);
  out.signature = fields.any_text("signature");
  return out;
}

Result<HelloAck> parse_hello_ack(const JsonValue& frame) {
  FieldReader fields("hello_ack", frame);
  HelloAck out;
  out.presence_id = fields.text("presenceId");
  if (!fields.ok()) {
    return fields.error();
  }
  out.member_display_name = fields.any_text("memberDisplayName");
  const JsonValue* profile = fields.present("memberProfile");
  if (profile != nullptr && profile->is_object()) {
    out.member_profile = parse_profile(*profile);
  }
  const JsonValue* policy = fields.present("meshPolicy");
  if (policy != nullptr) {
    out.self_editable_json = FieldReader("meshPolicy", *policy).json_of("selfEditable", JsonValue::Kind::kObject);
  }
  const JsonValue* restored = fields.present("restored");
  out.restored = restored != nullptr && restored->as_bool() != nullptr && *restored->as_bool();
  out.last_summary = fields.maybe_text("lastSummary");
  out.last_seen_at = fields.maybe_text("lastSeenAt");
  if (fields.present("restoredGroups") != nullptr) {
    out.restored_groups = parse_groups(frame.find("restoredGroups"));
  }
  const JsonValue* stats = fields.present("restoredStats");
  if (stats != nullptr && stats->is_object()) {
    out.restored_stats = parse_stats(*stats);
  }
  out.services_json = fields.json_of("services", JsonValue::Kind::kArray);
  return out;
}

Result<ErrorFrame> parse_error(const JsonValue& frame) {
  FieldReader fields("error", frame);
  ErrorFrame out;
  out.code = fields.text("code");
  out.message = fields.any_text("message");
  out.id = fields.maybe_text("id");
  out.req_id = fields.maybe_text("_reqId");
  if (!fields.ok()) {
    return fields.error();
  }
  return out;
}

Result<ListPeers> parse_list_peers(const JsonValue& frame) {
  const FieldReader fields("list_peers", frame);
  if (!fields.ok()) {
    return fields.error();
  }
  return ListPeers{fields.maybe_text("_reqId")};
}

Result<PeersList> parse_peers_list(const JsonValue& frame) {
  FieldReader fields("peers_list", frame);
  PeersList out;
  const JsonValue::Array* peers = fields.array("peers");
  if (!fields.ok() || peers == nullptr) {
    return fields.error();
  }
  out.req_id = fields.maybe_text("_reqId");
  out.peers.reserve(peers->size());
  for (const JsonValue& entry : *peers) {
    FieldReader peer("peers_list entry", entry);
    out.peers.push_back(parse_peer(peer, entry));
    if (!peer.ok()) {
      return peer.error();
    }
  }
  return out;
}

Result<MessageStatusRequest> parse_message_status(const JsonValue& frame) {
  const FieldReader fields("message_status", frame);
  if (!fields.ok()) {
    return fields.error();
  }
  return MessageStatusRequest{fields.any_text("messageId"), fields.maybe_text("_reqId")};
}

Result<MessageStatusResult> parse_message_status_result(const JsonValue& frame) {
  FieldReader fields("message_status_result", frame);
  MessageStatusResult out;
  out.message_id = fields.text("messageId");
  out.target_spec = fields.any_text("targetSpec");
  out.delivered = fields.boolean("delivered");
  out.delivered_at = fields.maybe_text("deliveredAt");
  out.req_id = fields.maybe_text("_reqId");
  const JsonValue::Array* recipients = fields.array("recipients");
  if (!fields.ok() || recipients == nullptr) {
    return fields.error();
  }
  for (const JsonValue& entry : *recipients) {
    const FieldReader recipient("recipients entry", entry);
    out.recipients.push_back(
        MessageRecipient{recipient.any_text("name"), recipient.any_text("pubkey"), recipient.any_text("status")});
  }
  return out;
}

Result<Hello> parse_hello(std::string_view text) {
  return parse_text<Hello>(text, parse_hello);
}
Result<SessionHello> parse_session_hello(std::string_view text) {
  return parse_text<SessionHello>(text, parse_session_hello);
}
Result<HelloAck> parse_hello_ack(std::string_view text) {
  return parse_text<HelloAck>(text, parse_hello_ack);
}
Result<PeersList> parse_peers_list(std::string_view text) {
  return parse_text<PeersList>(text, parse_peers_list);
}

}  // namespace cm::protocol
