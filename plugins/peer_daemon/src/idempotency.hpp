// The table of specification v0.9.0 section 4.5.1: what a client message id answers that was used before. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/peer_daemon/src/send_request.hpp"
#include "protocol/fingerprint.hpp"

namespace cm::daemon {

enum class OutboxStatus : std::uint8_t { kPending, kInflight, kDone, kDead, kAborted };
std::string_view to_string(OutboxStatus status);
std::optional<OutboxStatus> parse_outbox_status(std::string_view word);

// What is known of a row that has the id.
struct ExistingSend {
  OutboxStatus status = OutboxStatus::kPending;
  protocol::Fingerprint fingerprint{};
  std::string broker_message_id;
  std::string history_id;
  std::string last_error;
};

// 202 {client_message_id, status:"queued"}: the row was written now.
ApiAnswer answer_queued(std::string_view client_message_id);
// The answer for a repetition: 202 while it is under way, 200 when it is done, 409 otherwise. Nothing is changed.
ApiAnswer answer_existing(std::string_view client_message_id, const protocol::Fingerprint& fingerprint,
                          const ExistingSend& existing);

}  // namespace cm::daemon
