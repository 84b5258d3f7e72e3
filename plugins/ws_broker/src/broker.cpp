#include "plugins/ws_broker/src/broker.hpp"

#include "plugins/ws_broker/src/empty_features.hpp"
#include "plugins/ws_broker/src/frame_limit.hpp"
#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/close_codes.hpp"
#include "protocol/ids.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

using protocol::CloseCode;
using protocol::WireType;

namespace {

constexpr std::uint16_t code_of(CloseCode code) {
  return static_cast<std::uint16_t>(code);
}

using Handler = void (*)(Broker&, Connection&, const protocol::JsonValue&);

const std::map<WireType, Handler>& handlers() {
  static const std::map<WireType, Handler> kHandlers = {
      {WireType::kHello, &handle_hello},
      {WireType::kSessionHello, &handle_session_hello},
      {WireType::kListPeers, &handle_list_peers},
      {WireType::kSetStatus, &handle_set_status},
      {WireType::kSetSummary, &handle_set_summary},
      {WireType::kSetStats, &handle_set_stats},
      {WireType::kSetVisible, &handle_set_visible},
      {WireType::kSetProfile, &handle_set_profile},
      {WireType::kJoinGroup, &handle_join_group},
      {WireType::kLeaveGroup, &handle_leave_group},
      {WireType::kMessageStatus, &handle_message_status},
      {WireType::kKick, &handle_kick},
      {WireType::kDisconnect, &handle_disconnect},
      {WireType::kBan, &handle_ban},
      {WireType::kUnban, &handle_unban},
      {WireType::kListBans, &handle_list_bans},
      {WireType::kMeshInfo, &handle_mesh_info},
      {WireType::kAuditQuery, &handle_audit_query},
      {WireType::kAuditVerify, &handle_audit_verify},
      {WireType::kFeatureNegotiationRequest, &handle_feature_negotiation},
  };
  return kHandlers;
}

constexpr std::int64_t kSessionStoreIntervalMs = 3'600'000;  // how exact the stored "last seen" of a session is

}  // namespace

Broker::Broker(const HostApi& host)
    : context_(host),
      writes_(host, context_.storage, context_.metrics, context_.health),
      audit_(host, writes_, context_.metrics),
      hooks_(host),
      delivery_(context_, writes_, [this] { return accept_.first_unsettled_seq(); }),
      accept_(context_, delivery_, audit_, hooks_, [this](std::uint64_t number) { return find_connection(number); }),
      messages_(*this),
      ways_(context_, writes_, delivery_, cache_, [this] { return accept_.first_unsettled_seq(); }),
      tick_timer_(host),
      store_timer_(host),
      prune_timer_(host),
      drain_timer_(host) {}

Broker::~Broker() = default;

// --- connections ----------------------------------------------------------------------------------------------------

Connection* Broker::find_connection(std::uint64_t number) {
  const auto found = connections_.find(number);
  return found == connections_.end() ? nullptr : found->second.get();
}

bool Broker::accept_socket(const HttpRequest& request) {
  context_.metrics.connections.add();
  auto connection = std::make_unique<Connection>(*this, next_connection_++, context_.options.open_requests_max);
  cm_websocket_options options = {};
  options.message_bytes_max = max_frame_bytes(context_.options);
  options.buffered_bytes_high = context_.options.socket_buffer_high;
  options.buffered_bytes_max = context_.options.socket_buffer_max;
  if (connection->accept(context_.host, request, options) != CM_OK) {
    return false;
  }
  const std::uint64_t number = connection->number();
  pending_connections_.insert(number);
  hello_deadlines_.emplace(number, context_.now_ms() + context_.options.hello_timeout_ms);
  connections_.emplace(number, std::move(connection));
  context_.metrics.connections_active.set(static_cast<std::int64_t>(connections_.size()));
  return true;
}

void Broker::on_pong(Connection& connection) {
  if (connection.presence != nullptr) {
    connection.presence->lease.alive(connection.number(), context_.now_ms());
  }
}

void Broker::on_drained(Connection& connection) {
  if (connection.presence != nullptr) {
    delivery_.socket_drained(*connection.presence);
  }
}

void Broker::on_resumable(Connection& connection) {
  context_.metrics.connections_held.add();
  context_.host.post([this, number = connection.number()] {
    if (Connection* held = find_connection(number)) {
      held->resume();
      if (held->presence != nullptr) {
        held->presence->lease.alive(number, context_.now_ms());
      }
    }
  });
}

