#include "plugins/peer_daemon/src/inbox_store.hpp"

#include <memory>
#include <utility>

#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"

namespace cm::daemon {
namespace {

constexpr std::string_view kSchema = R"sql(
CREATE TABLE inbox (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  client_message_id TEXT NOT NULL,
  broker_message_id TEXT,
  mesh TEXT NOT NULL,
  topic TEXT,
  sender_pubkey TEXT NOT NULL,
  sender_member_pubkey TEXT,
  sender_name TEXT NOT NULL,
  body TEXT,
  meta TEXT,
  received_at INTEGER NOT NULL,
  reply_to_id TEXT,
  seen_at INTEGER,
  recipient_pubkey TEXT NOT NULL,
  recipient_kind TEXT NOT NULL,
  dedupe_scope TEXT NOT NULL,
  sealed INTEGER NOT NULL,
  UNIQUE (mesh, sender_pubkey, client_message_id, dedupe_scope)
);
CREATE INDEX inbox_received_at ON inbox (received_at);
CREATE INDEX inbox_topic ON inbox (topic);
CREATE INDEX inbox_sender_pubkey ON inbox (sender_pubkey);
CREATE INDEX inbox_seen_at ON inbox (seen_at);
CREATE INDEX inbox_recipient_pubkey ON inbox (recipient_pubkey);
CREATE INDEX inbox_broker_message_id ON inbox (mesh, broker_message_id);
)sql";

// A live push of 1.37.0 carries only the broker's id and its redelivery both: either is enough to know the message
// again.
constexpr std::string_view kInsert =
    "INSERT INTO inbox (id, client_message_id, broker_message_id, mesh, topic, sender_pubkey, sender_member_pubkey, "
    "sender_name, body, meta, received_at, reply_to_id, recipient_pubkey, recipient_kind, dedupe_scope, sealed) "
    "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16 "
    "WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE mesh = ?4 AND broker_message_id = ?3 AND dedupe_scope = ?15) "
    "ON CONFLICT DO NOTHING";

// ?1 session caller (0, 1), ?2 its mesh, ?3 its session key. NOT EXISTS: the first copy stands for the message.
constexpr std::string_view kList =
    "SELECT id, client_message_id, broker_message_id, mesh, topic, sender_pubkey, sender_name, body, received_at, "
    "reply_to_id, seen_at, recipient_pubkey, recipient_kind, sealed FROM inbox a "
    "WHERE (?1 = 0 OR (a.mesh = ?2 AND (a.recipient_kind = 'member' OR a.recipient_pubkey = ?3))) "
    "AND (?4 IS NULL OR a.received_at >= ?4) AND (?5 IS NULL OR a.topic = ?5) "
    "AND (?6 IS NULL OR a.sender_pubkey = ?6 OR a.sender_member_pubkey = ?6) AND (?7 IS NULL OR a.mesh = ?7) "
    "AND (?8 = 0 OR a.seen_at IS NULL) "
    "AND NOT EXISTS (SELECT 1 FROM inbox b WHERE b.mesh = a.mesh AND b.sender_pubkey = a.sender_pubkey "
    "AND b.client_message_id = a.client_message_id AND b.seq < a.seq "
    "AND (?1 = 0 OR b.recipient_kind = 'member' OR b.recipient_pubkey = ?3)) "
    "ORDER BY a.seq DESC LIMIT ?9";

constexpr std::string_view kSeen =
    "UPDATE inbox SET seen_at = ?2 WHERE seen_at IS NULL AND (mesh, sender_pubkey, client_message_id) IN "
    "(SELECT mesh, sender_pubkey, client_message_id FROM inbox WHERE id = ?1) "
    "AND (?3 = 0 OR (mesh = ?4 AND (recipient_kind = 'member' OR recipient_pubkey = ?5)))";

constexpr std::string_view kRemove =
    "DELETE FROM inbox WHERE (mesh, sender_pubkey, client_message_id) IN "
    "(SELECT mesh, sender_pubkey, client_message_id FROM inbox WHERE id = ?1) "
    "AND (?2 = 0 OR (mesh = ?3 AND (recipient_kind = 'member' OR recipient_pubkey = ?4)))";

constexpr std::string_view kFlush =
    "DELETE FROM inbox WHERE (?1 IS NULL OR mesh = ?1) AND (?2 IS NULL OR received_at < ?2) "
    "AND (?3 = 0 OR (mesh = ?4 AND (recipient_kind = 'member' OR recipient_pubkey = ?5)))";

constexpr std::string_view kPrune = "DELETE FROM inbox WHERE received_at < ?1";

SqlValue number_or_null(const std::optional<std::int64_t>& number) {
  return number.has_value() ? SqlValue(*number) : SqlValue(nullptr);
}

std::string text_at(const SqlRow& row, std::uint32_t column) {
  return row.is_null(column) ? std::string() : std::string(row.text(column));
}

std::string list_item(const SqlRow& row) {
  JsonObject item;
  item.text("id", row.text(0))
      .text("client_message_id", row.text(1))
      .text_or_null("broker_message_id", text_at(row, 2))
      .text("mesh", row.text(3))
      .text_or_null("topic", text_at(row, 4))
      .text("sender_pubkey", row.text(5))
      .text("sender_name", row.text(6));
  if (row.is_null(7)) {
    item.null("body");
  } else {
    item.text("body", row.text(7));
  }
  return item.text("received_at", format_iso_ms(row.integer(8)))
      .text_or_null("reply_to_id", text_at(row, 9))
      .text_or_null("seen_at", row.is_null(10) ? std::string() : format_iso_ms(row.integer(10)))
      .text("recipient_pubkey", row.text(11))
      .text("recipient_kind", row.text(12))
      .boolean("encrypted", row.integer(13) != 0)
      .finish();
}

template <typename Value>
std::function<void(Status)> deliver(std::shared_ptr<Value> value, InboxStore::Done<Value> done) {
  return [value = std::move(value), done = std::move(done)](const Status& status) {
    if (!status.ok()) {
      done(status.error());
      return;
    }
    done(std::move(*value));
  };
}

Status insert_one(SqlTransaction& transaction, cm_statement statement, const InboxRow& row, bool& inserted) {
  const Result<std::uint64_t> changes = transaction.execute(
      statement,
      {row.id, row.client_message_id, SqlValue::text_or_null(row.broker_message_id), row.mesh,
       SqlValue::text_or_null(row.topic), row.sender_pubkey, SqlValue::text_or_null(row.sender_member_pubkey),
       row.sender_name, row.body.has_value() ? SqlValue(*row.body) : SqlValue(nullptr),
       SqlValue::text_or_null(row.meta_json), row.received_at_ms, SqlValue::text_or_null(row.reply_to_id),
       row.recipient_pubkey, row.recipient_kind, row.dedupe_scope, row.sealed});
  if (!changes) {
    return changes.error();
  }
  inserted = *changes != 0;
  return {};
}

}  // namespace

