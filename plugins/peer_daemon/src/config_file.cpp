#include "plugins/peer_daemon/src/config_file.hpp"

#include <optional>
#include <utility>
#include <vector>

#include "protocol/encoding.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {
namespace {

// Empty when the record can be used.
std::string problem_of(const MeshRecord& record) {
  const std::string who = "mesh " + record.slug;
  if (record.mesh_id.empty() || record.broker_url.empty()) {
    return who + " lacks meshId or brokerUrl; join it again with `claudemesh join <invite-url>`";
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

}  // namespace

Result<ConfigFile> parse_config(std::string_view json) {
  Result<ConfigFile> config = protocol::parse_config(json);
  if (!config) {
    return config;
  }
  for (MeshRecord& record : std::exchange(config->meshes, {})) {
    std::string problem = problem_of(record);
    if (problem.empty() && config->find(record.slug) != nullptr) {
      problem = "mesh " + record.slug + " stands twice in config.json; only the first is used";
    }
    if (problem.empty()) {
      config->meshes.push_back(std::move(record));
    } else {
      config->problems.push_back(std::move(problem));
    }
  }
  return config;
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

}  // namespace cm::daemon
