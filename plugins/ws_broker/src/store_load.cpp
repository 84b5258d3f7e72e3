// Reading everything at start, and forgetting what is old.
#include <limits>

#include "plugins/ws_broker/src/statements.hpp"
#include "protocol/wire_parse.hpp"

namespace cm::broker {

namespace {

// What the broker wrote itself; unreadable text becomes null rather than a broker that does not start.
protocol::JsonValue json_of(std::string_view text) {
  auto parsed = protocol::parse_json(text);
  return parsed.ok() ? std::move(*parsed) : protocol::JsonValue();
}

std::optional<std::int64_t> int_or_none(const SqlRow& row, std::uint32_t column) {
  return row.is_null(column) ? std::nullopt : std::optional<std::int64_t>(row.integer(column));
}

std::unique_ptr<Mesh> read_mesh(const SqlRow& row) {
  auto mesh = std::make_unique<Mesh>();
  mesh->id = row.text(0);
  mesh->slug = row.text(1);
  mesh->name = row.text(2);
  mesh->owner_pubkey = row.text(3);
  mesh->owner_secret_key = row.text(4);
  mesh->root_key = row.text(5);
  mesh->self_editable_json = row.text(6);
  mesh->created_at_ms = row.integer(7);
  mesh->archived_at_ms = int_or_none(row, 8);
  return mesh;
}

MemberRow read_member(const SqlRow& row) {
  MemberRow result{std::string(row.text(1)), std::make_unique<Member>()};
  Member& member = *result.member;
  member.id = row.text(0);
  member.pubkey = row.text(2);
  member.display_name = row.text(3);
  member.role = row.text(4);
  member.role_tag = row.text(5);
  const protocol::JsonValue groups = json_of(row.text(6));
  member.default_groups = protocol::parse_groups(&groups);
  member.message_mode = row.text(7);
  member.joined_at_ms = row.integer(8);
  member.revoked_at_ms = int_or_none(row, 9);
  return result;
}

InviteRow read_invite(const SqlRow& row) {
  InviteRow result{std::string(row.text(1)), std::make_unique<Invite>()};
  Invite& invite = *result.invite;
  invite.id = row.text(0);
  invite.code = row.text(2);
  invite.token = row.text(3);
  invite.role = row.text(4);
  invite.max_uses = row.integer(5);
  invite.used_count = row.integer(6);
  invite.expires_at_ms = row.integer(7);
  invite.created_at_ms = row.integer(8);
  invite.revoked_at_ms = int_or_none(row, 9);
  return result;
}

PeerStateRow read_peer_state(const SqlRow& row) {
  PeerStateRow result;
  result.member_id = row.text(0);
  const protocol::JsonValue groups = json_of(row.text(1));
  result.state.groups = protocol::parse_groups(&groups);
  result.state.profile = json_of(row.text(2));
  result.state.visible = row.integer(3) != 0;
  result.state.last_summary = row.text(4);
  result.state.last_display_name = row.text(5);
  result.state.stats = parse_stats(json_of(row.text(6)));
  result.state.last_seen_at_ms = row.integer(7);
  return result;
}

}  // namespace

Status StoreSql::load(SqlTransaction& tx, LoadedState& out) const {
  Status status = tx.query(sql_->load_meshes, {}, [&](const SqlRow& row) { out.meshes.push_back(read_mesh(row)); });
  const auto next = [&](cm_statement statement, auto&& row_function) {
    if (status.ok()) {
      status = tx.query(statement, {}, row_function);
    }
  };
  next(sql_->load_members, [&](const SqlRow& row) { out.members.push_back(read_member(row)); });
  next(sql_->load_invites, [&](const SqlRow& row) { out.invites.push_back(read_invite(row)); });
  next(sql_->load_session_keys, [&](const SqlRow& row) {
    out.session_keys.push_back(
        SessionKeyRow{std::string(row.text(0)), std::string(row.text(1)), std::string(row.text(2)), row.integer(3)});
  });
  next(sql_->load_peer_states, [&](const SqlRow& row) { out.peer_states.push_back(read_peer_state(row)); });
  next(sql_->load_waiting, [&](const SqlRow& row) {
    out.waiting_members.emplace_back(row.text(0));
    out.queue_depth += row.integer(1);
  });
  next(sql_->load_last_seq, [&](const SqlRow& row) { out.last_seq = row.integer(0); });
  return status;
}

}  // namespace cm::broker
