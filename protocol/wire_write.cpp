#include "protocol/wire_write.hpp"

#include "protocol/object_writer.hpp"

namespace cm::protocol {

namespace {

void write_group(std::string& out, const GroupMembership& group) {
  ObjectWriter object(out);
  object.text("name", group.name);
  object.text_if("role", group.role);
  object.close();
}

// What a hello, a session_hello and a row of the peers' list say of the program at the other end.
template <typename About>
void write_program(ObjectWriter& object, const About& about) {
  object.text_if("hostname", about.hostname);
  object.text_if("peerType", about.peer_type);
  object.text_if("channel", about.channel);
  object.text_if("model", about.model);
}

// What both kinds of hello say of the session.
template <typename AnyHello>
void write_session(ObjectWriter& object, const AnyHello& hello) {
  object.text_if("displayName", hello.display_name);
  object.text("sessionId", hello.session_id);
  object.number("pid", hello.pid);
  object.text("cwd", hello.cwd);
  write_program(object, hello);
}

void write_stats(std::string& out, const RestoredStats& stats) {
  ObjectWriter object(out);
  object.number("messagesIn", stats.messages_in);
  object.number("messagesOut", stats.messages_out);
  object.number("toolCalls", stats.tool_calls);
  object.number("errors", stats.errors);
  object.close();
}

void write_peer(std::string& out, const PeerEntry& peer) {
  ObjectWriter object(out);
  object.text("pubkey", peer.pubkey);
  object.text("memberPubkey", peer.member_pubkey);
  object.text("displayName", peer.display_name);
  object.text("status", peer.status);
  object.text_or_null("summary", peer.summary);
  object.array("groups", peer.groups, write_group);
  object.text("sessionId", peer.session_id);
  object.text("connectedAt", peer.connected_at);
  object.text("cwd", peer.cwd);
  object.text("peerRole", peer.peer_role);
  write_program(object, peer);
  object.raw_if("stats", peer.stats_json);
  object.boolean_if("visible", peer.visible);
  object.raw_if("profile", peer.profile_json);
  object.close();
}

void write_recipient(std::string& out, const MessageRecipient& recipient) {
  ObjectWriter object(out);
  object.text("name", recipient.name);
  object.text("pubkey", recipient.pubkey);
  object.text("status", recipient.status);
  object.close();
}

}  // namespace

void write_groups(std::string& out, const std::vector<GroupMembership>& groups) {
  append_json_array(out, groups, write_group);
}

void write_attestation(std::string& out, const SessionAttestation& attestation) {
  ObjectWriter object(out);
  object.text("sessionPubkey", attestation.session_pubkey);
  object.text("parentMemberPubkey", attestation.parent_member_pubkey);
  object.number("expiresAt", attestation.expires_at_ms);
  object.text("signature", attestation.signature);
  if (attestation.version) {
    object.integer("version", *attestation.version);
    object.texts("allowed_caps", attestation.allowed_caps);
  }
  object.close();
}

void write_hello(std::string& out, const Hello& hello) {
  ObjectWriter object(out, "hello");
  object.text("meshId", hello.mesh_id);
  object.text("memberId", hello.member_id);
  object.text("pubkey", hello.pubkey);
  object.text_if("sessionPubkey", hello.session_pubkey);
  write_session(object, hello);
  if (!hello.groups.empty()) {
    object.array("groups", hello.groups, write_group);
  }
  object.number("timestamp", hello.timestamp_ms);
  object.text("signature", hello.signature);
  object.close();
}

void write_session_hello(std::string& out, const SessionHello& hello) {
  ObjectWriter object(out, "session_hello");
  object.text("meshId", hello.mesh_id);
  object.text_if("parentMemberId", hello.parent_member_id);
  object.text("parentMemberPubkey", hello.parent_member_pubkey);
  object.text("sessionPubkey", hello.session_pubkey);
  if (hello.parent_attestation) {
    object.key("parentAttestation");
    write_attestation(out, *hello.parent_attestation);
  }
  write_session(object, hello);
  if (hello.groups) {
    object.array("groups", *hello.groups, write_group);
  }
  object.text_if("role", hello.role);
  object.number("timestamp", hello.timestamp_ms);
  object.text("signature", hello.signature);
  object.close();
}

void write_hello_ack(std::string& out, const HelloAck& ack) {
  ObjectWriter object(out, "hello_ack");
  object.text("presenceId", ack.presence_id);
  object.text("memberDisplayName", ack.member_display_name);
  if (ack.member_profile) {
    object.key("memberProfile");
    ObjectWriter profile(out);
    profile.text_or_null("roleTag", ack.member_profile->role_tag);
    profile.array("groups", ack.member_profile->groups, write_group);
    profile.text("messageMode", ack.member_profile->message_mode);
    profile.close();
  }
  if (ack.self_editable_json) {
    object.key("meshPolicy");
    ObjectWriter policy(out);
    policy.raw("selfEditable", *ack.self_editable_json);
    policy.close();
  }
  if (ack.restored) {
    object.boolean("restored", true);
  }
  object.text_if("lastSummary", ack.last_summary);
  object.text_if("lastSeenAt", ack.last_seen_at);
  if (ack.restored_groups) {
    object.array("restoredGroups", *ack.restored_groups, write_group);
  }
  if (ack.restored_stats) {
    object.key("restoredStats");
    write_stats(out, *ack.restored_stats);
  }
  object.raw_if("services", ack.services_json);
  object.close();
}

void write_error(std::string& out, const ErrorFrame& error) {
  ObjectWriter object(out, "error");
  object.text("code", error.code);
  object.text("message", error.message);
  object.text_if("id", error.id);
  object.text_if("_reqId", error.req_id);
  object.close();
}

void write_list_peers(std::string& out, const ListPeers& request) {
  ObjectWriter object(out, "list_peers");
  object.text_if("_reqId", request.req_id);
  object.close();
}

void write_peers_list(std::string& out, const PeersList& list) {
  ObjectWriter object(out, "peers_list");
  object.array("peers", list.peers, write_peer);
  object.text_if("_reqId", list.req_id);
  object.close();
}

void write_message_status(std::string& out, const MessageStatusRequest& request) {
  ObjectWriter object(out, "message_status");
  object.text("messageId", request.message_id);
  object.text_if("_reqId", request.req_id);
  object.close();
}

void write_message_status_result(std::string& out, const MessageStatusResult& result) {
  ObjectWriter object(out, "message_status_result");
  object.text("messageId", result.message_id);
  object.text("targetSpec", result.target_spec);
  object.boolean("delivered", result.delivered);
  object.text_or_null("deliveredAt", result.delivered_at);
  object.array("recipients", result.recipients, write_recipient);
  object.text_if("_reqId", result.req_id);
  object.close();
}

}  // namespace cm::protocol
