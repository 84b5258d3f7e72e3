// The joined meshes as config.json names them, read from the disk and checked for use.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <string>
#include <string_view>

#include "plugins/peer_daemon/src/home_files.hpp"
#include "protocol/config_file.hpp"

namespace cm::daemon {

using protocol::ConfigFile;
using protocol::MeshRecord;

// protocol::parse_config, of whose meshes only those stay that can be used: complete, with keys that belong together,
// and the first of its slug. The others are in `problems`, one sentence each, and do not disturb.
Result<ConfigFile> parse_config(std::string_view json);

struct LoadedConfig {
  ConfigFile config;
  bool was_exposed = false;  // the file was readable by others; it is 0600 now
};
// A missing file is an empty configuration. Errors begin with "Failed to load <path>: ".
Result<LoadedConfig> load_config(const std::string& path);

}  // namespace cm::daemon