std::vector<SqlMigration> InboxStore::migrations() {
  return {SqlMigration{1, "0001_inbox", std::string(kSchema)}};
}

void InboxStore::bind(StorageClient& storage) {
  storage_ = &storage;
  statements_.insert = storage.statement(kInsert);
  statements_.list = storage.statement(kList);
  statements_.seen = storage.statement(kSeen);
  statements_.remove = storage.statement(kRemove);
  statements_.flush = storage.statement(kFlush);
  statements_.prune = storage.statement(kPrune);
}

void InboxStore::insert(std::vector<InboxRow> rows, Done<std::vector<bool>> done) {
  auto inserted = std::make_shared<std::vector<bool>>();
  storage_->submit(
      [inserted, rows = std::move(rows), statement = statements_.insert](SqlTransaction& transaction) -> Status {
        inserted->clear();
        for (const InboxRow& row : rows) {
          bool is_new = false;
          const Status status = insert_one(transaction, statement, row, is_new);
          if (!status.ok()) {
            return status;
          }
          inserted->push_back(is_new);
        }
        return {};
      },
      deliver<std::vector<bool>>(inserted, std::move(done)));
}

void InboxStore::list(InboxQuery query, InboxScope scope, std::int64_t now_ms, Done<InboxListing> done) {
  auto listing = std::make_shared<InboxListing>();
  const bool mark_seen = query.mark_seen;
  SqlWork work = [listing, query = std::move(query), scope = std::move(scope), now_ms,
                  statements = statements_](SqlTransaction& transaction) -> Status {
    JsonArray items;
    std::vector<std::string> unseen;
    const Status listed =
        transaction.query(statements.list,
                          {scope.session, scope.mesh, scope.session_pubkey, number_or_null(query.since_ms),
                           SqlValue::text_or_null(query.topic), SqlValue::text_or_null(query.from),
                           SqlValue::text_or_null(query.mesh), query.unread_only, query.limit},
                          [&](const SqlRow& row) {
                            items.add(list_item(row));
                            if (row.is_null(10)) {
                              unseen.emplace_back(row.text(0));
                            }
                          });
    if (!listed.ok()) {
      return listed;
    }
    listing->items_json = items.finish();
    listing->marked_seen = 0;
    if (!query.mark_seen) {
      return {};
    }
    for (const std::string& id : unseen) {
      const Result<std::uint64_t> changes =
          transaction.execute(statements.seen, {id, now_ms, scope.session, scope.mesh, scope.session_pubkey});
      if (!changes) {
        return changes.error();
      }
      listing->marked_seen += *changes != 0 ? 1 : 0;
    }
    return {};
  };
  if (mark_seen) {
    storage_->submit(std::move(work), deliver<InboxListing>(listing, std::move(done)));
  } else {
    storage_->read(std::move(work), deliver<InboxListing>(listing, std::move(done)));
  }
}

