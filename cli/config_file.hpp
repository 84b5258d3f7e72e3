// config.json of claudemesh 1.37.0 (wire/06 section 1.1) on the disk: read, and changed under a lock.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "cli/context.hpp"
#include "protocol/config_file.hpp"

namespace cm::cli {

using protocol::ConfigFile;
using MeshEntry = protocol::MeshRecord;

// Two-space JSON with a final newline.
std::string format_config(const ConfigFile& config);
// Replaces the entry of the same slug in its place, or appends.
void put_mesh(ConfigFile& config, MeshEntry entry);

// A missing file is an empty configuration. A file of which something was not understood is refused: we never overwrite
// what we cannot read.
Outcome<ConfigFile> load_config(const Paths& paths);
// Under the lock file beside it: reads the file again, puts the entry, writes. Two joins at a time both survive.
std::optional<Failure> add_mesh_to_config(const Paths& paths, MeshEntry entry, std::optional<std::string> display_name);

// The configuration with at least one mesh, and with `slug` when it is not empty; the failures of wire/07 section 3.2.
Outcome<ConfigFile> require_mesh(const Paths& paths, std::string_view slug);

}  // namespace cm::cli
