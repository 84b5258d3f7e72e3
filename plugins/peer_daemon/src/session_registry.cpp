#include "plugins/peer_daemon/src/session_registry.hpp"

#include <algorithm>
#include <utility>

#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"
#include "protocol/ids.hpp"
#include "protocol/json_fields.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {
namespace {

using protocol::JsonValue;

constexpr std::size_t kTokenLength = 64;

std::vector<std::string> texts_of(const JsonValue& object, std::string_view key) {
  std::vector<std::string> texts;
  for (const JsonValue& entry : protocol::array_of(object, key)) {
    if (entry.as_string() != nullptr) {
      texts.push_back(*entry.as_string());
    }
  }
  return texts;
}

bool is_token(std::string_view text) {
  return protocol::is_hex(text, kTokenLength, protocol::HexCase::kAny);
}

void read_presence(RegisterRequest& request, const JsonValue* presence) {
  if (presence == nullptr || !presence->is_object()) {
    return;
  }
  const std::string pubkey = text_of(*presence, "session_pubkey");
  SecretText secret(text_of(*presence, "session_secret_key"));
  const auto key = protocol::SecretKey::from_hex(secret.text());
  if (key && key->public_key().hex() == pubkey) {
    request.info.session_pubkey = pubkey;
    request.session_secret = std::move(secret);
  }
}

std::string texts_json(const std::vector<std::string>& texts) {
  JsonArray array;
  for (const std::string& text : texts) {
    array.add_text(text);
  }
  return array.finish();
}

void add_common(JsonObject& object, const SessionInfo& info) {
  object.text("sessionId", info.session_id)
      .text("mesh", info.mesh)
      .text("displayName", info.display_name)
      .number("pid", info.pid)
      .text_if("cwd", info.cwd)
      .text_if("role", info.role);
  if (!info.groups.empty()) {
    object.raw("groups", texts_json(info.groups));
  }
  object.text_if("startTime", info.start_time);
}

}  // namespace

ParsedOr<RegisterRequest> parse_register(std::string_view body) {
  const auto refuse = [](std::string_view error) {
    return ParsedOr<RegisterRequest>{std::nullopt, api_error(400, error)};
  };
  if (body.empty()) {
    return refuse("missing body");
  }
  const Result<JsonValue> tree = protocol::parse_json(body);
  if (!tree) {
    return refuse("Error: invalid_json");
  }
  if (!tree->is_object()) {
    return refuse("missing body");
  }
  RegisterRequest request;
  request.info.token = text_of(*tree, "token");
  if (!is_token(request.info.token)) {
    return refuse("token must be 64 hex chars");
  }
  request.info.session_id = text_of(*tree, "session_id");
  request.info.mesh = text_of(*tree, "mesh");
  request.info.display_name = text_of(*tree, "display_name");
  request.info.pid = integer_of(*tree, "pid");
  if (request.info.session_id.empty() || request.info.mesh.empty() || request.info.display_name.empty() ||
      request.info.pid <= 0) {
    return refuse("session_id, mesh, display_name, pid all required");
  }
  request.info.cwd = text_of(*tree, "cwd");
  request.info.role = text_of(*tree, "role");
  request.info.groups = texts_of(*tree, "groups");
  read_presence(request, tree->find("presence"));
  return {std::move(request), {}};
}

std::string describe_session(const SessionInfo& info) {
  JsonObject object;
  add_common(object, info);
  if (!info.session_pubkey.empty()) {
    object.raw("presence", JsonObject().text("sessionPubkey", info.session_pubkey).finish());
  }
  return object.text("registeredAt", format_iso_ms(info.registered_at_ms))
      .text("token_prefix", std::string_view(info.token).substr(0, kTokenPrefixLength))
      .finish();
}

std::string groups_json(const std::vector<std::string>& groups) {
  JsonArray array;
  for (const std::string& group : groups) {
    std::string_view text = group;
    if (text.starts_with('@')) {
      text.remove_prefix(1);
    }
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    if (name.empty()) {
      continue;
    }
    JsonObject entry;
    entry.text("name", name);
    if (colon != std::string_view::npos) {
      entry.text_if("role", text.substr(colon + 1));
    }
    array.add(entry.finish());
  }
  return array.finish();
}

