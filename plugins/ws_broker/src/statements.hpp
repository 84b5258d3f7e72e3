// The statements by name: every SQL text of the broker but the migrations stands here or in statements.cpp.
#pragma once

#include "plugins/ws_broker/src/store.hpp"

namespace cm::broker {

struct StoreSql::Statements {
  explicit Statements(StorageClient& client);

  cm_statement load_meshes, load_members, load_invites, load_session_keys, load_peer_states, load_waiting,
      load_last_seq;
  cm_statement insert_mesh, insert_member, set_revoked, insert_invite, use_invite, revoke_invite, put_peer_state,
      put_session_key;
  cm_statement claim_id, find_dedupe, insert_message, insert_delivery;
  cm_statement waiting_rows, mark_delivered, mark_claimed, acknowledge_by_id, acknowledge_by_client_id, queue_depth;
  cm_statement find_messages, deliveries_of, last_audit_hash, insert_audit, audit_page, audit_count, audit_chain;
  cm_statement expire_deliveries, forget_history, delete_deliveries, delete_messages, delete_dedupe,
      delete_session_keys;
  cm_statement audit_anchor, audit_oldest, put_audit_anchor, delete_audit, mesh_ids, put_probe;
};

}  // namespace cm::broker
