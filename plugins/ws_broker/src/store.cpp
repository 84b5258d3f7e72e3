#include "plugins/ws_broker/src/store.hpp"

#include <algorithm>
#include <map>

#include "plugins/ws_broker/src/statements.hpp"
#include "plugins/ws_broker/src/text.hpp"
#include "protocol/encoding.hpp"
#include "protocol/object_writer.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

StoreSql::StoreSql(StorageClient& client) : sql_(std::make_shared<const Statements>(client)) {}

namespace {

SqlValue int_or_null(const std::optional<std::int64_t>& value) {
  return value ? SqlValue(*value) : SqlValue(nullptr);
}

Status to_status(const Result<std::uint64_t>& changes) {
  return changes.ok() ? Status() : Status(changes.error());
}

}  // namespace

// --- meshes, members, invites -----------------------------------------------------------------------------------

Status StoreSql::insert_mesh(SqlTransaction& tx, const Mesh& mesh) const {
  return to_status(tx.execute(sql_->insert_mesh,
                              {mesh.id, mesh.slug, mesh.name, mesh.owner_pubkey, mesh.owner_secret_key, mesh.root_key,
                               SqlValue::text_or_null(mesh.self_editable_json), mesh.created_at_ms}));
}

Status StoreSql::insert_member(SqlTransaction& tx, const Member& member, std::string_view mesh_id) const {
  const std::string groups = groups_json(member.default_groups);
  return to_status(tx.execute(sql_->insert_member, {member.id, mesh_id, member.pubkey, member.display_name, member.role,
                                                    SqlValue::text_or_null(member.role_tag), groups,
                                                    member.message_mode, member.joined_at_ms}));
}

Status StoreSql::set_revoked(SqlTransaction& tx, std::string_view member_id, std::optional<std::int64_t> at_ms) const {
  return to_status(tx.execute(sql_->set_revoked, {member_id, int_or_null(at_ms)}));
}

Status StoreSql::insert_invite(SqlTransaction& tx, const Invite& invite, std::string_view mesh_id) const {
  return to_status(tx.execute(sql_->insert_invite, {invite.id, mesh_id, invite.code, invite.token, invite.role,
                                                    invite.max_uses, invite.expires_at_ms, invite.created_at_ms}));
}

Status StoreSql::use_invite(SqlTransaction& tx, std::string_view invite_id) const {
  const auto changes = tx.execute(sql_->use_invite, {invite_id});
  if (changes.ok() && *changes == 0) {
    return make_error(ErrorCode::kDenied, "invite_exhausted");
  }
  return to_status(changes);
}

Status StoreSql::revoke_invite(SqlTransaction& tx, std::string_view invite_id, std::int64_t at_ms) const {
  return to_status(tx.execute(sql_->revoke_invite, {invite_id, at_ms}));
}

Status StoreSql::put_peer_state(SqlTransaction& tx, std::string_view member_id, const PeerState& state) const {
  const std::string groups = groups_json(state.groups);
  const std::string profile = state.profile.is_object() ? protocol::to_json(state.profile) : "{}";
  const std::string stats = stats_json(state.stats);
  return to_status(tx.execute(sql_->put_peer_state,
                              {member_id, groups, profile, state.visible, SqlValue::text_or_null(state.last_summary),
                               SqlValue::text_or_null(state.last_display_name), stats, state.last_seen_at_ms}));
}

Status StoreSql::put_session_key(SqlTransaction& tx, const SessionKeyRow& row) const {
  return to_status(tx.execute(sql_->put_session_key, {row.mesh_id, row.pubkey, row.member_id, row.last_seen_at_ms}));
}

// --- accept ---------------------------------------------------------------------------------------------------------

Result<std::optional<DedupeRecord>> StoreSql::find_dedupe(SqlTransaction& tx, std::string_view mesh_id,
                                                          std::string_view client_message_id) const {
  std::optional<DedupeRecord> found;
  const Status status = tx.query(sql_->find_dedupe, {mesh_id, client_message_id}, [&](const SqlRow& row) {
    DedupeRecord& record = found.emplace();
    record.sender_member_id = row.text(0);
    record.broker_message_id = row.text(1);
    const auto fingerprint = row.blob(2);
    std::copy_n(fingerprint.begin(), std::min(fingerprint.size(), record.fingerprint.size()),
                record.fingerprint.begin());
    record.first_seen_at_ms = row.integer(3);
    record.history_available = row.integer(4) != 0;
  });
  if (!status.ok()) {
    return status.error();
  }
  return found;
}

