#include "plugins/peer_daemon/src/config_file.hpp"

#include <algorithm>
#include <utility>

#include "protocol/json.hpp"
#include "protocol/keys.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace cm::daemon {
namespace {

using protocol::JsonValue;

std::string text_of(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
}

std::optional<std::string> optional_text(const JsonValue& object, std::string_view key) {
  std::string text = text_of(object, key);
  return text.empty() ? std::nullopt : std::optional<std::string>(std::move(text));
}

// The parser's copies of the secrets are not zeroed by themselves. The values belong to `value`, which is not const.
void wipe_texts(JsonValue& value) {
  if (const std::string* text = value.as_string()) {
    auto& owned = const_cast<std::string&>(*text);
    protocol::secure_zero(owned.data(), owned.size());
  }
  if (const JsonValue::Array* array = value.as_array()) {
    for (const JsonValue& entry : *array) {
      wipe_texts(const_cast<JsonValue&>(entry));
    }
  }
  if (const JsonValue::Object* object = value.as_object()) {
    for (const protocol::JsonMember& member : *object) {
      wipe_texts(const_cast<JsonValue&>(member.value));
    }
  }
}

std::string describe_entry(const std::string& slug, std::size_t index) {
  return slug.empty() ? "meshes[" + std::to_string(index) + "]" : "mesh " + slug;
}

// Empty when the record can be used.
std::string problem_of(const MeshRecord& record, std::size_t index) {
  const std::string who = describe_entry(record.slug, index);
  if (record.slug.empty() || record.mesh_id.empty() || record.broker_url.empty()) {
    return who + " lacks slug, meshId or brokerUrl; join it again with `claudemesh join <invite-url>`";
  }
  if (!protocol::is_hex(record.pubkey, protocol::kPublicKeyHexLength, protocol::HexCase::kLowerOnly)) {
    return who + " has a pubkey that is not 64 lower-case hex characters; restore config.json from a backup";
  }
  const auto key = protocol::SecretKey::from_hex(record.secret_key.text());
  if (!key || key->public_key().hex() != record.pubkey) {
    return who + " has a secretKey that does not belong to its pubkey; restore config.json from a backup";
  }
  return {};
}

MeshRecord read_record(const JsonValue& entry) {
  MeshRecord record;
  record.mesh_id = text_of(entry, "meshId");
  record.member_id = text_of(entry, "memberId");
  record.slug = text_of(entry, "slug");
  record.name = text_of(entry, "name");
  record.pubkey = text_of(entry, "pubkey");
  record.secret_key = SecretText(text_of(entry, "secretKey"));
  record.broker_url = text_of(entry, "brokerUrl");
  record.joined_at = text_of(entry, "joinedAt");
  record.root_key = SecretText(text_of(entry, "rootKey"));
  const JsonValue* version = entry.find("inviteVersion");
  if (version != nullptr && version->as_number() != nullptr) {
    record.invite_version = static_cast<int>(*version->as_number());
  }
  return record;
}

bool has_slug(const std::vector<MeshRecord>& meshes, const std::string& slug) {
  return std::any_of(meshes.begin(), meshes.end(), [&slug](const MeshRecord& mesh) { return mesh.slug == slug; });
}

void read_meshes(ConfigFile& config, const JsonValue::Array& entries) {
  for (std::size_t index = 0; index < entries.size(); ++index) {
    MeshRecord record = read_record(entries[index]);
    std::string problem = problem_of(record, index);
    if (problem.empty() && has_slug(config.meshes, record.slug)) {
      problem = "mesh " + record.slug + " stands twice in config.json; only the first is used";
    }
    if (problem.empty()) {
      config.meshes.push_back(std::move(record));
    } else {
      config.problems.push_back(std::move(problem));
    }
  }
}

// A line of an object: indentation, key, value.
void append_member(std::string& out, int depth, std::string_view key, std::string_view json, bool& first) {
  out += first ? "\n" : ",\n";
  first = false;
  out.append(static_cast<std::size_t>(depth) * 2, ' ');
  protocol::append_json_string(out, key);
  out += ": ";
  out += json;
}

std::string quoted(std::string_view text) {
  std::string out;
  protocol::append_json_string(out, text);
  return out;
}

void append_record(std::string& out, const MeshRecord& record) {
  bool first = true;
  out += "    {";
  append_member(out, 3, "meshId", quoted(record.mesh_id), first);
  append_member(out, 3, "memberId", quoted(record.member_id), first);
  append_member(out, 3, "slug", quoted(record.slug), first);
  append_member(out, 3, "name", quoted(record.name), first);
  append_member(out, 3, "pubkey", quoted(record.pubkey), first);
  const SecretText secret(quoted(record.secret_key.text()));
  append_member(out, 3, "secretKey", secret.text(), first);
  append_member(out, 3, "brokerUrl", quoted(record.broker_url), first);
  append_member(out, 3, "joinedAt", quoted(record.joined_at), first);
  if (!record.root_key.empty()) {
    const SecretText root(quoted(record.root_key.text()));
    append_member(out, 3, "rootKey", root.text(), first);
  }
  if (record.invite_version.has_value()) {
    append_member(out, 3, "inviteVersion", std::to_string(*record.invite_version), first);
  }
  out += "\n    }";
}

}  // namespace

