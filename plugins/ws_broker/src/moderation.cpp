// kick, disconnect, ban, unban, list_bans (wire/02 section 28, wire/05 section 7).
#include <algorithm>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/close_codes.hpp"
#include "protocol/object_writer.hpp"

namespace cm::broker {

using protocol::CloseCode;
using protocol::JsonValue;

namespace {

constexpr std::uint16_t code_of(CloseCode code) {
  return static_cast<std::uint16_t>(code);
}

// Whom a kick or disconnect means.
struct Selection {
  std::vector<Presence*> presences;
  bool by_age = false;
};

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool matches(const Presence& presence, std::string_view target) {
  return presence.display_name == target || starts_with(presence.member->pubkey, target);
}

// The selectors in their order: all, stale, target. None: nobody.
Selection select(const Presence& caller, const JsonValue& frame, std::int64_t now_ms) {
  const JsonValue* all = frame.find("all");
  const bool everybody = all != nullptr && all->as_bool() != nullptr && *all->as_bool();
  const JsonValue* stale = frame.find("stale");
  const double stale_ms = stale != nullptr && stale->as_number() != nullptr ? *stale->as_number() : 0;
  const std::string_view target = text_member(frame, "target");
  Selection selection;
  selection.by_age = !everybody && stale_ms > 0;
  for (const auto& [number, presence] : caller.mesh->presences) {
    bool chosen = false;
    if (everybody) {
      chosen = presence.get() != &caller;
    } else if (selection.by_age) {
      chosen = static_cast<double>(now_ms - presence->lease.last_alive_ms()) > stale_ms;
    } else {
      chosen = !target.empty() && matches(*presence, target);
    }
    if (chosen) {
      selection.presences.push_back(presence.get());
    }
  }
  return selection;
}

void write_names(std::string& out, const std::vector<std::string>& names) {
  out.push_back('[');
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i != 0) {
      out.push_back(',');
    }
    protocol::append_json_string(out, names[i]);
  }
  out.push_back(']');
}

// `forbidden` with the texts of the original, whose verbs are the close reasons.
bool may_moderate(Connection& connection, const JsonValue& frame, std::string_view verb) {
  if (connection.presence->member->role == "admin") {
    return true;
  }
  connection.reply(error_frame("forbidden", "only owner or admin can " + std::string(verb), request_id(frame)));
  return false;
}

void write_req_id(protocol::ObjectWriter& object, const JsonValue& frame) {
  object.text_if("_reqId", request_id(frame));
}

struct CloseVerb {
  std::string_view ack_type;
  std::string_view verb;
  std::uint16_t code;
  std::string_view reason;
  std::string_view stale_reason;
  bool spares_control_plane;
};

constexpr CloseVerb kKick = {
    "kick_ack", "kicked", code_of(CloseCode::kKicked), protocol::kReasonKicked, protocol::kReasonKickedStale, true};
constexpr CloseVerb kDisconnect = {"disconnect_ack",
                                   "disconnected",
                                   code_of(CloseCode::kNormal),
                                   protocol::kReasonDisconnected,
                                   protocol::kReasonDisconnectedStale,
                                   false};

void close_presences(Broker& broker, Connection& connection, const JsonValue& frame, const CloseVerb& verb) {
  if (!may_moderate(connection, frame, verb.verb)) {
    return;
  }
  const Selection selection = select(*connection.presence, frame, broker.context().now_ms());
  std::vector<std::string> closed;
  std::vector<std::string> skipped;
  std::vector<Presence*> victims;
  for (Presence* presence : selection.presences) {
    const std::string& name = presence->display_name.empty() ? presence->id : presence->display_name;
    const bool spared = verb.spares_control_plane && presence->kind == PresenceKind::kControlPlane;
    (spared ? skipped : closed).push_back(name);
    if (!spared) {
      victims.push_back(presence);
    }
  }
  std::string out;
  protocol::ObjectWriter object(out, verb.ack_type);
  object.key("kicked");
  write_names(out, closed);
  object.key("affected");
  write_names(out, closed);
  if (!skipped.empty()) {
    object.key("skipped_control_plane");
    write_names(out, skipped);
  }
  write_req_id(object, frame);
  object.close();
  connection.reply(std::move(out));  // before the closes: the caller may be among them
  for (Presence* presence : victims) {
    broker.remove_presence(*presence, Farewell{verb.code, selection.by_age ? verb.stale_reason : verb.reason});
  }
}

std::string member_ack(std::string_view type, std::string_view field, const Member& member, const JsonValue& frame) {
  std::string out;
  protocol::ObjectWriter object(out, type);
  object.text(field, member.display_name);
  write_req_id(object, frame);
  object.close();
  return out;
}

Member* find_active(Mesh& mesh, std::string_view target) {
  for (const auto& [id, member] : mesh.members) {
    if (member->active() && (member->display_name == target || starts_with(member->pubkey, target))) {
      return member.get();
    }
  }
  return nullptr;
}

// The one that was banned last, when several fit. A key that is active again cannot be unbanned.
Member* find_banned(Mesh& mesh, std::string_view target) {
  Member* latest = nullptr;
  for (const auto& [id, member] : mesh.members) {
    const bool fits = !member->active() && (member->display_name == target || member->pubkey == target) &&
                      MeshCache::active_member(mesh, member->pubkey) == nullptr;
    if (fits && (latest == nullptr || *member->revoked_at_ms > *latest->revoked_at_ms)) {
      latest = member.get();
    }
  }
  return latest;
}

