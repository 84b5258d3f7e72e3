// Serialisers of the hot messages, for owning structs and for views alike.
#include "protocol/object_writer.hpp"
#include "protocol/wire_write.hpp"

namespace cm::protocol {
namespace {

// Brackets, names and short fields; what is added to the long fields when reserving.
constexpr std::size_t kFrameOverheadBytes = 320;

template <typename Text>
void write_send_as(std::string& out, const BasicSend<Text>& send) {
  out.reserve(out.size() + send.ciphertext.size() + kFrameOverheadBytes);
  ObjectWriter object(out, "send");
  object.text("id", send.id);
  object.text_if("client_message_id", send.client_message_id);
  object.text_if("request_fingerprint", send.request_fingerprint);
  object.text("targetSpec", send.target_spec);
  object.text("priority", to_string(send.priority));
  object.text("nonce", send.nonce);
  object.text("ciphertext", send.ciphertext);
  if (!send.mentions.empty()) {
    object.texts("mentions", send.mentions);
  }
  object.text_if("replyToId", send.reply_to_id);
  if (send.body_version) {
    object.integer("bodyVersion", *send.body_version);
  }
  object.close();
}

template <typename Text>
void write_ack_as(std::string& out, const BasicAck<Text>& ack) {
  ObjectWriter object(out, "ack");
  object.text("id", ack.id);
  object.text("messageId", ack.message_id);
  object.boolean("queued", ack.queued);
  object.text_if("error", ack.error);
  object.boolean_if("duplicate", ack.duplicate);
  object.text_if("client_message_id", ack.client_message_id);
  object.boolean_if("history_available", ack.history_available);
  object.text_if("first_seen_at", ack.first_seen_at);
  object.text_if("code", ack.code);
  object.text_if("broker_fingerprint_prefix", ack.broker_fingerprint_prefix);
  object.boolean_if("retryable", ack.retryable);
  if (ack.retry_after_ms) {
    object.integer("retry_after_ms", *ack.retry_after_ms);
  }
  object.text_if("_reqId", ack.req_id);
  object.close();
}

template <typename Text>
void write_push_as(std::string& out, const BasicPush<Text>& push) {
  out.reserve(out.size() + push.ciphertext.size() + kFrameOverheadBytes);
  ObjectWriter object(out, "push");
  object.text("messageId", push.message_id);
  object.text("meshId", push.mesh_id);
  object.text("senderPubkey", push.sender_pubkey);
  object.text_if("senderMemberPubkey", push.sender_member_pubkey);
  object.text_if("senderMemberId", push.sender_member_id);
  object.text_if("senderName", push.sender_name);
  object.text_if("topic", push.topic);
  object.text_if("replyToId", push.reply_to_id);
  object.text_if("targetSpec", push.target_spec);
  object.text("priority", to_string(push.priority));
  object.text("nonce", push.nonce);
  object.text("ciphertext", push.ciphertext);
  object.text("createdAt", push.created_at);
  if (push.body_version) {
    object.integer("bodyVersion", *push.body_version);
  }
  object.text_if("client_message_id", push.client_message_id);
  object.text_if("request_fingerprint", push.request_fingerprint);
  object.text_if("subtype", push.subtype);
  object.text_if("event", push.event);
  object.raw_if("eventData", push.event_data_json);
  object.close();
}

template <typename Text>
void write_client_ack_as(std::string& out, const BasicClientAck<Text>& ack) {
  ObjectWriter object(out, "client_ack");
  object.text_if("clientMessageId", ack.client_message_id);
  object.text_if("brokerMessageId", ack.broker_message_id);
  object.close();
}

std::optional<std::string> own(const std::optional<std::string_view>& text) {
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

}  // namespace

void write_send(std::string& out, const Send& send) {
  write_send_as(out, send);
}
void write_send(std::string& out, const SendView& send) {
  write_send_as(out, send);
}
void write_ack(std::string& out, const Ack& ack) {
  write_ack_as(out, ack);
}
void write_ack(std::string& out, const AckView& ack) {
  write_ack_as(out, ack);
}
void write_push(std::string& out, const Push& push) {
  write_push_as(out, push);
}
void write_push(std::string& out, const PushView& push) {
  write_push_as(out, push);
}
void write_client_ack(std::string& out, const ClientAck& ack) {
  write_client_ack_as(out, ack);
}
void write_client_ack(std::string& out, const ClientAckView& ack) {
  write_client_ack_as(out, ack);
}

Send to_owned(const SendView& view) {
  Send out;
  out.id = view.id;
  out.target_spec = view.target_spec;
  out.priority = view.priority;
  out.nonce = view.nonce;
  out.ciphertext = view.ciphertext;
  out.mentions.assign(view.mentions.begin(), view.mentions.end());
  out.reply_to_id = own(view.reply_to_id);
  out.body_version = view.body_version;
  out.client_message_id = own(view.client_message_id);
  out.request_fingerprint = own(view.request_fingerprint);
  return out;
}

Ack to_owned(const AckView& view) {
  Ack out;
  out.id = view.id;
  out.message_id = view.message_id;
  out.queued = view.queued;
  out.error = own(view.error);
  out.req_id = own(view.req_id);
  out.duplicate = view.duplicate;
  out.client_message_id = own(view.client_message_id);
  out.history_available = view.history_available;
  out.first_seen_at = own(view.first_seen_at);
  out.code = own(view.code);
  out.broker_fingerprint_prefix = own(view.broker_fingerprint_prefix);
  out.retryable = view.retryable;
  out.retry_after_ms = view.retry_after_ms;
  return out;
}

Push to_owned(const PushView& view) {
  Push out;
  out.message_id = view.message_id;
  out.mesh_id = view.mesh_id;
  out.sender_pubkey = view.sender_pubkey;
  out.sender_member_pubkey = own(view.sender_member_pubkey);
  out.sender_member_id = own(view.sender_member_id);
  out.sender_name = own(view.sender_name);
  out.topic = own(view.topic);
  out.reply_to_id = own(view.reply_to_id);
  out.target_spec = own(view.target_spec);
  out.priority = view.priority;
  out.nonce = view.nonce;
  out.ciphertext = view.ciphertext;
  out.created_at = view.created_at;
  out.body_version = view.body_version;
  out.client_message_id = own(view.client_message_id);
  out.request_fingerprint = own(view.request_fingerprint);
  out.subtype = own(view.subtype);
  out.event = own(view.event);
  out.event_data_json = own(view.event_data_json);
  return out;
}

ClientAck to_owned(const ClientAckView& view) {
  return ClientAck{own(view.client_message_id), own(view.broker_message_id)};
}

}  // namespace cm::protocol
