// The durable outbox in cm.storage/1 (specification v10 section 4.5.2, with the routing columns of wire/06 section 4).
//
// The plaintext is never written: target, ciphertext and fingerprint are frozen at accept, and that is all that a
// delivery or a requeue needs. A finished row keeps its id for ever and loses its ciphertext.
#pragma once

#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/storage.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/peer_daemon/src/idempotency.hpp"
#include "plugins/peer_daemon/src/lane_queue.hpp"

namespace cm::daemon {

// A row as it is written at accept.
struct OutboxRow {
  std::int64_t seq = 0;
  std::string id;
  std::string client_message_id;
  protocol::Fingerprint fingerprint{};
  std::int64_t payload_bytes = 0;
  std::int64_t enqueued_at_ms = 0;
  std::string mesh;
  std::string sender_session_pubkey;  // empty: the member
  FrozenMessage message;
};

// A row that is to be delivered, without its content.
struct PendingRow {
  std::string mesh;
  std::string sender_session_pubkey;
  QueuedRow row;
};

struct LoadedOutbox {
  std::vector<PendingRow> pending;  // in the order of seq
  std::int64_t last_seq = 0;
  std::int64_t dead = 0;
  std::uint64_t recovered = 0;  // rows that a crash had left in flight
};

// What the link said, to be written down.
struct Settlement {
  std::int64_t seq = 0;
  OutboxStatus status = OutboxStatus::kPending;  // kDone, kDead, or kPending for another attempt
  std::string broker_message_id;
  std::string error;
  std::uint32_t attempts = 0;
  std::int64_t next_attempt_ms = 0;
};

struct RequeueInput {
  std::string id;  // of the old row
  std::string new_client_message_id;
  std::string new_row_id;
  std::int64_t new_seq = 0;
  std::string aborted_by;
  std::int64_t now_ms = 0;
};
struct RequeueOutcome {
  enum class Kind : std::uint8_t { kDone, kNotFound, kIdTaken, kInFlight };
  Kind kind = Kind::kNotFound;
  std::string old_client_message_id;
  bool was_dead = false;
  PendingRow successor;
};

// What is known here of a message that was sent.
struct SentMessage {
  std::string client_message_id;
  std::string broker_message_id;  // empty: no broker has accepted it yet
  OutboxStatus status = OutboxStatus::kPending;
  std::string mesh;
  std::string target_spec;
  std::string last_error;
};

// All functions are called on the daemon's loop; answers come back there. The store outlives nothing: callbacks that
// did not come before the instance stopped never come.
class OutboxStore {
 public:
  template <typename Value>
  using Done = std::function<void(Result<Value>)>;

  static std::vector<SqlMigration> migrations();
  // Before anything else. `storage` must outlive the store.
  void bind(StorageClient& storage);

  // In flight becomes pending; then everything that waits for delivery.
  void recover(Done<LoadedOutbox> done);
  // Nothing when the id was never used.
  void find(std::string client_message_id, Done<std::optional<ExistingSend>> done);
  // Looks the id up and, if it is free, writes the row, in one transaction. Durable when `done` comes. The answer is
  // the row that was there before, or nothing when the new one was written.
  void accept(OutboxRow row, Done<std::optional<ExistingSend>> done);
  // Contents in any order; rows that are gone or finished are missing.
  void load_content(std::vector<std::int64_t> seqs,
                    Done<std::vector<std::pair<std::int64_t, std::shared_ptr<const FrozenMessage>>>> done);
  void settle(std::vector<Settlement> settlements, std::int64_t now_ms, std::function<void(Status)> done);
  // The message with that client message id, or those whose id begins with it: none, the only one, or the first two.
  void find_sent(std::string id, Done<std::vector<SentMessage>> done);
  // The client message id of a row; empty when there is no such row.
  void client_id_of(std::string row_id, Done<std::string> done);
  void requeue(RequeueInput input, Done<RequeueOutcome> done);
  // JSON items of GET /v1/outbox, newest first. `inflight` tells which ids a link has at this moment.
  using IsInflight = std::function<bool(std::string_view client_message_id)>;
  void list(std::optional<OutboxStatus> status, std::int64_t limit, IsInflight inflight, Done<std::string> done);

 private:
  struct Statements {
    cm_statement recover = 0;
    cm_statement pending = 0;
    cm_statement totals = 0;
    cm_statement find = 0;
    cm_statement insert = 0;
    cm_statement content = 0;
    cm_statement done = 0;
    cm_statement dead = 0;
    cm_statement again = 0;
    cm_statement sent = 0;
    cm_statement client_id = 0;
    cm_statement requeue_find = 0;
    cm_statement requeue_copy = 0;
    cm_statement requeue_abort = 0;
    cm_statement list = 0;
  };

  StorageClient* storage_ = nullptr;
  Statements statements_;
};

}  // namespace cm::daemon
