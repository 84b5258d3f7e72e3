// The replies to a send, and what makes two sends the same.
#include "plugins/ws_broker/src/accept.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

constexpr std::string_view kReusedText =
    "idempotency_key_reused: invalid client_message_id, it was already used for another message; send again with a new "
    "id";

std::string write(const protocol::AckView& ack) {
  std::string out;
  protocol::write_ack(out, ack);
  return out;
}

}  // namespace

std::string id_key(std::string_view scope, std::string_view name) {
  std::string key(scope);
  key += '\0';
  key += name;
  return key;
}

Refusal storage_refusal() {
  return Refusal{"storage unavailable: the message was not accepted, send it again", protocol::kAckStorage, "storage",
                 true, AcceptPipeline::kStorageRetryMs};
}

std::string accepted_ack(const SendRequest& request) {
  protocol::AckView ack;
  ack.id = request.ack_id;
  ack.message_id = request.message->id;
  ack.queued = true;
  return write(ack);
}

std::string refused_ack(std::string_view ack_id, const Refusal& refusal, std::string_view client_message_id) {
  protocol::AckView ack;
  ack.id = ack_id;
  ack.error = refusal.error;
  ack.code = refusal.code;
  ack.retryable = refusal.retryable;
  ack.retry_after_ms = refusal.retry_after_ms;
  if (!client_message_id.empty()) {
    ack.client_message_id = client_message_id;
  }
  return write(ack);
}

bool is_same_send(const SendRequest& request, const DedupeRecord& record) {
  return record.sender_member_id == request.sender->id && record.fingerprint == request.fingerprint;
}

std::string repeated_ack(const SendRequest& request, const DedupeRecord& record) {
  protocol::AckView ack;
  ack.id = request.ack_id;
  ack.client_message_id = request.message->client_message_id;
  if (!is_same_send(request, record)) {
    const std::string prefix = protocol::fingerprint_prefix_hex(record.fingerprint);
    ack.error = kReusedText;
    ack.code = protocol::kAckIdempotencyKeyReused;
    ack.retryable = false;
    if (record.sender_member_id != request.sender->id) {
      return write(ack);
    }
    ack.broker_fingerprint_prefix = prefix;
    std::string out = write(ack);
    out.pop_back();
    return out + R"(,"conflict":"request_fingerprint_mismatch"})";
  }
  const std::string first_seen_at = iso_time(record.first_seen_at_ms);
  ack.message_id = record.broker_message_id;
  ack.queued = true;
  ack.duplicate = true;
  ack.history_available = record.history_available;
  ack.first_seen_at = first_seen_at;
  return write(ack);
}

protocol::Fingerprint surrogate_fingerprint(const Message& message) {
  std::string text;
  const std::string_view priority = protocol::to_string(message.priority);
  text.reserve(message.target_spec.size() + message.nonce.size() + message.ciphertext.size() + 64);
  for (const std::string_view part : {std::string_view(message.target_spec), priority, std::string_view(message.nonce),
                                      std::string_view(message.ciphertext)}) {
    // The length keeps neighbouring parts apart.
    text += std::to_string(part.size());
    text += ':';
    text += part;
  }
  return protocol::sha256(protocol::as_bytes(text));
}

}  // namespace cm::broker
