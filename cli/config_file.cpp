#include "cli/config_file.hpp"

#include <utility>

#include "cli/files.hpp"
#include "cli/json_fields.hpp"

namespace cm::cli {

namespace {

constexpr std::uint64_t kLockWaitMs = 10'000;
JsonValue format_entry(const MeshEntry& entry) {
  JsonValue json = object_of({{"meshId", json_text(entry.mesh_id)},
                              {"memberId", json_text(entry.member_id)},
                              {"slug", json_text(entry.slug)},
                              {"name", json_text(entry.name)},
                              {"pubkey", json_text(entry.pubkey)},
                              {"secretKey", json_text(entry.secret_key.text())},
                              {"brokerUrl", json_text(entry.broker_url)},
                              {"joinedAt", json_text(entry.joined_at)}});
  if (!entry.root_key.empty()) {
    json.set("rootKey", json_text(entry.root_key.text()));
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
  Result<ConfigFile> config = protocol::parse_config(**content);
  if (!config) {
    return config_failure(paths, config.error());
  }
  if (!config->problems.empty()) {
    return config_failure(paths, make_error(ErrorCode::kInvalid, config->problems.front()));
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
