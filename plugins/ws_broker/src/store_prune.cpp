// What retention removes, one bounded step at a time.
#include <algorithm>

#include "plugins/ws_broker/src/statements.hpp"
#include "plugins/ws_broker/src/text.hpp"

namespace cm::broker {

// All of them find old messages through the index on their time. That is exact also when the clock was wrong for a
// while and the sequence numbers do not grow with the time.
const char* const PruneSql::kExpireDeliveries =
    "DELETE FROM delivery WHERE (seq, recipient_member) IN (SELECT d.seq, d.recipient_member FROM message m "
    "CROSS JOIN delivery d ON d.seq = m.seq WHERE m.created_at_ms >= ?1 AND m.created_at_ms < ?2 "
    "AND d.delivered_at_ms IS NULL LIMIT ?3)";
const char* const PruneSql::kForgetHistory =
    "UPDATE client_message_dedupe SET history_available = 0 WHERE (mesh_id, client_message_id) IN "
    "(SELECT mesh_id, client_message_id FROM message WHERE seq IN "
    "(SELECT seq FROM message WHERE created_at_ms < ?1 ORDER BY created_at_ms, seq LIMIT ?2) "
    "AND client_message_id IS NOT NULL)";
const char* const PruneSql::kDeleteDeliveries =
    "DELETE FROM delivery WHERE seq IN "
    "(SELECT seq FROM message WHERE created_at_ms < ?1 ORDER BY created_at_ms, seq LIMIT ?2)";
const char* const PruneSql::kDeleteMessages =
    "DELETE FROM message WHERE seq IN "
    "(SELECT seq FROM message WHERE created_at_ms < ?1 ORDER BY created_at_ms, seq LIMIT ?2)";

bool PruneCounts::full() const noexcept {
  const auto batch = static_cast<std::uint64_t>(kPruneBatch);
  return std::max({expired_deliveries, messages, dedupe_records, session_keys, audit_entries}) >= batch;
}

Status StoreSql::prune(SqlTransaction& tx, const PruneLimits& limits, PruneCounts& out) const {
  Status status;
  const auto keep = [&](const Result<std::uint64_t>& changes, std::uint64_t* count) {
    if (!changes.ok()) {
      status = changes.error();
    } else if (count != nullptr) {
      *count = *changes;
    }
  };
  const auto step = [&](cm_statement statement, std::int64_t before_ms, std::uint64_t* count) {
    if (status.ok()) {
      keep(tx.execute(statement, {before_ms, kPruneBatch}), count);
    }
  };
  keep(tx.execute(sql_->expire_deliveries, {limits.queue_from_ms, limits.queue_before_ms, kPruneBatch}),
       &out.expired_deliveries);
  // The order matters: the first two find their rows through the messages that the third deletes.
  step(sql_->forget_history, limits.messages_before_ms, nullptr);
  step(sql_->delete_deliveries, limits.messages_before_ms, nullptr);
  step(sql_->delete_messages, limits.messages_before_ms, &out.messages);
  step(sql_->delete_session_keys, limits.sessions_before_ms, &out.session_keys);
  if (limits.dedupe_before_ms) {
    step(sql_->delete_dedupe, *limits.dedupe_before_ms, &out.dedupe_records);
  }
  if (status.ok() && limits.audit_before_ms) {
    status = prune_audit(tx, *limits.audit_before_ms, out.audit_entries);
  }
  return status;
}

// --- audit ---

Status StoreSql::prune_audit(SqlTransaction& tx, std::int64_t before_ms, std::uint64_t& removed) const {
  std::vector<std::string> meshes;
  Status status = tx.query(sql_->mesh_ids, {}, [&](const SqlRow& row) { meshes.emplace_back(row.text(0)); });
  const std::string before = iso_time(before_ms);
  for (const std::string& mesh : meshes) {
    const std::int64_t left = kPruneBatch - static_cast<std::int64_t>(removed);
    if (!status.ok() || left <= 0) {
      break;
    }
    status = prune_audit_of(tx, mesh, before, left, removed);
  }
  return status;
}

// A chain can only be cut at its beginning: an entry with an older time behind a younger one stays until its turn.
Status StoreSql::prune_audit_of(SqlTransaction& tx, std::string_view mesh_id, std::string_view before,
                                std::int64_t limit, std::uint64_t& removed) const {
  std::int64_t last_id = 0;
  std::int64_t count = 0;
  std::string hash;
  const Status status = tx.query(sql_->audit_oldest, {mesh_id, limit}, [&](const SqlRow& row) {
    if (row.text(1) >= before) {  // ISO 8601 in UTC: the order of the texts is the order of the times
      return false;
    }
    last_id = row.integer(0);
    hash = row.text(2);
    ++count;
    return true;
  });
  if (!status.ok() || count == 0) {
    return status;
  }
  const auto anchored = tx.execute(sql_->put_audit_anchor, {mesh_id, hash, last_id, count});
  const auto deleted = anchored.ok() ? tx.execute(sql_->delete_audit, {mesh_id, last_id}) : anchored;
  if (!deleted.ok()) {
    return deleted.error();
  }
  removed += *deleted;
  return {};
}

Status StoreSql::audit_start(SqlTransaction& tx, std::string_view mesh_id, std::string& out) const {
  out = "genesis";
  return tx.query(sql_->audit_anchor, {mesh_id}, [&](const SqlRow& row) { out = row.text(0); });
}

Status StoreSql::probe(SqlTransaction& tx, std::int64_t at_ms) const {
  const auto written = tx.execute(sql_->put_probe, {at_ms});
  return written.ok() ? Status() : Status(written.error());
}

}  // namespace cm::broker
