#include "cli/config_file.hpp"

#include <array>
#include <utility>

#include "cli/files.hpp"
#include "cli/json_fields.hpp"

namespace cm::cli {

namespace {

constexpr std::uint64_t kLockWaitMs = 10'000;
constexpr std::array<std::string_view, 5> kOtherKeys = {"displayName", "role", "groups", "messageMode", "accountId"};

MeshEntry parse_entry(const JsonValue& json) {
  MeshEntry entry;
  entry.mesh_id = text_of(json, "meshId");
  entry.member_id = text_of(json, "memberId");
  entry.slug = text_of(json, "slug");
  entry.name = text_of(json, "name");
  entry.pubkey = text_of(json, "pubkey");
  entry.secret_key = text_of(json, "secretKey");
  entry.broker_url = text_of(json, "brokerUrl");
  entry.joined_at = text_of(json, "joinedAt");
  entry.root_key = text_of(json, "rootKey");
  const std::optional<double> version = number_of(json, "inviteVersion");
  if (version == 1.0 || version == 2.0) {
    entry.invite_version = static_cast<int>(*version);
  }
  return entry;
}

JsonValue format_entry(const MeshEntry& entry) {
  JsonValue json = object_of({{"meshId", json_text(entry.mesh_id)},
                              {"memberId", json_text(entry.member_id)},
                              {"slug", json_text(entry.slug)},
                              {"name", json_text(entry.name)},
                              {"pubkey", json_text(entry.pubkey)},
                              {"secretKey", json_text(entry.secret_key)},
                              {"brokerUrl", json_text(entry.broker_url)},
                              {"joinedAt", json_text(entry.joined_at)}});
  if (!entry.root_key.empty()) {
    json.set("rootKey", json_text(entry.root_key));
  }
  if (entry.invite_version.has_value()) {
    json.set("inviteVersion", json_number(*entry.invite_version));
  }
  return json;
}

Failure config_failure(const Paths& paths, const Error& error) {
  const bool unreadable = error.code == ErrorCode::kInvalid;
  return {ExitCode::kIo, "Failed to load " + paths.config_file() + ": " + error.message,
          unreadable ? "the JSON that `claudemesh join` writes" : "a file that this user can read",
          unreadable ? "repair the file by hand, or move it away and join again; it holds your keys"
                     : "check the owner and the mode of the file and of its folder"};
}

Failure write_failure(const Paths& paths, const Error& error) {
  return {ExitCode::kIo, error.message, "a folder that this user can write, with free space",
          "check " + paths.config_dir + ", or set CLAUDEMESH_CONFIG_DIR to another folder"};
}

}  // namespace

const MeshEntry* ConfigFile::find(std::string_view slug) const {
  for (const MeshEntry& entry : meshes) {
    if (entry.slug == slug) {
      return &entry;
    }
  }
  return nullptr;
}

std::string ConfigFile::slugs() const {
  std::string text;
  for (const MeshEntry& entry : meshes) {
    text += text.empty() ? entry.slug : ", " + entry.slug;
  }
  return text;
}

Result<ConfigFile> parse_config(std::string_view json) {
  Result<JsonValue> parsed = protocol::parse_json(json);
  if (!parsed) {
    return parsed.error();
  }
  if (!parsed->is_object()) {
    return make_error(ErrorCode::kInvalid,
                      "found " + std::string(protocol::describe(parsed->kind())) + " where an object is needed");
  }
  ConfigFile config;
  const JsonValue* meshes = parsed->find("meshes");
  if (meshes != nullptr && meshes->as_array() == nullptr) {
    return make_error(ErrorCode::kInvalid,
                      "\"meshes\" is " + std::string(protocol::describe(meshes->kind())) + ", not an array");
  }
  for (const JsonValue& item : array_of(*parsed, "meshes")) {
    MeshEntry entry = parse_entry(item);
    if (!item.is_object() || entry.slug.empty()) {
      return make_error(ErrorCode::kInvalid, "entry " + std::to_string(config.meshes.size() + 1) +
                                                 " of \"meshes\" is no object with a slug");
    }
    config.meshes.push_back(std::move(entry));
  }
  for (const protocol::JsonMember& member : *parsed->as_object()) {
    for (const std::string_view key : kOtherKeys) {
      if (member.key == key) {
        config.others.set(member.key, member.value);
      }
    }
  }
  return config;
}

std::string format_config(const ConfigFile& config) {
  JsonValue::Array meshes;
  for (const MeshEntry& entry : config.meshes) {
    meshes.push_back(format_entry(entry));
  }
  JsonValue json = object_of({{"version", json_number(1)}, {"meshes", JsonValue(std::move(meshes))}});
  for (const protocol::JsonMember& member : *config.others.as_object()) {
    json.set(member.key, member.value);
  }
  return pretty_json(json) + "\n";
}

void put_mesh(ConfigFile& config, MeshEntry entry) {
  for (MeshEntry& existing : config.meshes) {
    if (existing.slug == entry.slug) {
      existing = std::move(entry);
      return;
    }
  }
  config.meshes.push_back(std::move(entry));
}

Outcome<ConfigFile> load_config(const Paths& paths) {
  Result<std::optional<std::string>> content = read_file(paths.config_file());
  if (!content) {
    return config_failure(paths, content.error());
  }
  if (!content->has_value()) {
    return ConfigFile();
  }
  Result<ConfigFile> config = parse_config(**content);
  if (!config) {
    return config_failure(paths, config.error());
  }
  return std::move(*config);
}

std::optional<Failure> add_mesh_to_config(const Paths& paths, MeshEntry entry,
                                          std::optional<std::string> display_name) {
  const Result<FileLock> lock = FileLock::acquire(paths.config_file() + ".lock", kLockWaitMs);
  if (!lock) {
    return write_failure(paths, lock.error());
  }
  Outcome<ConfigFile> config = load_config(paths);
  if (!config.ok()) {
    return config.failure();
  }
  put_mesh(*config, std::move(entry));
  if (display_name.has_value()) {
    config->others.set("displayName", json_text(*display_name));
  }
  const Status written = write_private_file(paths.config_file(), format_config(*config));
  if (!written) {
    return write_failure(paths, written.error());
  }
  return std::nullopt;
}

Outcome<ConfigFile> require_mesh(const Paths& paths, std::string_view slug) {
  Outcome<ConfigFile> config = load_config(paths);
  if (!config.ok()) {
    return config;
  }
  if (config->meshes.empty()) {
    return Failure{ExitCode::kFailed, "No meshes joined in " + paths.config_file(), "at least one mesh",
                   "run `claudemesh join <invite-link>` first"};
  }
  if (!slug.empty() && config->find(slug) == nullptr) {
    return Failure{ExitCode::kFailed, "Mesh \"" + printable(slug) + "\" not found", "one of: " + config->slugs(),
                   "run `claudemesh list` to see what you joined"};
  }
  return config;
}

}  // namespace cm::cli
