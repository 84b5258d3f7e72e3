// All SQL of the broker. `StoreSql` is what works use on the storage plugin's thread: prepared statements and functions
// over a transaction, immutable after it was made and shared with every work, because a work may outlive the instance.
// `Store` is the side of the loop.
#pragma once

#include <claudemesh/cpp/storage.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/ws_broker/src/model.hpp"

namespace cm::broker {

// --- rows as the store has them ---
struct DeliveryRow {
  std::string member_id;
  std::string key;  // empty: null
};
struct MemberRow {
  std::string mesh_id;
  std::unique_ptr<Member> member;
};
struct InviteRow {
  std::string mesh_id;
  std::unique_ptr<Invite> invite;
};
struct SessionKeyRow {
  std::string mesh_id;
  std::string pubkey;
  std::string member_id;
  std::int64_t last_seen_at_ms = 0;
};
struct PeerStateRow {
  std::string member_id;
  PeerState state;
};
// Everything that is kept in memory, read once at start.
struct LoadedState {
  std::vector<std::unique_ptr<Mesh>> meshes;
  std::vector<MemberRow> members;
  std::vector<InviteRow> invites;
  std::vector<SessionKeyRow> session_keys;
  std::vector<PeerStateRow> peer_states;
  std::vector<std::string> waiting_members;  // members with undelivered rows
  std::int64_t queue_depth = 0;
  std::int64_t last_seq = 0;
};

// An undelivered row with its message.
struct WaitingRow {
  std::shared_ptr<Message> message;
  std::string key;
  std::uint32_t attempts = 0;
  std::optional<std::int64_t> claim_expires_at_ms;
};

// What one accept writes.
struct AcceptRows {
  const Message* message = nullptr;
  std::vector<DeliveryRow> deliveries;
  protocol::Fingerprint fingerprint{};
  std::string_view destination_kind;
  std::string_view destination_ref;
  std::optional<std::int64_t> dedupe_expires_at_ms;
};

struct StatusRow {
  std::string id;
  std::string target_spec;
  std::int64_t seq = 0;
  std::int64_t created_at_ms = 0;
};
struct StatusDelivery {
  std::string member_id;
  std::optional<std::int64_t> delivered_at_ms;
};

struct AuditEntry {
  std::string mesh_id;
  std::string event_type;
  std::string actor_member_id;     // empty: null
  std::string actor_display_name;  // empty: null
  std::string payload_json;        // canonical
  std::string created_at;          // ISO 8601
};

struct AuditRow {
  std::int64_t id = 0;
  AuditEntry entry;
  std::string hash;
};
struct AuditPage {
  std::vector<AuditRow> rows;  // newest first
  std::int64_t total = 0;
};
struct AuditVerdict {
  std::int64_t entries = 0;
  std::optional<std::int64_t> broken_at;  // the id of the first entry that does not fit
};

struct PruneLimits {
  std::int64_t queue_from_ms = 0;                // undelivered rows of still older messages are gone already
  std::int64_t queue_before_ms = 0;              // undelivered rows of older messages go
  std::int64_t messages_before_ms = 0;           // messages that are older go
  std::int64_t sessions_before_ms = 0;           // session keys not seen since go
  std::optional<std::int64_t> dedupe_before_ms;  // records that expired before go; absent: permanent
  std::optional<std::int64_t> audit_before_ms;   // audit entries that are older go; absent: none
};
struct PruneCounts {
  std::uint64_t expired_deliveries = 0;
  std::uint64_t messages = 0;
  std::uint64_t dedupe_records = 0;
  std::uint64_t session_keys = 0;
  std::uint64_t audit_entries = 0;
  bool full() const noexcept;  // one of the counts is a whole batch: there may be more
};

class StoreSql {
 public:
  explicit StoreSql(StorageClient& client);

  Status load(SqlTransaction& tx, LoadedState& out) const;

  // --- meshes, members, invites ---
  Status insert_mesh(SqlTransaction& tx, const Mesh& mesh) const;
  Status insert_member(SqlTransaction& tx, const Member& member, std::string_view mesh_id) const;
  Status set_revoked(SqlTransaction& tx, std::string_view member_id, std::optional<std::int64_t> at_ms) const;
  Status insert_invite(SqlTransaction& tx, const Invite& invite, std::string_view mesh_id) const;
  // kDenied when all uses are gone.
  Status use_invite(SqlTransaction& tx, std::string_view invite_id) const;
  Status revoke_invite(SqlTransaction& tx, std::string_view invite_id, std::int64_t at_ms) const;
  Status put_peer_state(SqlTransaction& tx, std::string_view member_id, const PeerState& state) const;
  Status put_session_key(SqlTransaction& tx, const SessionKeyRow& row) const;

