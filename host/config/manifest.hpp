// What the host knows about a plugin before it loads it, and where the configuration gets that knowledge from.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sdk/tools/options.hpp"

namespace cm::config {

using options::OptionSpec;
using options::OptionType;

// major << 16 | minor, as the ABI writes it.
struct AbiVersion {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;

  static constexpr AbiVersion from_number(std::uint32_t number) noexcept { return {number >> 16, number & 0xffffU}; }
  constexpr std::uint32_t number() const noexcept { return major << 16 | minor; }
  std::string text() const { return std::to_string(major) + "." + std::to_string(minor); }
  friend auto operator<=>(const AbiVersion&, const AbiVersion&) = default;
};

// The manifest of one plugin (members: <claudemesh/plugin.h>). Immutable once read; shared by reference.
struct Manifest {
  std::string id;
  std::string name;
  std::string version;
  AbiVersion abi_min;
  AbiVersion abi_built;
  std::string description;
  std::string license;
  std::vector<std::string> kinds;
  std::vector<std::string> host_tables;  // member `requires`
  std::vector<std::string> provides;
  std::string platform;
  std::string build_id;
  std::vector<OptionSpec> options;
  std::string config_schema_hash;
  std::filesystem::path file;  // absolute; empty for a plugin that is linked into the executable
  std::string json;            // the text it was read from

  bool is_builtin() const noexcept { return file.empty(); }
  bool provides_extension(std::string_view extension_id) const noexcept;
  const OptionSpec* find_option(std::string_view option) const noexcept;
};

// One instance's question: which library is meant?
struct PluginQuery {
  std::string use;                                 // name or id; may be empty when `file` is given
  std::filesystem::path file;                      // absolute, or empty: search
  std::string sha256;                              // 64 lower-case hex digits that the file must have, or empty
  std::vector<std::filesystem::path> plugin_path;  // `plugin_path` of [host], absolute
  bool bundled_only = false;                       // safe mode: only the program's own folders and built-in plugins
};

// Finds manifests; the loader's PluginCatalog is the real one, tests bring their own. [control]
class ManifestSource {
 public:
  virtual ~ManifestSource() = default;
  // kGone: not found, kDenied: unsafe file or wrong sha256, kUnsupported: other ABI or platform, kInvalid: not a
  // plugin.
  virtual Result<std::shared_ptr<const Manifest>> find(const PluginQuery& query) = 0;
  // Names that `use` could have meant, for suggestions.
  virtual std::vector<std::string> known_names(const PluginQuery& query) = 0;
};

}  // namespace cm::config
