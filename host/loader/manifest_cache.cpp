#include "host/loader/manifest_cache.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>

namespace cm::loader {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::int64_t kFormat = 1;

std::string key_of(const struct stat& status) {
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) + ":" + std::to_string(status.st_size) +
         ":" + std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
}

std::optional<std::string> text_member(const json::object& object, json::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || !value->is_string() ? std::nullopt
                                                 : std::optional<std::string>(std::string(value->get_string()));
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count <= 0) {
      return false;
    }
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

PluginCatalog::Cache::Cache(fs::path file) : file_(std::move(file)) {
  if (!file_.empty()) {
    load();
  }
}

void PluginCatalog::Cache::load() {
  struct stat status{};
  if (::stat(file_.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != ::geteuid() ||
      (status.st_mode & 022) != 0 || static_cast<std::uint64_t>(status.st_size) > kCacheBytesMax) {
    return;
  }
  std::ifstream in(file_, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  json::error_code error;
  const json::value root = json::parse(text.str(), error);
  const json::object* object = error ? nullptr : root.if_object();
  const json::value* format = object == nullptr ? nullptr : object->if_contains("format");
  const json::value* entries = object == nullptr ? nullptr : object->if_contains("entries");
  if (format == nullptr || !format->is_int64() || format->get_int64() != kFormat || entries == nullptr ||
      !entries->is_array()) {
    return;
  }
  for (const json::value& value : entries->get_array()) {
    const json::object* entry = value.if_object();
    if (entry == nullptr || entries_.size() >= kCacheEntriesMax) {
      return;
    }
    const auto file = text_member(*entry, "file");
    const auto key = text_member(*entry, "key");
    const auto manifest = text_member(*entry, "manifest");
    if (file && key && manifest) {
      entries_[*file] = {*key, *manifest};
    }
  }
}

std::optional<std::string> PluginCatalog::Cache::find(const fs::path& plugin, const struct stat& status) const {
  const auto found = entries_.find(plugin.string());
  return found == entries_.end() || found->second.key != key_of(status) ? std::nullopt
                                                                        : std::optional(found->second.json);
}

void PluginCatalog::Cache::put(const fs::path& plugin, const struct stat& status, std::string manifest_json) {
  if (file_.empty()) {
    return;
  }
  if (entries_.size() >= kCacheEntriesMax) {
    entries_.clear();  // files of long gone builds; the next scan fills in what is still there
  }
  entries_[plugin.string()] = {key_of(status), std::move(manifest_json)};
  changed_ = true;
}

void PluginCatalog::Cache::save() {
  if (!std::exchange(changed_, false)) {
    return;
  }
  json::array entries;
  for (const auto& [file, entry] : entries_) {
    entries.push_back(json::object{{"file", file}, {"key", entry.key}, {"manifest", entry.json}});
  }
  const std::string text = json::serialize(json::object{{"format", kFormat}, {"entries", std::move(entries)}});
  std::error_code ignored;
  fs::create_directories(file_.parent_path(), ignored);
  const fs::path temporary = file_.string() + "." + std::to_string(::getpid());
  Descriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) {
    return;
  }
  const bool written = write_all(fd.get(), text);
  fd.reset();
  if (!written || ::rename(temporary.c_str(), file_.c_str()) != 0) {
    ::unlink(temporary.c_str());
  }
}

}  // namespace cm::loader
