#include "plugins/peer_daemon/src/idempotency.hpp"

#include <array>
#include <utility>

#include "plugins/peer_daemon/src/json_out.hpp"

namespace cm::daemon {
namespace {

struct StatusWord {
  OutboxStatus status;
  std::string_view word;
};
constexpr std::array kWords = {
    StatusWord{OutboxStatus::kPending, "pending"}, StatusWord{OutboxStatus::kInflight, "inflight"},
    StatusWord{OutboxStatus::kDone, "done"},       StatusWord{OutboxStatus::kDead, "dead"},
    StatusWord{OutboxStatus::kAborted, "aborted"},
};

ApiAnswer answer_under_way(std::string_view client_message_id, std::string_view status) {
  return {202, JsonObject().text("client_message_id", client_message_id).text("status", status).finish()};
}

ApiAnswer answer_done(std::string_view client_message_id, const ExistingSend& existing) {
  return {200, JsonObject()
                   .text("client_message_id", client_message_id)
                   .text_or_null("broker_message_id", existing.broker_message_id)
                   .text_or_null("history_id", existing.history_id)
                   .boolean("duplicate", true)
                   .finish()};
}

ApiAnswer answer_conflict(std::string_view client_message_id, const protocol::Fingerprint& fingerprint,
                          const ExistingSend& existing, bool match) {
  const std::string conflict =
      "outbox_" + std::string(to_string(existing.status)) + (match ? "_fingerprint_match" : "_fingerprint_mismatch");
  JsonObject body;
  body.text("error", "idempotency_key_reused")
      .text("client_message_id", client_message_id)
      .text("conflict", conflict)
      .text("daemon_fingerprint_prefix", protocol::fingerprint_prefix_hex(fingerprint))
      .text_or_null("broker_message_id", existing.broker_message_id);
  if (existing.status == OutboxStatus::kDead && match) {
    body.text("reason", existing.last_error);
  }
  return {409, body.finish()};
}

}  // namespace

std::string_view to_string(OutboxStatus status) {
  for (const StatusWord& entry : kWords) {
    if (entry.status == status) {
      return entry.word;
    }
  }
  return "pending";
}

std::optional<OutboxStatus> parse_outbox_status(std::string_view word) {
  for (const StatusWord& entry : kWords) {
    if (entry.word == word) {
      return entry.status;
    }
  }
  return std::nullopt;
}

ApiAnswer answer_queued(std::string_view client_message_id) {
  return answer_under_way(client_message_id, "queued");
}

ApiAnswer answer_existing(std::string_view client_message_id, const protocol::Fingerprint& fingerprint,
                          const ExistingSend& existing) {
  const bool match = existing.fingerprint == fingerprint;
  if (match && existing.status == OutboxStatus::kPending) {
    return answer_under_way(client_message_id, "queued");
  }
  if (match && existing.status == OutboxStatus::kInflight) {
    return answer_under_way(client_message_id, "inflight");
  }
  if (match && existing.status == OutboxStatus::kDone) {
    return answer_done(client_message_id, existing);
  }
  return answer_conflict(client_message_id, fingerprint, existing, match);
}

}  // namespace cm::daemon
