// Presence requests: who is there, and what a presence says about itself (wire/02 section 5).
#include <algorithm>
#include <utility>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/object_writer.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

using protocol::JsonValue;

std::optional<std::string> request_id(const JsonValue& frame) {
  const JsonValue* value = frame.find("_reqId");
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::nullopt : std::optional<std::string>(*text);
}

std::string error_frame(std::string_view code, std::string_view message, const std::optional<std::string>& req_id) {
  protocol::ErrorFrame error;
  error.code = code;
  error.message = message;
  error.req_id = req_id;
  std::string out;
  protocol::write_error(out, error);
  return out;
}

JsonValue groups_value(const std::vector<protocol::GroupMembership>& groups) {
  JsonValue::Array array;
  for (const protocol::GroupMembership& group : groups) {
    JsonValue entry;
    entry.set("name", JsonValue(group.name));
    if (group.role) {
      entry.set("role", JsonValue(*group.role));
    }
    array.push_back(std::move(entry));
  }
  return JsonValue(std::move(array));
}

JsonValue presence_event_data(const Presence& presence) {
  JsonValue data;
  data.set("name", JsonValue(presence.display_name));
  data.set("pubkey", JsonValue(presence.routing_key()));
  return data;
}

namespace {

// What a presence says about itself, with its hello: the answer to list_peers has it for all presences of a mesh and
// must fit into the buffer of each socket.
constexpr std::size_t kSaidBytesMax = 128 * 1024;
constexpr std::size_t kGroupBytes = 24;  // what a group costs in JSON besides its texts

std::size_t said_bytes(const Presence& presence) {
  std::size_t bytes = presence.display_name.size() + presence.session_id.size() + presence.cwd.size() +
                      protocol::to_json(presence.profile).size();
  for (const auto* text : {&presence.summary, &presence.hostname, &presence.peer_type, &presence.channel,
                           &presence.model, &presence.stats_json}) {
    bytes += text->has_value() ? (*text)->size() : 0;
  }
  for (const protocol::GroupMembership& group : presence.groups) {
    bytes += group.name.size() + (group.role ? group.role->size() : 0) + kGroupBytes;
  }
  return bytes;
}

// Changes what a presence says, unless it then says too much and more than before.
template <typename Value>
bool say(Broker& broker, const Presence& presence, Value& field, Value value) {
  const std::size_t bytes_before = said_bytes(presence);
  std::swap(field, value);
  if (said_bytes(presence) <= std::max(kSaidBytesMax, bytes_before)) {
    return true;
  }
  std::swap(field, value);
  broker.context().metrics.drops.add("presence_size");
  return false;
}

bool is_empty_object(const JsonValue& value) {
  const auto* object = value.as_object();
  return object == nullptr || object->empty();
}

protocol::PeerEntry peer_entry(const Presence& presence) {
  protocol::PeerEntry entry;
  entry.pubkey = presence.routing_key();
  entry.member_pubkey = presence.member->pubkey;
  entry.display_name = presence.display_name;
  entry.status = to_string(presence.activity.status);
  entry.summary = presence.summary;
  entry.groups = presence.groups;
  entry.session_id = presence.session_id;
  entry.connected_at = iso_time(presence.connected_at_ms);
  entry.cwd = presence.cwd;
  entry.peer_role = to_string(presence.kind);
  entry.hostname = presence.hostname;
  entry.peer_type = presence.peer_type;
  entry.channel = presence.channel;
  entry.model = presence.model;
  entry.stats_json = presence.stats_json;
  entry.visible = presence.visible;
  if (!is_empty_object(presence.profile)) {
    entry.profile_json = protocol::to_json(presence.profile);
  }
  return entry;
}

// The ack of set_visible and set_profile: the id is the request id.
std::string plain_ack(const std::optional<std::string>& req_id) {
  protocol::AckView ack;
  ack.id = req_id ? std::string_view(*req_id) : std::string_view();
  if (req_id) {
    ack.req_id = *req_id;
  }
  std::string out;
  protocol::write_ack(out, ack);
  return out;
}

}  // namespace