std::string format_sessions(const std::vector<const SessionInfo*>& sessions) {
  JsonArray array;
  for (const SessionInfo* info : sessions) {
    JsonObject object;
    object.text("token", info->token);
    add_common(object, *info);
    object.number("registeredAt", info->registered_at_ms);
    array.add(object.finish());
  }
  return JsonObject().number("version", 1).raw("sessions", array.finish()).finish() + "\n";
}

Result<std::vector<SessionInfo>> parse_sessions(std::string_view json) {
  const Result<JsonValue> tree = protocol::parse_json(json);
  if (!tree) {
    return tree.error();
  }
  std::vector<SessionInfo> sessions;
  const JsonValue* list = tree->find("sessions");
  if (list == nullptr || list->as_array() == nullptr) {
    return sessions;
  }
  for (const JsonValue& entry : *list->as_array()) {
    SessionInfo info;
    info.token = text_of(entry, "token");
    info.session_id = text_of(entry, "sessionId");
    info.mesh = text_of(entry, "mesh");
    info.display_name = text_of(entry, "displayName");
    info.pid = integer_of(entry, "pid");
    info.cwd = text_of(entry, "cwd");
    info.role = text_of(entry, "role");
    info.groups = texts_of(entry, "groups");
    info.start_time = text_of(entry, "startTime");
    info.registered_at_ms = integer_of(entry, "registeredAt");
    if (is_token(info.token) && !info.session_id.empty() && !info.mesh.empty()) {
      sessions.push_back(std::move(info));
    }
  }
  return sessions;
}

std::optional<SecretText> read_session_key(const std::string& sessions_dir, const std::string& slug,
                                           const std::string& session_id) {
  if (sessions_dir.empty() || !protocol::is_uuid(session_id) || !protocol::is_mesh_slug(slug)) {
    return std::nullopt;
  }
  const Result<std::optional<PrivateFile>> file =
      read_private_file(sessions_dir + "/" + slug + "/" + session_id + ".json");
  if (!file || !file->has_value()) {
    return std::nullopt;
  }
  const Result<JsonValue> tree = protocol::parse_json((*file)->content.text());
  if (!tree) {
    return std::nullopt;
  }
  SecretText secret(text_of(*tree, "secretKey"));
  const auto key = protocol::SecretKey::from_hex(secret.text());
  if (!key || key->public_key().hex() != text_of(*tree, "publicKey")) {
    return std::nullopt;
  }
  return secret;
}

std::vector<std::string> SessionRegistry::replaced_by(const SessionInfo& info) const {
  std::vector<std::string> tokens;
  for (const auto& [token, other] : sessions_) {
    const bool same_key = !info.session_pubkey.empty() && other.session_pubkey == info.session_pubkey;
    if (token == info.token || other.session_id == info.session_id || same_key) {
      tokens.push_back(token);
    }
  }
  return tokens;
}

void SessionRegistry::put(SessionInfo info) {
  std::string token = info.token;
  sessions_.insert_or_assign(std::move(token), std::move(info));
}

bool SessionRegistry::erase(std::string_view token) {
  const auto place = sessions_.find(token);
  if (place == sessions_.end()) {
    return false;
  }
  sessions_.erase(place);
  return true;
}

const SessionInfo* SessionRegistry::find(std::string_view token) const {
  const auto place = sessions_.find(token);
  return place == sessions_.end() ? nullptr : &place->second;
}

bool is_outdated(const SessionInfo& info, std::int64_t now_ms) {
  const bool is_proven =
      !info.start_time.empty() && info.start_time.find_first_not_of("0123456789") == std::string::npos;
  return !is_proven && now_ms - info.registered_at_ms > kSessionTtlMs;
}

std::vector<std::string> SessionRegistry::ended(
    std::int64_t now_ms, const std::function<bool(std::int64_t pid, const std::string& start)>& is_same) const {
  std::vector<std::string> tokens;
  for (const auto& [token, info] : sessions_) {
    if (is_outdated(info, now_ms) || !is_same(info.pid, info.start_time)) {
      tokens.push_back(token);
    }
  }
  return tokens;
}

std::vector<const SessionInfo*> SessionRegistry::all() const {
  std::vector<const SessionInfo*> sessions;
  for (const auto& [token, info] : sessions_) {
    sessions.push_back(&info);
  }
  return sessions;
}

}  // namespace cm::daemon
