// Where plugins are looked for, and which files are trusted. [control]; reads directories and ELF notes only.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/config/environment.hpp"
#include "host/config/manifest.hpp"
#include "host/loader/manifest.hpp"

namespace cm::loader {

inline constexpr std::size_t kPluginsPerFolderMax = 1024;

// Is the file (and its folder) safe to run code from? It must belong to root or to this user and nobody else may be
// able to write it. kDenied with found, expected, next step; kGone when it does not exist.
Status check_trusted(const std::filesystem::path& file);
// Lower-case hex SHA-256 of a file. kIo.
Result<std::string> file_sha256(const std::filesystem::path& file);
// Compares a file with a pin. kDenied with both sides.
Status check_pin(const std::filesystem::path& file, std::string_view sha256_pin);

// Folders in search order, without doubles; each absolute. The current directory is never among them.
struct SearchFolder {
  std::filesystem::path path;
  std::string_view origin;  // "plugin_path", "CM_PLUGIN_PATH", "user", "program", "system"
  bool bundled = false;     // allowed in safe mode
};
std::vector<SearchFolder> search_folders(const std::vector<std::filesystem::path>& plugin_path,
                                         const config::Environment& environment, const std::filesystem::path& program);
// /proc/self/exe
std::filesystem::path program_path();

struct FoundPlugin {
  std::filesystem::path file;  // empty: built-in
  std::string origin;
  std::shared_ptr<const Manifest> manifest;  // null when it could not be read
  std::string problem;                       // why it cannot be used; empty: it can
  ErrorCode problem_code = ErrorCode::kInvalid;
  std::string shadowed_by;  // another file with the same name stands earlier in the search order
};

struct CatalogOptions {
  std::filesystem::path program;     // default: program_path()
  std::filesystem::path cache_file;  // default: $XDG_CACHE_HOME/claudemesh/plugins.json; "-" for none
};

// Knows all plugins that can be found. Manifests are kept in a cache file by device, inode, size and mtime. A catalog
// looks into each folder once: make a new one for a reload.
class PluginCatalog : public config::ManifestSource {
 public:
  explicit PluginCatalog(config::Environment environment, CatalogOptions options = {});
  ~PluginCatalog() override;

  Result<std::shared_ptr<const Manifest>> find(const config::PluginQuery& query) override;
  std::vector<std::string> known_names(const config::PluginQuery& query) override;
  // Everything in search order, including what cannot be used.
  std::vector<FoundPlugin> scan(const std::vector<std::filesystem::path>& plugin_path, bool bundled_only = false);
  // Manifest of one file, trusted and compatible or refused.
  Result<std::shared_ptr<const Manifest>> open(const std::filesystem::path& file);

  class Cache;  // of manifests, in a file

 private:
  const std::vector<FoundPlugin>& scanned(const config::PluginQuery& query);
  FoundPlugin inspect(const std::filesystem::path& file, std::string_view origin);
  void scan_folder(const SearchFolder& folder, std::vector<FoundPlugin>& found);
  Status check_bundled(const std::filesystem::path& file) const;

  config::Environment environment_;
  CatalogOptions options_;
  std::unique_ptr<Cache> cache_;
  std::unordered_map<std::string, std::vector<FoundPlugin>> scans_;
};

}  // namespace cm::loader
