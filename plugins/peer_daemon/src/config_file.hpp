// config.json of claudemesh 1.37.0 (wire/06 section 1.1): read, checked, written.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/peer_daemon/src/home_files.hpp"
#include "protocol/wire_messages.hpp"

namespace cm::daemon {

// One joined mesh. Texts are as they stand in the file.
struct MeshRecord {
  std::string mesh_id;
  std::string member_id;
  std::string slug;
  std::string name;
  std::string pubkey;
  SecretText secret_key;
  std::string broker_url;
  std::string joined_at;
  SecretText root_key;                // may be empty
  std::optional<int> invite_version;  // 1 or 2
};

struct ConfigFile {
  std::vector<MeshRecord> meshes;
  std::optional<std::string> display_name;
  std::optional<std::string> role;
  std::optional<std::vector<protocol::GroupMembership>> groups;
  std::optional<std::string> message_mode;  // push, inbox, off
  std::optional<std::string> account_id;
  // Entries of `meshes` that cannot be used, one sentence each; the others are not disturbed by them.
  std::vector<std::string> problems;
};

// A missing or foreign `meshes` is an empty configuration, as in 1.37.0; unknown keys are dropped. kInvalid: no JSON.
Result<ConfigFile> parse_config(std::string_view json);
// Two-space JSON with a final newline. Holds the secret keys.
SecretText format_config(const ConfigFile& config);

struct LoadedConfig {
  ConfigFile config;
  bool was_exposed = false;  // the file was readable by others; it is 0600 now
};
// A missing file is an empty configuration. Errors begin with "Failed to load <path>: ".
Result<LoadedConfig> load_config(const std::string& path);
Status save_config(const std::string& path, const ConfigFile& config);

}  // namespace cm::daemon