void Broker::on_connection_closed(Connection& connection) {
  connection_ended(connection);
}

void Broker::connection_ended(Connection& connection) {
  detach(connection);
  bury(connection);
}

// The presence outlives the connection for the grace time; a connection that was replaced has none any more.
void Broker::detach(Connection& connection) {
  if (Presence* presence = std::exchange(connection.presence, nullptr)) {
    presence->connection = nullptr;
    presence->lease.closed(connection.number(), context_.now_ms());
    save_peer_state(*presence);
    remember_session(*presence);
    delivery_.presence_offline(*presence, connection.number());
    ways_.member_waits(*presence->member);
  }
}

void Broker::bury(Connection& connection) {
  pending_connections_.erase(connection.number());
  hello_deadlines_.erase(connection.number());
  const auto found = connections_.find(connection.number());
  if (found == connections_.end()) {
    return;
  }
  // We may be inside a call of this very connection.
  graveyard_.push_back(std::move(found->second));
  connections_.erase(found);
  context_.metrics.connections_active.set(static_cast<std::int64_t>(connections_.size()));
  if (graveyard_.size() == 1) {
    context_.host.post([this] { graveyard_.clear(); });
  }
}

// --- frames ---------------------------------------------------------------------------------------------------------

void Broker::on_frame(Connection& connection, std::string_view padded) {
  const auto type = reader_.open(padded);
  if (!type.ok()) {
    context_.metrics.messages_rejected.add("parse_or_handler");
    context_.host.log(LogLevel::kDebug, "ws message error", {{"error", type.error().message}});
  }
  if (connection.presence == nullptr && ++connection.frames_before_hello > context_.options.pre_hello_frames) {
    context_.metrics.connections_rejected.add("hello_frames");
    connection.close(code_of(CloseCode::kPolicy), "too many frames before hello");
    return;
  }
  if (!type.ok()) {
    return;
  }
  const bool handshake = *type == WireType::kHello || *type == WireType::kSessionHello;
  if (connection.presence == nullptr && !handshake) {
    connection.reply(error_frame("no_hello", "must send hello first", std::nullopt));
    return;
  }
  dispatch(connection);
}

bool Broker::serves_itself(std::string_view type) {
  const WireType known = protocol::wire_type(type);
  return known == WireType::kSend || known == WireType::kClientAck || handlers().count(known) != 0;
}

void Broker::dispatch(Connection& connection) {
  const WireType type = reader_.type();
  if (type == WireType::kSend) {
    if (draining_) {
      return;  // never acknowledged: the sender repeats it after the restart
    }
    accept_.handle_send(connection, reader_);
    return;
  }
  if (type == WireType::kClientAck) {
    if (const auto ack = reader_.client_ack(); ack.ok()) {
      const bool stored = delivery_.client_ack(
          *connection.presence, ack->broker_message_id.value_or(std::string_view()),
          ack->client_message_id.value_or(std::string_view()), [this, number = connection.number()] {
            if (Connection* sender = find_connection(number)) {
              sender->settle();
            }
          });
      if (stored) {
        connection.begin_unanswered();
      }
    }
    return;
  }
  const auto frame = reader_.tree();
  if (!frame.ok()) {
    context_.metrics.messages_rejected.add("parse_or_handler");
    return;
  }
  const auto handler = handlers().find(type);
  if (handler != handlers().end()) {
    handler->second(*this, connection, *frame);
  } else if (messages_.serves(reader_.type_name())) {
    messages_.handle(connection, reader_);
  } else if (protocol::is_client_type(type)) {
    connection.reply(empty_feature_reply(reader_.type_name(), *frame, context_.wall_ms()));
    connection.reply(empty_feature_daemon_reply(reader_.type_name(), *frame));
  }
}

// --- presences ------------------------------------------------------------------------------------------------------

void Broker::bind(Connection& connection, Presence& presence) {
  const std::int64_t now_ms = context_.now_ms();
  if (Connection* old = std::exchange(presence.connection, nullptr)) {
    const std::uint64_t old_number = old->number();
    old->presence = nullptr;
    delivery_.presence_offline(presence, old_number);
    old->close(code_of(CloseCode::kNormal), protocol::kReasonSessionReplaced);
  }
  if (presence.lease.connection() != connection.number()) {
    presence.lease.reattach(connection.number(), now_ms);
  }
  presence.connection = &connection;
  connection.presence = &presence;
  pending_connections_.erase(connection.number());
  hello_deadlines_.erase(connection.number());
  ways_.member_reached(*presence.member);
  remember_session(presence);
}