Result<std::optional<DedupeRecord>> StoreSql::accept(SqlTransaction& tx, const AcceptRows& rows) const {
  const Message& message = *rows.message;
  if (!message.client_message_id.empty()) {
    const auto claimed = tx.execute(
        sql_->claim_id, {message.mesh_id, message.client_message_id, message.sender_member_id, message.id,
                         std::span<const std::uint8_t>(rows.fingerprint), rows.destination_kind, rows.destination_ref,
                         message.created_at_ms, int_or_null(rows.dedupe_expires_at_ms)});
    if (!claimed.ok()) {
      return claimed.error();
    }
    if (*claimed == 0) {
      return find_dedupe(tx, message.mesh_id, message.client_message_id);
    }
  }
  const auto inserted = tx.execute(
      sql_->insert_message, {message.seq, message.id, message.mesh_id, message.sender_member_id, message.sender_pubkey,
                             message.target_spec, protocol::to_string(message.priority), message.nonce,
                             message.ciphertext, SqlValue::text_or_null(message.client_message_id),
                             SqlValue::text_or_null(message.request_fingerprint), message.created_at_ms});
  if (!inserted.ok()) {
    return inserted.error();
  }
  for (const DeliveryRow& delivery : rows.deliveries) {
    const auto added =
        tx.execute(sql_->insert_delivery, {message.seq, delivery.member_id, SqlValue::text_or_null(delivery.key)});
    if (!added.ok()) {
      return added.error();
    }
  }
  return std::optional<DedupeRecord>();
}

// --- delivery -------------------------------------------------------------------------------------------------------

Status StoreSql::waiting_rows(SqlTransaction& tx, std::string_view member_id, std::int64_t cursor, std::int64_t horizon,
                              std::int64_t limit, std::vector<WaitingRow>& out) const {
  return tx.query(sql_->waiting_rows, {member_id, cursor, horizon, limit}, [&](const SqlRow& row) {
    auto message = std::make_shared<Message>();
    message->seq = row.integer(0);
    message->id = row.text(1);
    message->mesh_id = row.text(2);
    message->sender_member_id = row.text(3);
    message->sender_pubkey = row.text(4);
    message->target_spec = row.text(5);
    message->priority = protocol::parse_priority(row.text(6)).value_or(protocol::Priority::kNext);
    message->nonce = row.text(7);
    message->ciphertext = row.text(8);
    message->client_message_id = row.text(9);
    message->request_fingerprint = row.text(10);
    message->created_at_ms = row.integer(11);
    WaitingRow waiting;
    waiting.message = std::move(message);
    waiting.key = row.text(12);
    waiting.attempts = static_cast<std::uint32_t>(row.integer(13));
    if (!row.is_null(14)) {
      waiting.claim_expires_at_ms = row.integer(14);
    }
    out.push_back(std::move(waiting));
  });
}

Status StoreSql::mark_delivered(SqlTransaction& tx, std::int64_t seq, std::string_view member_id,
                                std::int64_t at_ms) const {
  return to_status(tx.execute(sql_->mark_delivered, {seq, member_id, at_ms}));
}

Status StoreSql::mark_claimed(SqlTransaction& tx, std::int64_t seq, std::string_view member_id, std::uint32_t attempts,
                              std::string_view claimed_by, std::int64_t expires_at_ms) const {
  return to_status(
      tx.execute(sql_->mark_claimed, {seq, member_id, attempts, SqlValue::text_or_null(claimed_by), expires_at_ms}));
}

Status StoreSql::acknowledge(SqlTransaction& tx, std::string_view mesh_id, std::string_view member_id,
                             std::string_view session_key, std::string_view message_id,
                             std::string_view client_message_id, std::int64_t at_ms) const {
  if (!message_id.empty()) {
    const auto by_id = tx.execute(sql_->acknowledge_by_id, {mesh_id, message_id, member_id, session_key, at_ms});
    if (!by_id.ok() || *by_id != 0 || client_message_id.empty()) {
      return to_status(by_id);
    }
  }
  return to_status(
      tx.execute(sql_->acknowledge_by_client_id, {mesh_id, client_message_id, member_id, session_key, at_ms}));
}

Status StoreSql::queue_depth(SqlTransaction& tx, std::int64_t& out) const {
  return tx.query(sql_->queue_depth, {}, [&](const SqlRow& row) { out = row.integer(0); });
}

// --- status, audit
// ----------------------------------------------------------------------------------------------------

Status StoreSql::find_messages(SqlTransaction& tx, std::string_view mesh_id, std::string_view prefix,
                               std::vector<StatusRow>& out) const {
  // '{' follows 'z' in byte order, so that the range holds exactly the base62 texts that begin with the prefix.
  const std::string end = std::string(prefix) + "{";
  return tx.query(sql_->find_messages, {mesh_id, prefix, end}, [&](const SqlRow& row) {
    out.push_back(StatusRow{std::string(row.text(1)), std::string(row.text(2)), row.integer(0), row.integer(3)});
  });
}

