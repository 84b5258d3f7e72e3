// config.json of claudemesh 1.37.0 (wire/06 section 1.1): which meshes this user has joined. Pure.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/json.hpp"
#include "protocol/secret_text.hpp"

namespace cm::protocol {

// One joined mesh. Texts are as they stand in the file, empty when they are missing; `slug` is the local name.
struct MeshRecord {
  std::string mesh_id;
  std::string member_id;
  std::string slug;
  std::string name;
  std::string pubkey;
  SecretText secret_key;  // never printed
  std::string broker_url;
  std::string joined_at;
  SecretText root_key;                // may be empty; never printed
  std::optional<int> invite_version;  // 1 or 2
};

struct ConfigFile {
  std::vector<MeshRecord> meshes;
  // The other known keys in the order of the file (displayName, role, groups, messageMode, accountId), as they are.
  JsonValue others{JsonValue::Object()};
  // What of `meshes` was not understood, one sentence each. 1.37.0 leaves such entries out, and forgets them when it
  // writes: who writes the file had better not.
  std::vector<std::string> problems;

  const MeshRecord* find(std::string_view slug) const;
  std::string slugs() const;  // "a, b", for error texts
};

// A missing `meshes` is an empty configuration, and unknown keys are dropped, as in 1.37.0. kInvalid: no JSON object.
// The copies of the secrets that parsing makes are overwritten.
Result<ConfigFile> parse_config(std::string_view json);

}  // namespace cm::protocol
