// The SQL of the outbox. Times are unix milliseconds; `seq` is the order of the accepts and is given by the daemon.
#pragma once

#include <string_view>

namespace cm::daemon::sql {

inline constexpr std::string_view kOutboxSchema = R"sql(
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  client_message_id TEXT NOT NULL UNIQUE,
  request_fingerprint BLOB NOT NULL,
  payload_bytes INTEGER NOT NULL,
  enqueued_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt_at INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'inflight', 'done', 'dead', 'aborted')),
  last_error TEXT,
  delivered_at INTEGER,
  broker_message_id TEXT,
  history_id TEXT,
  aborted_at INTEGER,
  aborted_by TEXT,
  superseded_by TEXT,
  mesh TEXT NOT NULL,
  target_spec TEXT NOT NULL,
  nonce TEXT,
  ciphertext TEXT,
  priority TEXT NOT NULL,
  sender_session_pubkey TEXT,
  reply_to_id TEXT
);
CREATE INDEX outbox_pending ON outbox (status, next_attempt_at);
CREATE INDEX outbox_aborted ON outbox (status, aborted_at) WHERE status = 'aborted';
)sql";

inline constexpr std::string_view kRecover = "UPDATE outbox SET status = 'pending' WHERE status = 'inflight'";

inline constexpr std::string_view kPending =
    "SELECT seq, client_message_id, mesh, sender_session_pubkey, target_spec, enqueued_at, next_attempt_at, attempts "
    "FROM outbox WHERE status = 'pending' ORDER BY seq";

inline constexpr std::string_view kTotals =
    "SELECT COALESCE(MAX(seq), 0), COALESCE(SUM(CASE WHEN status = 'dead' THEN 1 ELSE 0 END), 0) FROM outbox";

inline constexpr std::string_view kFind =
    "SELECT status, request_fingerprint, broker_message_id, history_id, last_error FROM outbox "
    "WHERE client_message_id = ?1";

inline constexpr std::string_view kInsert =
    "INSERT INTO outbox (seq, id, client_message_id, request_fingerprint, payload_bytes, enqueued_at, "
    "next_attempt_at, status, mesh, target_spec, nonce, ciphertext, priority, sender_session_pubkey, reply_to_id) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

inline constexpr std::string_view kContent =
    "SELECT seq, target_spec, nonce, ciphertext, request_fingerprint, reply_to_id, priority FROM outbox "
    "WHERE seq = ?1 AND status = 'pending' AND ciphertext IS NOT NULL";

inline constexpr std::string_view kDone =
    "UPDATE outbox SET status = 'done', delivered_at = ?2, broker_message_id = ?3, attempts = ?4, last_error = NULL, "
    "nonce = NULL, ciphertext = NULL WHERE seq = ?1 AND status IN ('pending', 'inflight')";

inline constexpr std::string_view kDead =
    "UPDATE outbox SET status = 'dead', last_error = ?2, attempts = ?3 "
    "WHERE seq = ?1 AND status IN ('pending', 'inflight')";

inline constexpr std::string_view kAgain =
    "UPDATE outbox SET last_error = ?2, attempts = ?3, next_attempt_at = ?4 "
    "WHERE seq = ?1 AND status IN ('pending', 'inflight')";

// The id itself comes before the longer ids that begin with it.
inline constexpr std::string_view kSent =
    "SELECT client_message_id, broker_message_id, status, mesh, target_spec, last_error FROM outbox "
    "WHERE client_message_id >= ?1 AND client_message_id < ?1 || char(1114111) ORDER BY client_message_id LIMIT 2";

inline constexpr std::string_view kClientId = "SELECT client_message_id FROM outbox WHERE id = ?1";

inline constexpr std::string_view kRequeueFind =
    "SELECT client_message_id, status FROM outbox WHERE id = ?1 AND status IN ('pending', 'dead') "
    "AND ciphertext IS NOT NULL";

inline constexpr std::string_view kRequeueCopy =
    "INSERT INTO outbox (seq, id, client_message_id, request_fingerprint, payload_bytes, enqueued_at, "
    "next_attempt_at, status, mesh, target_spec, nonce, ciphertext, priority, sender_session_pubkey, reply_to_id) "
    "SELECT ?2, ?3, ?4, request_fingerprint, payload_bytes, ?5, ?5, 'pending', mesh, target_spec, nonce, ciphertext, "
    "priority, sender_session_pubkey, reply_to_id FROM outbox WHERE id = ?1";

inline constexpr std::string_view kRequeueAbort =
    "UPDATE outbox SET status = 'aborted', aborted_at = ?2, aborted_by = ?3, superseded_by = ?4 WHERE id = ?1";

inline constexpr std::string_view kList =
    "SELECT id, client_message_id, status, attempts, enqueued_at, next_attempt_at, delivered_at, broker_message_id, "
    "last_error, aborted_at, aborted_by, superseded_by, payload_bytes, mesh, target_spec FROM outbox "
    "WHERE ?1 IS NULL OR status = ?1 ORDER BY seq DESC LIMIT ?2";

}  // namespace cm::daemon::sql