Status StoreSql::deliveries_of(SqlTransaction& tx, std::int64_t seq, std::vector<StatusDelivery>& out) const {
  return tx.query(sql_->deliveries_of, {seq}, [&](const SqlRow& row) {
    StatusDelivery delivery;
    delivery.member_id = row.text(0);
    if (!row.is_null(1)) {
      delivery.delivered_at_ms = row.integer(1);
    }
    out.push_back(std::move(delivery));
  });
}

std::string audit_hash(std::string_view previous, const AuditEntry& entry) {
  std::string text;
  for (const std::string_view part :
       {previous, std::string_view(entry.mesh_id), std::string_view(entry.event_type),
        entry.actor_member_id.empty() ? std::string_view("null") : std::string_view(entry.actor_member_id),
        std::string_view(entry.payload_json)}) {
    text += part;
    text += '|';
  }
  text += entry.created_at;
  return protocol::hex_encode(protocol::sha256(protocol::as_bytes(text)));
}

Status StoreSql::append_audit(SqlTransaction& tx, const std::vector<AuditEntry>& entries) const {
  std::map<std::string_view, std::string> last;
  for (const AuditEntry& entry : entries) {
    auto [previous, first] = last.try_emplace(entry.mesh_id, "genesis");
    if (first) {
      const Status read =
          tx.query(sql_->last_audit_hash, {entry.mesh_id}, [&](const SqlRow& row) { previous->second = row.text(0); });
      if (!read.ok()) {
        return read;
      }
    }
    const std::string hash = audit_hash(previous->second, entry);
    const auto added =
        tx.execute(sql_->insert_audit, {entry.mesh_id, entry.event_type, SqlValue::text_or_null(entry.actor_member_id),
                                        SqlValue::text_or_null(entry.actor_display_name), entry.payload_json,
                                        previous->second, hash, entry.created_at});
    if (!added.ok()) {
      return added.error();
    }
    previous->second = hash;
  }
  return {};
}

Status StoreSql::audit_page(SqlTransaction& tx, std::string_view mesh_id, std::string_view event_type,
                            std::int64_t limit, std::int64_t offset, AuditPage& out) const {
  const Status counted =
      tx.query(sql_->audit_count, {mesh_id, event_type}, [&](const SqlRow& row) { out.total = row.integer(0); });
  if (!counted.ok()) {
    return counted;
  }
  return tx.query(sql_->audit_page, {mesh_id, event_type, limit, offset}, [&](const SqlRow& row) {
    AuditRow& added = out.rows.emplace_back();
    added.id = row.integer(0);
    added.entry.event_type = row.text(1);
    added.entry.actor_member_id = row.text(2);
    added.entry.payload_json = row.text(3);
    added.hash = row.text(4);
    added.entry.created_at = row.text(5);
  });
}

Status StoreSql::verify_audit(SqlTransaction& tx, std::string_view mesh_id, AuditVerdict& out) const {
  std::string previous;
  if (const Status status = audit_start(tx, mesh_id, previous); !status.ok()) {
    return status;
  }
  return tx.query(sql_->audit_chain, {mesh_id}, [&](const SqlRow& row) {
    ++out.entries;
    AuditEntry entry;
    entry.mesh_id = mesh_id;
    entry.event_type = row.text(1);
    entry.actor_member_id = row.text(2);
    entry.payload_json = row.text(3);
    entry.created_at = row.text(4);
    const bool fits = row.text(5) == previous && row.text(6) == audit_hash(previous, entry);
    if (!fits && !out.broken_at) {
      out.broken_at = row.integer(0);
    }
    previous = row.text(6);
  });
}

// -------------------------------------------------------------------------------------------------------

// --- JSON forms
// -------------------------------------------------------------------------------------------------------

std::string groups_json(const std::vector<protocol::GroupMembership>& groups) {
  std::string out;
  protocol::write_groups(out, groups);
  return out;
}

std::string stats_json(const protocol::RestoredStats& stats) {
  std::string out;
  protocol::ObjectWriter object(out);
  object.number("messagesIn", stats.messages_in);
  object.number("messagesOut", stats.messages_out);
  object.number("toolCalls", stats.tool_calls);
  object.number("errors", stats.errors);
  object.close();
  return out;
}

protocol::RestoredStats parse_stats(const protocol::JsonValue& value) {
  const auto number = [&](std::string_view name) {
    const protocol::JsonValue* member = value.find(name);
    const double* found = member == nullptr ? nullptr : member->as_number();
    return found == nullptr ? 0.0 : *found;
  };
  return {number("messagesIn"), number("messagesOut"), number("toolCalls"), number("errors")};
}

}  // namespace cm::broker
