// Manifests that were read before, in a file. Whatever is wrong with the file, it is as if it were empty.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "host/loader/discovery.hpp"

namespace cm::loader {

inline constexpr std::size_t kCacheBytesMax = 16 * 1024 * 1024;
inline constexpr std::size_t kCacheEntriesMax = 4096;

// Holds manifest texts by file, valid as long as device, inode, size and modification time are the same.
class PluginCatalog::Cache {
 public:
  // Empty path: nothing is kept.
  explicit Cache(std::filesystem::path file);

  std::optional<std::string> find(const std::filesystem::path& plugin, const struct stat& status) const;
  void put(const std::filesystem::path& plugin, const struct stat& status, std::string manifest_json);
  // Writes what changed, through a new file that replaces the old one. Failing to write is no error: the next scan is
  // only slower.
  void save();

 private:
  struct Entry {
    std::string key;  // device:inode:size:mtime
    std::string json;
  };
  void load();

  std::filesystem::path file_;
  std::map<std::string, Entry> entries_;
  bool changed_ = false;
};

}  // namespace cm::loader
