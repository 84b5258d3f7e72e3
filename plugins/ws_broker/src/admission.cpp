#include "plugins/ws_broker/src/admission.hpp"

#include "protocol/ids.hpp"

namespace cm::broker {

namespace {

constexpr std::string_view kChannelDaemon = "claudemesh-daemon";
constexpr std::string_view kChannelSession = "claudemesh-session";

constexpr std::uint16_t code_of(protocol::CloseCode code) {
  return static_cast<std::uint16_t>(code);
}

}  // namespace

void refuse_hello(Broker& broker, Connection& connection, std::string_view code, std::string_view message,
                  std::string_view metric) {
  broker.context().metrics.connections_rejected.add(metric.empty() ? code : metric);
  connection.reply(error_frame(code, message, std::nullopt));
  connection.close(code_of(protocol::CloseCode::kPolicy), code);
}

void refuse_revoked(Broker& broker, Connection& connection, const Mesh& mesh) {
  const std::string& name = !mesh.name.empty() ? mesh.name : mesh.slug.empty() ? mesh.id : mesh.slug;
  broker.context().metrics.connections_rejected.add(protocol::kRefusedRevoked);
  connection.reply(error_frame(protocol::kRefusedRevoked,
                               "You've been removed from \"" + name + "\". Contact the mesh owner to rejoin.",
                               std::nullopt));
  connection.close(code_of(protocol::CloseCode::kBanned), protocol::kReasonBanned);
}

Member* admit_member(Broker& broker, Connection& connection, Mesh* mesh, std::string_view pubkey,
                     std::string_view unknown_text) {
  Member* member = mesh == nullptr ? nullptr : MeshCache::active_member(*mesh, pubkey);
  if (member != nullptr) {
    return member;
  }
  if (mesh != nullptr && MeshCache::revoked_member(*mesh, pubkey) != nullptr) {
    refuse_revoked(broker, connection, *mesh);
  } else {
    refuse_hello(broker, connection, protocol::kRefusedUnauthorized, unknown_text);
  }
  return nullptr;
}

bool is_second_hello(Broker& broker, Connection& connection) {
  if (connection.presence == nullptr) {
    return false;
  }
  broker.remove_presence(*connection.presence,
                         Farewell{code_of(protocol::CloseCode::kNormal), protocol::kReasonSessionReplaced});
  return true;
}

bool has_capacity(Broker& broker, Connection& connection, const Mesh* mesh, bool takes_over) {
  if (mesh == nullptr || takes_over || mesh->presences.size() < broker.context().options.max_connections_per_mesh) {
    return true;
  }
  refuse_hello(broker, connection, protocol::kRefusedCapacity, "mesh at connection capacity");
  return false;
}

Presence* still_leased(Broker& broker, Presence* presence) {
  if (presence == nullptr || presence->online() || presence->lease.deadline_ms() > broker.context().now_ms()) {
    return presence;
  }
  broker.evict(*presence);
  return nullptr;
}

void replace_same_session(Broker& broker, Mesh& mesh, Member& member, const std::string& session_id) {
  if (session_id.empty()) {
    return;
  }
  for (Presence* presence : Registry::with_session_id(mesh, member, session_id)) {
    broker.remove_presence(*presence,
                           Farewell{code_of(protocol::CloseCode::kNormal), protocol::kReasonSessionReplaced});
  }
}

std::unique_ptr<Presence> make_presence(Broker& broker, Connection& connection, Member& member, PresenceKind kind) {
  Context& context = broker.context();
  auto presence = std::make_unique<Presence>(connection.number(), context.now_ms(), context.options.lease);
  presence->id = protocol::generate_row_id(context.random);
  presence->mesh = member.mesh;
  presence->member = &member;
  presence->kind = kind;
  presence->activity.updated_ms = context.now_ms();
  presence->connected_at_ms = context.wall_ms();
  presence->profile = protocol::JsonValue(protocol::JsonValue::Object());
  return presence;
}

std::string presence_name(const std::optional<std::string>& said, const Member& member) {
  return said && !said->empty() ? *said : member.display_name;
}

bool client_acknowledges(const std::optional<std::string>& channel) {
  return channel == kChannelDaemon || channel == kChannelSession;
}

protocol::MemberProfile member_profile(const Member& member) {
  protocol::MemberProfile profile;
  if (!member.role_tag.empty()) {
    profile.role_tag = member.role_tag;
  }
  profile.groups = member.default_groups;
  profile.message_mode = member.message_mode;
  return profile;
}

}  // namespace cm::broker