void InboxStore::mark_seen(std::vector<std::string> ids, InboxScope scope, std::int64_t now_ms,
                           Done<std::int64_t> done) {
  auto marked = std::make_shared<std::int64_t>(0);
  storage_->submit(
      [marked, ids = std::move(ids), scope = std::move(scope), now_ms,
       statement = statements_.seen](SqlTransaction& transaction) -> Status {
        *marked = 0;
        for (const std::string& id : ids) {
          const Result<std::uint64_t> changes =
              transaction.execute(statement, {id, now_ms, scope.session, scope.mesh, scope.session_pubkey});
          if (!changes) {
            return changes.error();
          }
          *marked += *changes != 0 ? 1 : 0;
        }
        return {};
      },
      deliver<std::int64_t>(marked, std::move(done)));
}

void InboxStore::remove(std::string id, InboxScope scope, Done<std::int64_t> done) {
  auto removed = std::make_shared<std::int64_t>(0);
  storage_->submit(
      [removed, id = std::move(id), scope = std::move(scope),
       statement = statements_.remove](SqlTransaction& transaction) -> Status {
        const Result<std::uint64_t> changes =
            transaction.execute(statement, {id, scope.session, scope.mesh, scope.session_pubkey});
        if (!changes) {
          return changes.error();
        }
        *removed = *changes != 0 ? 1 : 0;
        return {};
      },
      deliver<std::int64_t>(removed, std::move(done)));
}

void InboxStore::flush(std::string mesh, std::optional<std::int64_t> before_ms, InboxScope scope,
                       Done<std::int64_t> done) {
  auto removed = std::make_shared<std::int64_t>(0);
  storage_->submit(
      [removed, mesh = std::move(mesh), before_ms, scope = std::move(scope),
       statement = statements_.flush](SqlTransaction& transaction) -> Status {
        const Result<std::uint64_t> changes = transaction.execute(
            statement,
            {SqlValue::text_or_null(mesh), number_or_null(before_ms), scope.session, scope.mesh, scope.session_pubkey});
        if (!changes) {
          return changes.error();
        }
        *removed = static_cast<std::int64_t>(*changes);
        return {};
      },
      deliver<std::int64_t>(removed, std::move(done)));
}

void InboxStore::prune(std::int64_t before_ms, Done<std::int64_t> done) {
  auto removed = std::make_shared<std::int64_t>(0);
  storage_->submit(
      [removed, before_ms, statement = statements_.prune](SqlTransaction& transaction) -> Status {
        const Result<std::uint64_t> changes = transaction.execute(statement, {before_ms});
        if (!changes) {
          return changes.error();
        }
        *removed = static_cast<std::int64_t>(*changes);
        return {};
      },
      deliver<std::int64_t>(removed, std::move(done)));
}

}  // namespace cm::daemon