void audit_member(Broker& broker, const Mesh& mesh, std::string_view event, const Member* actor, const Member& target) {
  JsonValue payload;
  payload.set("target", JsonValue(target.display_name));
  if (event == "member_banned") {
    payload.set("targetPubkey", JsonValue(target.pubkey));
  }
  broker.audit().append(mesh, event, actor, payload);
}

// Writes the ban (or its end) to the store; `done` gets whether that worked. The cache follows the store.
void store_revocation(Broker& broker, Member& member, std::optional<std::int64_t> at_ms,
                      std::function<void(bool)> done) {
  Context& context = broker.context();
  context.storage.submit(
      [sql = context.sql, id = member.id, at_ms](SqlTransaction& tx) { return sql->set_revoked(tx, id, at_ms); },
      [&broker, &member, at_ms, done = std::move(done)](Status status) {
        broker.context().health.write_ended(status);
        if (status.ok()) {
          MeshCache::set_revoked(member, at_ms);
        }
        done(status.ok());
        if (status.ok() && at_ms) {
          broker.ways().member_reached(member);
          broker.messages().member_removed(member);
        } else if (status.ok()) {
          broker.messages().member_joined(member);
        }
      });
}

void answer(Broker& broker, std::uint64_t connection, Connection::Ticket ticket, std::string frame) {
  if (Connection* waiting = broker.find_connection(connection)) {
    waiting->answer(ticket, std::move(frame));
  }
}

std::string storage_error(const JsonValue& frame) {
  return error_frame("internal", "the store cannot be written now; nothing was changed", request_id(frame));
}

// What a ban and its end differ in.
struct MembershipVerb {
  std::string_view verb;
  std::string_view not_found;  // in front of the quoted target
  std::string_view not_found_end;
  std::string_view audit_event;
  std::string_view ack_type;
  std::string_view ack_field;
  Member* (*find)(Mesh& mesh, std::string_view target);
  bool bans;
};

constexpr MembershipVerb kBan = {"ban",     "peer ",  " not found", "member_banned",
                                 "ban_ack", "banned", &find_active, true};
constexpr MembershipVerb kUnban = {"unban",     "no banned peer ", "",           "member_unbanned",
                                   "unban_ack", "unbanned",        &find_banned, false};

void change_membership(Broker& broker, Connection& connection, const JsonValue& frame, const MembershipVerb& verb) {
  if (!may_moderate(connection, frame, verb.verb)) {
    return;
  }
  const auto refuse = [&](std::string_view code, const std::string& text) {
    connection.reply(error_frame(code, text, request_id(frame)));
  };
  const std::string target(text_member(frame, "target"));
  if (target.empty()) {
    return refuse("invalid", "target required");
  }
  Mesh& mesh = *connection.presence->mesh;
  Member* actor = connection.presence->member;
  Member* member = verb.find(mesh, target);
  if (member == nullptr) {
    return refuse("not_found", std::string(verb.not_found) + "\"" + target + "\"" + std::string(verb.not_found_end));
  }
  if (verb.bans && member == actor) {
    return refuse("invalid", "cannot ban yourself");
  }
  const Connection::Ticket ticket = connection.reserve();
  const std::optional<std::int64_t> at_ms =
      verb.bans ? std::optional<std::int64_t>(broker.context().wall_ms()) : std::nullopt;
  store_revocation(broker, *member, at_ms,
                   [&broker, &mesh, &verb, actor, member, frame, number = connection.number(), ticket](bool ok) {
                     if (!ok) {
                       answer(broker, number, ticket, storage_error(frame));
                       return;
                     }
                     if (verb.bans) {
                       end_presences_of_banned(broker, *member);
                     }
                     audit_member(broker, mesh, verb.audit_event, actor, *member);
                     answer(broker, number, ticket, member_ack(verb.ack_type, verb.ack_field, *member, frame));
                   });
}

}  // namespace

void handle_kick(Broker& broker, Connection& connection, const JsonValue& frame) {
  close_presences(broker, connection, frame, kKick);
}

void handle_disconnect(Broker& broker, Connection& connection, const JsonValue& frame) {
  close_presences(broker, connection, frame, kDisconnect);
}

void handle_ban(Broker& broker, Connection& connection, const JsonValue& frame) {
  change_membership(broker, connection, frame, kBan);
}

void end_presences_of_banned(Broker& broker, Member& member) {
  const std::vector<Presence*> presences = member.presences;
  for (Presence* presence : presences) {
    broker.remove_presence(*presence, Farewell{code_of(CloseCode::kBanned), protocol::kReasonBanned});
  }
}

void handle_unban(Broker& broker, Connection& connection, const JsonValue& frame) {
  change_membership(broker, connection, frame, kUnban);
}

void handle_list_bans(Broker&, Connection& connection, const JsonValue& frame) {
  std::string out;
  protocol::ObjectWriter object(out, "list_bans_result");
  object.key("bans");
  out.push_back('[');
  bool first = true;
  for (const auto& [id, member] : connection.presence->mesh->members) {
    if (member->active()) {
      continue;
    }
    if (!std::exchange(first, false)) {
      out.push_back(',');
    }
    protocol::ObjectWriter ban(out);
    ban.text("name", member->display_name);
    ban.text("pubkey", member->pubkey);
    ban.text("revokedAt", iso_time(*member->revoked_at_ms));
    ban.close();
  }
  out.push_back(']');
  write_req_id(object, frame);
  object.close();
  connection.reply(std::move(out));
}

}  // namespace cm::broker
