// What hello and session_hello have in common.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/canonical.hpp"
#include "protocol/close_codes.hpp"
#include "protocol/wire_messages.hpp"

namespace cm::broker {

// An `error` frame with the code, then the close. `metric` empty: the code.
void refuse_hello(Broker& broker, Connection& connection, std::string_view code, std::string_view message,
                  std::string_view metric = {});
// For a member that was removed: closed with 4002.
void refuse_revoked(Broker& broker, Connection& connection, const Mesh& mesh);

// The active member with that key; refuses the connection and gives null otherwise. `unknown_text` is what an unknown
// key is told.
Member* admit_member(Broker& broker, Connection& connection, Mesh* mesh, std::string_view pubkey,
                     std::string_view unknown_text);
// A second hello on one socket ends it, as in the original where the session id replaces its own socket. True if so.
bool is_second_hello(Broker& broker, Connection& connection);
// False (and refused) when the mesh is full. A hello that takes over a presence needs no place.
bool has_capacity(Broker& broker, Connection& connection, const Mesh* mesh, bool takes_over);
// `presence`, or null after a leave was announced because its grace time is over.
Presence* still_leased(Broker& broker, Presence* presence);
// Closes the member's presences with that session id.
void replace_same_session(Broker& broker, Mesh& mesh, Member& member, const std::string& session_id);
// A fresh presence with the fields that both kinds fill in the same way.
std::unique_ptr<Presence> make_presence(Broker& broker, Connection& connection, Member& member, PresenceKind kind);
// The name of a presence: what its hello says, or the member's. An empty one would make it a peer without a name.
std::string presence_name(const std::optional<std::string>& said, const Member& member);
bool client_acknowledges(const std::optional<std::string>& channel);
protocol::MemberProfile member_profile(const Member& member);

}  // namespace cm::broker