void handle_list_peers(Broker&, Connection& connection, const JsonValue& frame) {
  const Presence& caller = *connection.presence;
  protocol::PeersList list;
  list.req_id = request_id(frame);
  for (const auto& [number, presence] : caller.mesh->presences) {
    if (presence->visible || presence->member == caller.member) {
      list.peers.push_back(peer_entry(*presence));
    }
  }
  std::string out;
  protocol::write_peers_list(out, list);
  connection.reply(std::move(out));
}

void handle_set_status(Broker& broker, Connection& connection, const JsonValue& frame) {
  const auto status = parse_status(text_member(frame, "status"));
  if (!status) {
    return;
  }
  Presence& presence = *connection.presence;
  const Context& context = broker.context();
  write_status(presence.activity, *status, StatusSource::kManual, context.now_ms(), context.options.hook_fresh_ms);
  if (*status == Activity::kIdle) {
    broker.delivery().drain(*presence.member);
  }
}

void handle_set_summary(Broker& broker, Connection& connection, const JsonValue& frame) {
  const JsonValue* summary = frame.find("summary");
  if (summary != nullptr && summary->as_string() == nullptr && !summary->is_null()) {
    return;
  }
  Presence& presence = *connection.presence;
  say(broker, presence, presence.summary, std::optional<std::string>(text_member(frame, "summary")));
}

void handle_set_stats(Broker& broker, Connection& connection, const JsonValue& frame) {
  const JsonValue* stats = frame.find("stats");
  if (stats == nullptr || !stats->is_object()) {
    return;
  }
  Presence& presence = *connection.presence;
  if (say(broker, presence, presence.stats_json, std::optional<std::string>(protocol::to_json(*stats)))) {
    presence.stats = parse_stats(*stats);
  }
}

void handle_set_visible(Broker& broker, Connection& connection, const JsonValue& frame) {
  const JsonValue* visible = frame.find("visible");
  const bool* value = visible == nullptr ? nullptr : visible->as_bool();
  const auto req_id = request_id(frame);
  if (value == nullptr) {
    connection.reply(error_frame("invalid_argument", "visible must be true or false", req_id));
    return;
  }
  Presence& presence = *connection.presence;
  presence.visible = *value;
  connection.reply(plain_ack(req_id));
  broker.push_event(*presence.mesh, *value ? "peer_visible" : "peer_hidden",
                    protocol::to_json(presence_event_data(presence)),
                    [&presence](const Presence& other) { return &other != &presence; });
  if (*value) {
    broker.delivery().drain(*presence.member);
  }
}

void handle_set_profile(Broker& broker, Connection& connection, const JsonValue& frame) {
  Presence& presence = *connection.presence;
  JsonValue profile = presence.profile;
  for (const std::string_view name : {"avatar", "title", "bio"}) {
    const JsonValue* value = frame.find(name);
    if (value != nullptr && value->as_string() != nullptr) {
      profile.set(std::string(name), *value);
    }
  }
  const JsonValue* capabilities = frame.find("capabilities");
  if (capabilities != nullptr && capabilities->as_array() != nullptr) {
    profile.set("capabilities", *capabilities);
  }
  if (!say(broker, presence, presence.profile, std::move(profile))) {
    connection.reply(error_frame("too_large", "a presence says at most 128 KiB about itself; shorten the profile",
                                 request_id(frame)));
    return;
  }
  connection.reply(plain_ack(request_id(frame)));
}

void handle_join_group(Broker& broker, Connection& connection, const JsonValue& frame) {
  const auto name = text_if_set(frame, "name");
  if (!name) {
    return;
  }
  Presence& presence = *connection.presence;
  std::vector<protocol::GroupMembership> groups = presence.groups;
  const auto known = std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.name == *name; });
  const bool is_new = known == groups.end();
  constexpr std::size_t kGroupsMax = 256;  // per presence
  if (is_new && groups.size() >= kGroupsMax) {
    return;
  }
  protocol::GroupMembership& group = is_new ? groups.emplace_back() : *known;
  group = {*name, text_if_set(frame, "role")};
  if (say(broker, presence, presence.groups, std::move(groups)) && is_new) {
    broker.delivery().drain(*presence.member);
  }
}

void handle_leave_group(Broker&, Connection& connection, const JsonValue& frame) {
  const auto name = text_if_set(frame, "name");
  if (name) {
    std::erase_if(connection.presence->groups,
                  [&](const protocol::GroupMembership& group) { return group.name == *name; });
  }
}

}  // namespace cm::broker