Result<ConfigFile> parse_config(std::string_view json) {
  Result<JsonValue> tree = protocol::parse_json(json);
  if (!tree) {
    return std::move(tree).error();
  }
  ConfigFile config;
  const JsonValue* meshes = tree->find("meshes");
  if (meshes == nullptr || meshes->as_array() == nullptr) {
    return config;
  }
  read_meshes(config, *meshes->as_array());
  config.display_name = optional_text(*tree, "displayName");
  config.role = optional_text(*tree, "role");
  if (tree->find("groups") != nullptr) {
    config.groups = protocol::parse_groups(tree->find("groups"));
  }
  config.message_mode = optional_text(*tree, "messageMode");
  config.account_id = optional_text(*tree, "accountId");
  wipe_texts(*tree);
  return config;
}

SecretText format_config(const ConfigFile& config) {
  std::string out;
  // No growth in between: a reallocation would leave a copy of the keys behind.
  out.reserve(4'096 + config.meshes.size() * 2'048);
  out += "{\n  \"version\": 1,\n  \"meshes\": [";
  for (std::size_t i = 0; i < config.meshes.size(); ++i) {
    out += i == 0 ? "\n" : ",\n";
    append_record(out, config.meshes[i]);
  }
  out += config.meshes.empty() ? "]" : "\n  ]";
  bool first = false;
  if (config.display_name.has_value()) {
    append_member(out, 1, "displayName", quoted(*config.display_name), first);
  }
  if (config.role.has_value()) {
    append_member(out, 1, "role", quoted(*config.role), first);
  }
  if (config.groups.has_value()) {
    std::string groups;
    protocol::write_groups(groups, *config.groups);
    append_member(out, 1, "groups", groups, first);
  }
  if (config.message_mode.has_value()) {
    append_member(out, 1, "messageMode", quoted(*config.message_mode), first);
  }
  if (config.account_id.has_value()) {
    append_member(out, 1, "accountId", quoted(*config.account_id), first);
  }
  out += "\n}\n";
  return SecretText(std::move(out));
}

Result<LoadedConfig> load_config(const std::string& path) {
  Result<std::optional<PrivateFile>> file = read_private_file(path);
  if (!file) {
    return make_error(file.error().code, "Failed to load " + path + ": " + file.error().message);
  }
  LoadedConfig loaded;
  if (!file->has_value()) {
    return loaded;
  }
  loaded.was_exposed = (*file)->was_exposed;
  Result<ConfigFile> config = parse_config((*file)->content.text());
  if (!config) {
    return make_error(ErrorCode::kInvalid, "Failed to load " + path + ": " + config.error().message +
                                               "; repair the file or restore it from a backup");
  }
  loaded.config = std::move(*config);
  return loaded;
}

Status save_config(const std::string& path, const ConfigFile& config) {
  const SecretText text = format_config(config);
  return write_private_file(path, text.text());
}

}  // namespace cm::daemon
