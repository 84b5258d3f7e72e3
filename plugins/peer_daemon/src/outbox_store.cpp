#include "plugins/peer_daemon/src/outbox_store.hpp"

#include <algorithm>
#include <utility>

#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"
#include "plugins/peer_daemon/src/outbox_sql.hpp"
#include "protocol/priority_number.hpp"

namespace cm::daemon {
namespace {

// The result of a work, filled on the worker and read on the loop after the commit.
template <typename Value>
struct Cell {
  Value value{};
};

template <typename Value>
std::function<void(Status)> deliver(std::shared_ptr<Cell<Value>> cell, OutboxStore::Done<Value> done) {
  return [cell = std::move(cell), done = std::move(done)](const Status& status) {
    if (!status.ok()) {
      done(status.error());
      return;
    }
    done(std::move(cell->value));
  };
}

Status drop_value(const Result<std::uint64_t>& changes) {
  return changes ? Status() : Status(changes.error());
}

std::string text_at(const SqlRow& row, std::uint32_t column) {
  return row.is_null(column) ? std::string() : std::string(row.text(column));
}

ExistingSend existing_send(const SqlRow& row) {
  ExistingSend existing;
  existing.status = parse_outbox_status(row.text(0)).value_or(OutboxStatus::kPending);
  const auto blob = row.blob(1);
  if (blob.size() == existing.fingerprint.size()) {
    std::copy(blob.begin(), blob.end(), existing.fingerprint.begin());
  }
  existing.broker_message_id = text_at(row, 2);
  existing.history_id = text_at(row, 3);
  existing.last_error = text_at(row, 4);
  return existing;
}

PendingRow pending_row(const SqlRow& row) {
  PendingRow pending;
  pending.row.seq = row.integer(0);
  pending.row.client_message_id = text_at(row, 1);
  pending.mesh = text_at(row, 2);
  pending.sender_session_pubkey = text_at(row, 3);
  pending.row.target = text_at(row, 4);
  pending.row.enqueued_at_ms = row.integer(5);
  pending.row.next_attempt_ms = row.integer(6);
  pending.row.attempts = static_cast<std::uint32_t>(row.integer(7));
  return pending;
}

FrozenMessage frozen_message(const SqlRow& row) {
  FrozenMessage message;
  message.target = text_at(row, 1);
  message.nonce = text_at(row, 2);
  message.ciphertext = text_at(row, 3);
  message.fingerprint_hex = protocol::hex_encode(row.blob(4));
  message.reply_to_id = text_at(row, 5);
  message.priority =
      protocol::priority_number(protocol::parse_priority(row.text(6)).value_or(protocol::Priority::kNext));
  return message;
}

std::string iso_or_empty(const SqlRow& row, std::uint32_t column) {
  return row.is_null(column) ? std::string() : format_iso_ms(row.integer(column));
}

std::string list_item(const SqlRow& row, const OutboxStore::IsInflight& inflight) {
  const bool on_its_way = row.text(2) == "pending" && inflight(row.text(1));
  return JsonObject()
      .text("id", row.text(0))
      .text("client_message_id", row.text(1))
      .text("status", on_its_way ? std::string_view("inflight") : row.text(2))
      .number("attempts", row.integer(3))
      .text("enqueued_at", iso_or_empty(row, 4))
      .text("next_attempt_at", iso_or_empty(row, 5))
      .text_or_null("delivered_at", iso_or_empty(row, 6))
      .text_or_null("broker_message_id", text_at(row, 7))
      .text_or_null("last_error", text_at(row, 8))
      .text_or_null("aborted_at", iso_or_empty(row, 9))
      .text_or_null("aborted_by", text_at(row, 10))
      .text_or_null("superseded_by", text_at(row, 11))
      .number("payload_bytes", row.integer(12))
      .text("mesh", row.text(13))
      .text("target", row.text(14))
      .finish();
}

}  // namespace

std::vector<SqlMigration> OutboxStore::migrations() {
  return {SqlMigration{1, "0001_outbox", std::string(sql::kOutboxSchema)}};
}

void OutboxStore::bind(StorageClient& storage) {
  storage_ = &storage;
  statements_.recover = storage.statement(sql::kRecover);
  statements_.pending = storage.statement(sql::kPending);
  statements_.totals = storage.statement(sql::kTotals);
  statements_.find = storage.statement(sql::kFind);
  statements_.insert = storage.statement(sql::kInsert);
  statements_.content = storage.statement(sql::kContent);
  statements_.done = storage.statement(sql::kDone);
  statements_.dead = storage.statement(sql::kDead);
  statements_.again = storage.statement(sql::kAgain);
  statements_.sent = storage.statement(sql::kSent);
  statements_.client_id = storage.statement(sql::kClientId);
  statements_.requeue_find = storage.statement(sql::kRequeueFind);
  statements_.requeue_copy = storage.statement(sql::kRequeueCopy);
  statements_.requeue_abort = storage.statement(sql::kRequeueAbort);
  statements_.list = storage.statement(sql::kList);
}

void OutboxStore::recover(Done<LoadedOutbox> done) {
  auto cell = std::make_shared<Cell<LoadedOutbox>>();
  storage_->submit(
      [cell, statements = statements_](SqlTransaction& transaction) -> Status {
        cell->value = {};
        const Result<std::uint64_t> recovered = transaction.execute(statements.recover);
        if (!recovered) {
          return recovered.error();
        }
        cell->value.recovered = *recovered;
        const Status totals = transaction.query(statements.totals, {}, [&](const SqlRow& row) {
          cell->value.last_seq = row.integer(0);
          cell->value.dead = row.integer(1);
        });
        if (!totals.ok()) {
          return totals;
        }
        return transaction.query(statements.pending, {},
                                 [&](const SqlRow& row) { cell->value.pending.push_back(pending_row(row)); });
      },
      deliver<LoadedOutbox>(cell, std::move(done)));
}

void OutboxStore::find(std::string client_message_id, Done<std::optional<ExistingSend>> done) {
  using Found = std::optional<ExistingSend>;
  auto cell = std::make_shared<Cell<Found>>();
  storage_->read(
      [cell, id = std::move(client_message_id), statement = statements_.find](SqlTransaction& transaction) {
        return transaction.query(statement, {id}, [&](const SqlRow& row) { cell->value = existing_send(row); });
      },
      deliver<Found>(cell, std::move(done)));
}

void OutboxStore::accept(OutboxRow row, Done<std::optional<ExistingSend>> done) {
  using Found = std::optional<ExistingSend>;
  auto cell = std::make_shared<Cell<Found>>();
  storage_->submit(
      [cell, row = std::move(row), statements = statements_](SqlTransaction& transaction) -> Status {
        cell->value.reset();
        const Status looked = transaction.query(statements.find, {row.client_message_id},
                                                [&](const SqlRow& old) { cell->value = existing_send(old); });
        if (!looked.ok() || cell->value.has_value()) {
          return looked;
        }
        return drop_value(transaction.execute(
            statements.insert,
            {row.seq, row.id, row.client_message_id, SqlValue(std::span<const std::uint8_t>(row.fingerprint)),
             row.payload_bytes, row.enqueued_at_ms, row.enqueued_at_ms, row.mesh, row.message.target, row.message.nonce,
             row.message.ciphertext, protocol::priority_word(row.message.priority),
             SqlValue::text_or_null(row.sender_session_pubkey), SqlValue::text_or_null(row.message.reply_to_id)}));
      },
      deliver<Found>(cell, std::move(done)));
}

void OutboxStore::load_content(std::vector<std::int64_t> seqs,
                               Done<std::vector<std::pair<std::int64_t, std::shared_ptr<const FrozenMessage>>>> done) {
  using Contents = std::vector<std::pair<std::int64_t, std::shared_ptr<const FrozenMessage>>>;
  auto cell = std::make_shared<Cell<Contents>>();
  storage_->read(
      [cell, seqs = std::move(seqs), statement = statements_.content](SqlTransaction& transaction) -> Status {
        for (const std::int64_t seq : seqs) {
          const Status status = transaction.query(statement, {seq}, [&](const SqlRow& row) {
            cell->value.emplace_back(row.integer(0), std::make_shared<const FrozenMessage>(frozen_message(row)));
          });
          if (!status.ok()) {
            return status;
          }
        }
        return {};
      },
      deliver<Contents>(cell, std::move(done)));
}

void OutboxStore::settle(std::vector<Settlement> settlements, std::int64_t now_ms, std::function<void(Status)> done) {
  storage_->submit(
      [settlements = std::move(settlements), now_ms, statements = statements_](SqlTransaction& transaction) -> Status {
        for (const Settlement& entry : settlements) {
          Result<std::uint64_t> changes = std::uint64_t{0};
          if (entry.status == OutboxStatus::kDone) {
            changes = transaction.execute(
                statements.done, {entry.seq, now_ms, SqlValue::text_or_null(entry.broker_message_id), entry.attempts});
          } else if (entry.status == OutboxStatus::kDead) {
            changes = transaction.execute(statements.dead, {entry.seq, entry.error, entry.attempts});
          } else {
            changes =
                transaction.execute(statements.again, {entry.seq, entry.error, entry.attempts, entry.next_attempt_ms});
          }
          if (!changes) {
            return changes.error();
          }
        }
        return {};
      },
      std::move(done));
}

void OutboxStore::find_sent(std::string id, Done<std::vector<SentMessage>> done) {
  using Found = std::vector<SentMessage>;
  auto cell = std::make_shared<Cell<Found>>();
  storage_->read(
      [cell, id, statement = statements_.sent](SqlTransaction& transaction) {
        cell->value.clear();
        return transaction.query(statement, {id}, [&](const SqlRow& row) {
          const OutboxStatus status = parse_outbox_status(row.text(2)).value_or(OutboxStatus::kPending);
          cell->value.push_back(
              {text_at(row, 0), text_at(row, 1), status, text_at(row, 3), text_at(row, 4), text_at(row, 5)});
        });
      },
      deliver<Found>(cell, [id, done = std::move(done)](Result<Found> found) {
        if (found && found->size() > 1 && found->front().client_message_id == id) {
          found->pop_back();
        }
        done(std::move(found));
      }));
}

void OutboxStore::client_id_of(std::string row_id, Done<std::string> done) {
  auto cell = std::make_shared<Cell<std::string>>();
  storage_->read(
      [cell, id = std::move(row_id), statement = statements_.client_id](SqlTransaction& transaction) {
        return transaction.query(statement, {id}, [&](const SqlRow& row) { cell->value = text_at(row, 0); });
      },
      deliver<std::string>(cell, std::move(done)));
}

void OutboxStore::requeue(RequeueInput input, Done<RequeueOutcome> done) {
  auto cell = std::make_shared<Cell<RequeueOutcome>>();
  storage_->submit(
      [cell, input = std::move(input), statements = statements_](SqlTransaction& transaction) -> Status {
        RequeueOutcome& outcome = cell->value;
        outcome = {};
        bool found = false;
        const Status looked = transaction.query(statements.requeue_find, {input.id}, [&](const SqlRow& row) {
          found = true;
          outcome.old_client_message_id = std::string(row.text(0));
          outcome.was_dead = row.text(1) == "dead";
        });
        if (!looked.ok() || !found) {
          return looked;
        }
        bool taken = false;
        const Status checked = transaction.query(statements.find, {input.new_client_message_id},
                                                 [&taken](const SqlRow&) { taken = true; });
        if (!checked.ok() || taken) {
          outcome.kind = RequeueOutcome::Kind::kIdTaken;
          return checked;
        }
        // Mesh, target, ciphertext and sender are copied as they are: the audience never grows.
        const Status copied =
            drop_value(transaction.execute(statements.requeue_copy, {input.id, input.new_seq, input.new_row_id,
                                                                     input.new_client_message_id, input.now_ms}));
        if (!copied.ok()) {
          return copied;
        }
        const Status aborted = drop_value(transaction.execute(
            statements.requeue_abort, {input.id, input.now_ms, input.aborted_by, input.new_row_id}));
        if (!aborted.ok()) {
          return aborted;
        }
        outcome.kind = RequeueOutcome::Kind::kDone;
        return transaction.query(statements.pending, {}, [&](const SqlRow& row) {
          if (row.integer(0) == input.new_seq) {
            outcome.successor = pending_row(row);
          }
        });
      },
      deliver<RequeueOutcome>(cell, std::move(done)));
}

void OutboxStore::list(std::optional<OutboxStatus> status, std::int64_t limit, IsInflight inflight,
                       Done<std::string> done) {
  // "in flight" is known on the loop only: the rows are turned into text there.
  using Rows = std::vector<std::string>;
  struct Listed {
    Rows client_ids;
    Rows items_pending;
    Rows items_inflight;
  };
  auto cell = std::make_shared<Cell<Listed>>();
  const bool by_overlay = status == OutboxStatus::kInflight || status == OutboxStatus::kPending;
  const std::string filter = !status.has_value() ? std::string()
                             : by_overlay        ? std::string("pending")
                                                 : std::string(to_string(*status));
  storage_->read(
      [cell, filter, limit, statement = statements_.list](SqlTransaction& transaction) {
        const IsInflight yes = [](std::string_view) { return true; };
        const IsInflight no = [](std::string_view) { return false; };
        return transaction.query(statement, {SqlValue::text_or_null(filter), limit}, [&](const SqlRow& row) {
          cell->value.client_ids.emplace_back(row.text(1));
          cell->value.items_pending.push_back(list_item(row, no));
          cell->value.items_inflight.push_back(list_item(row, yes));
        });
      },
      [cell, status, inflight = std::move(inflight), done = std::move(done)](const Status& answer) {
        if (!answer.ok()) {
          done(answer.error());
          return;
        }
        JsonArray items;
        for (std::size_t i = 0; i < cell->value.client_ids.size(); ++i) {
          const bool on_its_way = inflight(cell->value.client_ids[i]);
          if ((status == OutboxStatus::kInflight && !on_its_way) || (status == OutboxStatus::kPending && on_its_way)) {
            continue;
          }
          items.add(on_its_way ? cell->value.items_inflight[i] : cell->value.items_pending[i]);
        }
        done(items.finish());
      });
}

}  // namespace cm::daemon