  // --- accept: the record that was there before, or nothing when the rows were written ---
  Result<std::optional<DedupeRecord>> accept(SqlTransaction& tx, const AcceptRows& rows) const;
  Result<std::optional<DedupeRecord>> find_dedupe(SqlTransaction& tx, std::string_view mesh_id,
                                                  std::string_view client_message_id) const;

  // --- delivery ---
  // Up to `limit` undelivered rows of a member with cursor < seq < horizon, in order.
  Status waiting_rows(SqlTransaction& tx, std::string_view member_id, std::int64_t cursor, std::int64_t horizon,
                      std::int64_t limit, std::vector<WaitingRow>& out) const;
  Status mark_delivered(SqlTransaction& tx, std::int64_t seq, std::string_view member_id, std::int64_t at_ms) const;
  Status mark_claimed(SqlTransaction& tx, std::int64_t seq, std::string_view member_id, std::uint32_t attempts,
                      std::string_view claimed_by, std::int64_t expires_at_ms) const;
  // For rows that are not in memory; `session_key` empty: none.
  Status acknowledge(SqlTransaction& tx, std::string_view mesh_id, std::string_view member_id,
                     std::string_view session_key, std::string_view message_id, std::string_view client_message_id,
                     std::int64_t at_ms) const;
  Status queue_depth(SqlTransaction& tx, std::int64_t& out) const;

  // --- status, audit, retention ---
  // At most two messages of the mesh whose id begins with `prefix`.
  Status find_messages(SqlTransaction& tx, std::string_view mesh_id, std::string_view prefix,
                       std::vector<StatusRow>& out) const;
  Status deliveries_of(SqlTransaction& tx, std::int64_t seq, std::vector<StatusDelivery>& out) const;
  // Chains the entries of a mesh; entries of several meshes may be mixed.
  Status append_audit(SqlTransaction& tx, const std::vector<AuditEntry>& entries) const;
  // `event_type` empty: all.
  Status audit_page(SqlTransaction& tx, std::string_view mesh_id, std::string_view event_type, std::int64_t limit,
                    std::int64_t offset, AuditPage& out) const;
  // Begins where pruning has cut the chain.
  Status verify_audit(SqlTransaction& tx, std::string_view mesh_id, AuditVerdict& out) const;
  // One bounded step; call again while it reports a full batch.
  Status prune(SqlTransaction& tx, const PruneLimits& limits, PruneCounts& out) const;
  // Writes one row, to find out whether the store takes writes.
  Status probe(SqlTransaction& tx, std::int64_t at_ms) const;

 private:
  Status prune_audit(SqlTransaction& tx, std::int64_t before_ms, std::uint64_t& removed) const;
  Status prune_audit_of(SqlTransaction& tx, std::string_view mesh_id, std::string_view before, std::int64_t limit,
                        std::uint64_t& removed) const;
  // The hash that the first entry of the mesh follows.
  Status audit_start(SqlTransaction& tx, std::string_view mesh_id, std::string& out) const;
  struct Statements;
  std::shared_ptr<const Statements> sql_;
};
using StoreSqlPtr = std::shared_ptr<const StoreSql>;

inline constexpr std::int64_t kPruneBatch = 500;

// The SQL that prune() uses to find old rows, for the test that asks SQLite how it would run them.
struct PruneSql {
  static const char* const kExpireDeliveries;
  static const char* const kForgetHistory;
  static const char* const kDeleteDeliveries;
  static const char* const kDeleteMessages;
};

// The hash of an audit entry (wire/01 section 14.1).
std::string audit_hash(std::string_view previous, const AuditEntry& entry);

// Migrations of the schema "broker", from the files of migrations/.
std::vector<SqlMigration> broker_migrations();

// JSON forms that the store keeps.
std::string groups_json(const std::vector<protocol::GroupMembership>& groups);
std::string stats_json(const protocol::RestoredStats& stats);
protocol::RestoredStats parse_stats(const protocol::JsonValue& value);

}  // namespace cm::broker
