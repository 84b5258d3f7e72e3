#include "plugins/ws_broker/src/statements.hpp"

namespace cm::broker {

StoreSql::Statements::Statements(StorageClient& client) {
  const auto prepare = [&](const char* text) { return client.statement(text); };

  load_meshes = prepare(
      "SELECT id, slug, name, owner_pubkey, owner_secret_key, root_key, self_editable, created_at_ms, archived_at_ms "
      "FROM mesh ORDER BY created_at_ms, id");
  load_members = prepare(
      "SELECT id, mesh_id, pubkey, display_name, role, role_tag, default_groups, message_mode, joined_at_ms, "
      "revoked_at_ms FROM member ORDER BY joined_at_ms, id");
  load_invites = prepare(
      "SELECT id, mesh_id, code, token, role, max_uses, used_count, expires_at_ms, created_at_ms, revoked_at_ms "
      "FROM invite ORDER BY created_at_ms, id");
  load_session_keys = prepare("SELECT mesh_id, pubkey, member_id, last_seen_at_ms FROM session_key");
  load_peer_states = prepare(
      "SELECT member_id, groups, profile, visible, last_summary, last_display_name, stats, last_seen_at_ms "
      "FROM peer_state");
  load_waiting = prepare(
      "SELECT recipient_member, count(*) FROM delivery WHERE delivered_at_ms IS NULL GROUP BY recipient_member");
  load_last_seq = prepare("SELECT coalesce(max(seq), 0) FROM message");

  insert_mesh = prepare(
      "INSERT INTO mesh (id, slug, name, owner_pubkey, owner_secret_key, root_key, self_editable, created_at_ms) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
  insert_member = prepare(
      "INSERT INTO member (id, mesh_id, pubkey, display_name, role, role_tag, default_groups, message_mode, "
      "joined_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
  set_revoked = prepare("UPDATE member SET revoked_at_ms = ?2 WHERE id = ?1");
  insert_invite = prepare(
      "INSERT INTO invite (id, mesh_id, code, token, role, max_uses, used_count, expires_at_ms, created_at_ms) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)");
  use_invite = prepare("UPDATE invite SET used_count = used_count + 1 WHERE id = ?1 AND used_count < max_uses");
  revoke_invite = prepare("UPDATE invite SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL");
  put_peer_state = prepare(
      "INSERT INTO peer_state (member_id, groups, profile, visible, last_summary, last_display_name, stats, "
      "last_seen_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (member_id) DO UPDATE SET "
      "groups = excluded.groups, profile = excluded.profile, visible = excluded.visible, "
      "last_summary = excluded.last_summary, last_display_name = excluded.last_display_name, stats = excluded.stats, "
      "last_seen_at_ms = excluded.last_seen_at_ms");
  put_session_key = prepare(
      "INSERT INTO session_key (mesh_id, pubkey, member_id, last_seen_at_ms) VALUES (?1, ?2, ?3, ?4) "
      "ON CONFLICT (mesh_id, pubkey) DO UPDATE SET member_id = excluded.member_id, "
      "last_seen_at_ms = excluded.last_seen_at_ms");

  claim_id = prepare(
      "INSERT INTO client_message_dedupe (mesh_id, client_message_id, sender_member_id, broker_message_id, "
      "request_fingerprint, destination_kind, destination_ref, first_seen_at_ms, expires_at_ms, history_available) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1) ON CONFLICT (mesh_id, client_message_id) DO NOTHING");
  find_dedupe = prepare(
      "SELECT sender_member_id, broker_message_id, request_fingerprint, first_seen_at_ms, history_available "
      "FROM client_message_dedupe WHERE mesh_id = ?1 AND client_message_id = ?2");
  insert_message = prepare(
      "INSERT INTO message (seq, id, mesh_id, sender_member_id, sender_pubkey, target_spec, priority, nonce, "
      "ciphertext, client_message_id, request_fingerprint, created_at_ms) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)");
  insert_delivery = prepare(
      "INSERT INTO delivery (seq, recipient_member, recipient_key, state, attempts) VALUES (?1, ?2, ?3, 'queued', 0)");

  waiting_rows = prepare(
      "SELECT m.seq, m.id, m.mesh_id, m.sender_member_id, m.sender_pubkey, m.target_spec, m.priority, m.nonce, "
      "m.ciphertext, m.client_message_id, m.request_fingerprint, m.created_at_ms, d.recipient_key, d.attempts, "
      "d.claim_expires_at_ms FROM delivery d JOIN message m ON m.seq = d.seq "
      "WHERE d.recipient_member = ?1 AND d.delivered_at_ms IS NULL AND d.seq > ?2 AND d.seq < ?3 "
      "ORDER BY d.seq LIMIT ?4");
  mark_delivered = prepare(
      "UPDATE delivery SET state = 'delivered', delivered_at_ms = ?3 "
      "WHERE seq = ?1 AND recipient_member = ?2 AND delivered_at_ms IS NULL");
  mark_claimed = prepare(
      "UPDATE delivery SET state = 'claimed', attempts = ?3, claimed_by = ?4, claim_expires_at_ms = ?5 "
      "WHERE seq = ?1 AND recipient_member = ?2 AND delivered_at_ms IS NULL");
  acknowledge_by_id = prepare(
      "UPDATE delivery SET state = 'delivered', delivered_at_ms = ?5 "
      "WHERE seq = (SELECT seq FROM message WHERE id = ?2 AND mesh_id = ?1) AND recipient_member = ?3 "
      "AND (recipient_key IS NULL OR recipient_key = ?4) AND delivered_at_ms IS NULL");
  acknowledge_by_client_id = prepare(
      "UPDATE delivery SET state = 'delivered', delivered_at_ms = ?5 "
      "WHERE seq = (SELECT m.seq FROM client_message_dedupe c JOIN message m ON m.id = c.broker_message_id "
      "WHERE c.mesh_id = ?1 AND c.client_message_id = ?2) AND recipient_member = ?3 "
      "AND (recipient_key IS NULL OR recipient_key = ?4) AND delivered_at_ms IS NULL");
  queue_depth = prepare("SELECT count(*) FROM delivery WHERE delivered_at_ms IS NULL");

  find_messages = prepare(
      "SELECT seq, id, target_spec, created_at_ms FROM message WHERE mesh_id = ?1 AND id >= ?2 AND id < ?3 LIMIT 2");
  deliveries_of = prepare("SELECT recipient_member, delivered_at_ms FROM delivery WHERE seq = ?1");
  // All entries may have been pruned: the chain then goes on from its anchor.
  last_audit_hash = prepare(
      "SELECT coalesce((SELECT hash FROM audit_log WHERE mesh_id = ?1 ORDER BY id DESC LIMIT 1), "
      "(SELECT hash FROM audit_anchor WHERE mesh_id = ?1), 'genesis')");
  insert_audit = prepare(
      "INSERT INTO audit_log (mesh_id, event_type, actor_member_id, actor_display_name, payload, prev_hash, hash, "
      "created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");

  audit_page = prepare(
      "SELECT id, event_type, actor_member_id, payload, hash, created_at FROM audit_log "
      "WHERE mesh_id = ?1 AND (?2 = '' OR event_type = ?2) ORDER BY id DESC LIMIT ?3 OFFSET ?4");
  audit_count = prepare("SELECT count(*) FROM audit_log WHERE mesh_id = ?1 AND (?2 = '' OR event_type = ?2)");
  audit_chain = prepare(
      "SELECT id, event_type, actor_member_id, payload, created_at, prev_hash, hash FROM audit_log "
      "WHERE mesh_id = ?1 ORDER BY id");

  expire_deliveries = prepare(PruneSql::kExpireDeliveries);
  forget_history = prepare(PruneSql::kForgetHistory);
  delete_deliveries = prepare(PruneSql::kDeleteDeliveries);
  delete_messages = prepare(PruneSql::kDeleteMessages);
  delete_dedupe = prepare(
      "DELETE FROM client_message_dedupe WHERE (mesh_id, client_message_id) IN (SELECT mesh_id, client_message_id "
      "FROM client_message_dedupe WHERE expires_at_ms < ?1 LIMIT ?2)");
  delete_session_keys = prepare(
      "DELETE FROM session_key WHERE (mesh_id, pubkey) IN "
      "(SELECT mesh_id, pubkey FROM session_key WHERE last_seen_at_ms < ?1 LIMIT ?2)");

  mesh_ids = prepare("SELECT id FROM mesh");
  audit_anchor = prepare("SELECT hash FROM audit_anchor WHERE mesh_id = ?1");
  audit_oldest = prepare("SELECT id, created_at, hash FROM audit_log WHERE mesh_id = ?1 ORDER BY id LIMIT ?2");
  put_audit_anchor = prepare(
      "INSERT INTO audit_anchor (mesh_id, hash, last_id, removed) VALUES (?1, ?2, ?3, ?4) "
      "ON CONFLICT (mesh_id) DO UPDATE SET hash = excluded.hash, last_id = excluded.last_id, "
      "removed = removed + excluded.removed");
  delete_audit = prepare("DELETE FROM audit_log WHERE mesh_id = ?1 AND id <= ?2");
  put_probe = prepare(
      "INSERT INTO store_probe (id, at_ms) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms");
}

}  // namespace cm::broker
