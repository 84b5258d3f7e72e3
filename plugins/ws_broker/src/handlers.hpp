// The handlers of requests: each answers one frame or one HTTP request. Free functions over the broker.
#pragma once

#include <claudemesh/cpp/http.hpp>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/broker.hpp"
#include "protocol/json.hpp"

namespace cm::broker {

// --- handshake (hello.cpp, session_hello.cpp, admission.cpp) ---
void handle_hello(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_session_hello(Broker& broker, Connection& connection, const protocol::JsonValue& frame);

// --- presence (peers.cpp) ---
void handle_list_peers(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_set_status(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_set_summary(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_set_stats(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_set_visible(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_set_profile(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_join_group(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_leave_group(Broker& broker, Connection& connection, const protocol::JsonValue& frame);

// --- messages (message_status.cpp) ---
void handle_message_status(Broker& broker, Connection& connection, const protocol::JsonValue& frame);

// --- moderation (moderation.cpp) ---
void handle_kick(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_disconnect(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_ban(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_unban(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_list_bans(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
// Ends all presences of a member that was just banned.
void end_presences_of_banned(Broker& broker, Member& member);

// --- the mesh (mesh_requests.cpp) ---
void handle_mesh_info(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_audit_query(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
void handle_audit_verify(Broker& broker, Connection& connection, const protocol::JsonValue& frame);

// --- negotiation, and what this broker does not serve (features.cpp, empty_features.cpp) ---
void handle_feature_negotiation(Broker& broker, Connection& connection, const protocol::JsonValue& frame);
// The reply of wire/02 for an empty feature; "" when the request has none, or is unknown.
std::string empty_feature_reply(std::string_view type, const protocol::JsonValue& frame, std::int64_t wall_ms);

// --- HTTP (http_routes.cpp, join.cpp, operator_api.cpp) ---
void handle_http(Broker& broker, const HttpRequest& request);
void handle_join(Broker& broker, const HttpRequest& request);
void respond_json_cors(const HttpRequest& request, std::uint32_t status, std::string_view json);
void respond_cors(const HttpRequest& request, std::uint32_t status, std::string_view body);
void add_operator_routes(Broker& broker, HttpListener& listener);

// --- shared by the handlers ---
std::optional<std::string> request_id(const protocol::JsonValue& frame);
std::string error_frame(std::string_view code, std::string_view message, const std::optional<std::string>& req_id);
// {name, pubkey}: eventData of presence events; the caller may add members.
protocol::JsonValue presence_event_data(const Presence& presence);
protocol::JsonValue groups_value(const std::vector<protocol::GroupMembership>& groups);

}  // namespace cm::broker
