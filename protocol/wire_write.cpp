#include "protocol/wire_write.hpp"

#include "protocol/object_writer.hpp"

namespace cm::protocol {

void write_groups(std::string& out, const std::vector<GroupMembership>& groups) {
  out.push_back('[');
  bool first = true;
  for (const GroupMembership& group : groups) {
    if (!first) {
      out.push_back(',');
    }
    first = false;
    ObjectWriter object(out);
    object.text("name", group.name);
    object.text_if("role", group.role);
    object.close();
  }
  out.push_back(']');
}

void write_attestation(std::string& out, const SessionAttestation& attestation) {
  ObjectWriter object(out);
  object.text("sessionPubkey", attestation.session_pubkey);
  object.text("parentMemberPubkey", attestation.parent_member_pubkey);
  object.number("expiresAt", attestation.expires_at_ms);
  object.text("signature", attestation.signature);
  if (attestation.version) {
    object.integer("version", *attestation.version);
    object.key("allowed_caps");
    char separator = '[';
    for (const std::string& capability : attestation.allowed_caps) {
      out.push_back(separator);
      append_json_string(out, capability);
      separator = ',';
    }
    out += attestation.allowed_caps.empty() ? "[]" : "]";
  }
  object.close();
}

void write_hello(std::string& out, const Hello& hello) {
  ObjectWriter object(out, "hello");
  object.text("meshId", hello.mesh_id);
  object.text("memberId", hello.member_id);
  object.text("pubkey", hello.pubkey);
  object.text_if("sessionPubkey", hello.session_pubkey);
  object.text_if("displayName", hello.display_name);
  object.text("sessionId", hello.session_id);
  object.number("pid", hello.pid);
  object.text("cwd", hello.cwd);
  object.text_if("hostname", hello.hostname);
  object.text_if("peerType", hello.peer_type);
  object.text_if("channel", hello.channel);
  object.text_if("model", hello.model);
  if (!hello.groups.empty()) {
    object.key("groups");
    write_groups(out, hello.groups);
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
  object.text_if("displayName", hello.display_name);
  object.text("sessionId", hello.session_id);
  object.number("pid", hello.pid);
  object.text("cwd", hello.cwd);
  object.text_if("hostname", hello.hostname);
  object.text_if("peerType", hello.peer_type);
  object.text_if("channel", hello.channel);
  object.text_if("model", hello.model);
  if (hello.groups) {
    object.key("groups");
    write_groups(out, *hello.groups);
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
    profile.key("groups");
    write_groups(out, ack.member_profile->groups);
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
    object.key("restoredGroups");
    write_groups(out, *ack.restored_groups);
  }
  if (ack.restored_stats) {
    object.key("restoredStats");
    ObjectWriter stats(out);
    stats.number("messagesIn", ack.restored_stats->messages_in);
    stats.number("messagesOut", ack.restored_stats->messages_out);
    stats.number("toolCalls", ack.restored_stats->tool_calls);
    stats.number("errors", ack.restored_stats->errors);
    stats.close();
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

namespace {

void write_peer(std::string& out, const PeerEntry& peer) {
  ObjectWriter object(out);
  object.text("pubkey", peer.pubkey);
  object.text("memberPubkey", peer.member_pubkey);
  object.text("displayName", peer.display_name);
  object.text("status", peer.status);
  object.text_or_null("summary", peer.summary);
  object.key("groups");
  write_groups(out, peer.groups);
  object.text("sessionId", peer.session_id);
  object.text("connectedAt", peer.connected_at);
  object.text("cwd", peer.cwd);
  object.text("peerRole", peer.peer_role);
  object.text_if("hostname", peer.hostname);
  object.text_if("peerType", peer.peer_type);
  object.text_if("channel", peer.channel);
  object.text_if("model", peer.model);
  object.raw_if("stats", peer.stats_json);
  object.boolean_if("visible", peer.visible);
  object.raw_if("profile", peer.profile_json);
  object.close();
}

}  // namespace

void write_peers_list(std::string& out, const PeersList& list) {
  ObjectWriter object(out, "peers_list");
  object.key("peers");
  out.push_back('[');
  bool first = true;
  for (const PeerEntry& peer : list.peers) {
    if (!first) {
      out.push_back(',');
    }
    first = false;
    write_peer(out, peer);
  }
  out.push_back(']');
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
  object.key("recipients");
  out.push_back('[');
  bool first = true;
  for (const MessageRecipient& recipient : result.recipients) {
    if (!first) {
      out.push_back(',');
    }
    first = false;
    ObjectWriter entry(out);
    entry.text("name", recipient.name);
    entry.text("pubkey", recipient.pubkey);
    entry.text("status", recipient.status);
    entry.close();
  }
  out.push_back(']');
  object.text_if("_reqId", result.req_id);
  object.close();
}

}  // namespace cm::protocol
