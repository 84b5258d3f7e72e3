// config.json of claudemesh 1.37.0 (wire/06 section 1.1): which meshes this user has joined. Holds secret keys.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/context.hpp"
#include "protocol/json.hpp"

namespace cm::cli {

// One joined mesh. Texts are as they stand in the file; `slug` is the local key.
struct MeshEntry {
  std::string mesh_id;
  std::string member_id;
  std::string slug;
  std::string name;
  std::string pubkey;
  std::string secret_key;  // never printed
  std::string broker_url;
  std::string joined_at;
  std::string root_key;               // may be empty; never printed
  std::optional<int> invite_version;  // 1 or 2
};

struct ConfigFile {
  std::vector<MeshEntry> meshes;
  // The other known keys in the order of the file (displayName, role, groups, messageMode, accountId), kept as they
  // are.
  protocol::JsonValue others{protocol::JsonValue::Object()};

  const MeshEntry* find(std::string_view slug) const;
  std::string slugs() const;  // "a, b", for error texts
};

// A missing `meshes` is an empty configuration and unknown keys are dropped, as in 1.37.0. kInvalid: no JSON object, or
// a `meshes` that is no array of objects (1.37.0 would forget such entries; we never overwrite what we cannot read).
Result<ConfigFile> parse_config(std::string_view json);
// Two-space JSON with a final newline.
std::string format_config(const ConfigFile& config);
// Replaces the entry of the same slug in its place, or appends.
void put_mesh(ConfigFile& config, MeshEntry entry);

// A missing file is an empty configuration.
Outcome<ConfigFile> load_config(const Paths& paths);
// Under the lock file beside it: reads the file again, puts the entry, writes. Two joins at a time both survive.
std::optional<Failure> add_mesh_to_config(const Paths& paths, MeshEntry entry, std::optional<std::string> display_name);

// The configuration with at least one mesh, and with `slug` when it is not empty; the failures of wire/07 section 3.2.
Outcome<ConfigFile> require_mesh(const Paths& paths, std::string_view slug);

}  // namespace cm::cli