void Broker::remove_presence(Presence& presence, const Farewell& farewell) {
  Connection* connection = std::exchange(presence.connection, nullptr);
  if (connection != nullptr) {
    connection->presence = nullptr;
    save_peer_state(presence);
    delivery_.presence_offline(presence, connection->number());
    connection->close(farewell.code, farewell.reason);
  }
  messages_.presence_left(presence);
  Member& member = *presence.member;
  const std::unique_ptr<Presence> removed = registry_.remove(presence);
  context_.metrics.presences.set(static_cast<std::int64_t>(registry_.size()));
  ways_.member_waits(member);
}

void Broker::save_peer_state(const Presence& presence) {
  Member& member = *presence.member;
  const protocol::RestoredStats before =
      member.peer_state && !presence.stats_seeded ? member.peer_state->stats : protocol::RestoredStats();
  PeerState state;
  state.groups = presence.groups;
  state.profile = presence.profile;
  state.visible = presence.visible;
  state.last_display_name = presence.display_name;
  state.last_seen_at_ms = context_.wall_ms();
  state.stats = {before.messages_in + presence.stats.messages_in, before.messages_out + presence.stats.messages_out,
                 before.tool_calls + presence.stats.tool_calls, before.errors + presence.stats.errors};
  if (presence.stats_seeded && !presence.stats_json && member.peer_state) {
    state.stats = member.peer_state->stats;  // it never reported: what was restored still holds
  }
  if (presence.summary && !presence.summary->empty()) {
    state.last_summary = *presence.summary;
  } else if (member.peer_state) {
    state.last_summary = member.peer_state->last_summary;
  }
  member.peer_state = state;
  writes_.add([sql = context_.sql, member_id = member.id, state = std::move(state)](SqlTransaction& tx) {
    return sql->put_peer_state(tx, member_id, state);
  });
}

void Broker::remember_session(const Presence& presence) {
  if (presence.kind != PresenceKind::kSession) {
    return;
  }
  Mesh& mesh = *presence.mesh;
  const auto found = mesh.session_keys.find(presence.session_key);
  if (found == mesh.session_keys.end() && mesh.session_keys.size() >= MeshCache::kSessionKeysMax) {
    context_.metrics.drops.add("session_keys");
    return;
  }
  SessionKey& known = mesh.session_keys[presence.session_key];
  const bool moved = known.member != presence.member;
  known.member = presence.member;
  known.last_seen_at_ms = context_.wall_ms();
  if (!moved && known.last_seen_at_ms - known.stored_at_ms < kSessionStoreIntervalMs) {
    return;
  }
  known.stored_at_ms = known.last_seen_at_ms;
  SessionKeyRow row{mesh.id, presence.session_key, presence.member->id, known.last_seen_at_ms};
  writes_.add([sql = context_.sql, row = std::move(row)](SqlTransaction& tx) { return sql->put_session_key(tx, row); });
}

// --- events ---------------------------------------------------------------------------------------------------------

void Broker::push_event(Mesh& mesh, std::string_view event, const std::string& event_data_json,
                        const std::function<bool(const Presence&)>& wanted) {
  const std::string id = protocol::generate_uuid_v4(context_.random);
  const std::string created_at = iso_time(context_.wall_ms());
  protocol::PushView push;
  push.message_id = id;
  push.mesh_id = mesh.id;
  push.sender_pubkey = "system";
  push.priority = protocol::Priority::kLow;
  push.created_at = created_at;
  push.subtype = "system";
  push.event = event;
  push.event_data_json = event_data_json;
  std::string frame;
  protocol::write_push(frame, push);
  const SharedFrame shared(context_.host, frame);
  for (const auto& [number, presence] : mesh.presences) {
    if (!presence->online() || !wanted(*presence)) {
      continue;
    }
    if (presence->congested) {
      context_.metrics.drops.add("slow_consumer_event");
      continue;
    }
    presence->congested = shared.push_to(*presence->connection) == CM_BUSY;
  }
}

}  // namespace cm::broker
