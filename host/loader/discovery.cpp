#include "host/loader/discovery.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "host/loader/library.hpp"
#include "host/loader/manifest_cache.hpp"

#ifndef CM_RELATIVE_PLUGIN_DIR
#define CM_RELATIVE_PLUGIN_DIR "lib/claudemesh/plugins"
#endif
#ifndef CM_SYSTEM_PLUGIN_DIR
#define CM_SYSTEM_PLUGIN_DIR "/usr/local/lib/claudemesh/plugins"
#endif

namespace cm::loader {
namespace {

namespace fs = std::filesystem;

fs::path default_cache_file(const config::Environment& environment) {
  const auto base = environment.get("XDG_CACHE_HOME");
  const bool usable = base && base->starts_with('/');
  return (usable ? fs::path(*base) : fs::path(environment.home()) / ".cache") / "claudemesh" / "plugins.json";
}

void add_folder(std::vector<SearchFolder>& folders, const fs::path& path, std::string_view origin, bool bundled) {
  const fs::path normal = path.lexically_normal();
  const bool known = std::any_of(folders.begin(), folders.end(),
                                 [&normal](const SearchFolder& folder) { return folder.path == normal; });
  if (normal.is_absolute() && !known) {  // a relative folder would depend on the current directory
    folders.push_back({normal, origin, bundled});
  }
}

std::vector<fs::path> libraries_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".so" && files.size() < kPluginsPerFolderMax) {
      files.push_back(entry->path());
    }
  }
  std::sort(files.begin(), files.end());  // directory order is chance; a search order must not be
  return files;
}

bool is_called(const FoundPlugin& plugin, const std::string& use) {
  // A file whose manifest is unreadable still answers to its file name: it must not let an impostor behind it win.
  return plugin.manifest == nullptr ? plugin.file.stem() == use
                                    : plugin.manifest->name == use || plugin.manifest->id == use;
}

void mark_shadowed(std::vector<FoundPlugin>& found) {
  for (auto plugin = found.begin(); plugin != found.end(); ++plugin) {
    if (plugin->manifest == nullptr) {
      continue;
    }
    const auto first = std::find_if(found.begin(), plugin, [&](const FoundPlugin& other) {
      return other.manifest != nullptr &&
             (other.manifest->name == plugin->manifest->name || other.manifest->id == plugin->manifest->id);
    });
    if (first != plugin) {
      plugin->shadowed_by = first->file.empty() ? "a built-in plugin" : first->file.string();
    }
  }
}

std::string searched_text(const std::vector<SearchFolder>& folders, bool bundled_only) {
  std::string text;
  for (const SearchFolder& folder : folders) {
    if (folder.bundled || !bundled_only) {
      text += (text.empty() ? "" : ", ") + folder.path.string();
    }
  }
  return text;
}

}  // namespace

fs::path program_path() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);
}

std::vector<SearchFolder> search_folders(const std::vector<fs::path>& plugin_path,
                                         const config::Environment& environment, const fs::path& program) {
  std::vector<SearchFolder> folders;
  for (const fs::path& path : plugin_path) {
    add_folder(folders, path, "plugin_path", false);
  }
  const std::string variable = environment.get("CM_PLUGIN_PATH").value_or("");
  for (std::size_t begin = 0; begin < variable.size();) {
    const std::size_t end = std::min(variable.find(':', begin), variable.size());
    add_folder(folders, variable.substr(begin, end - begin), "CM_PLUGIN_PATH", false);
    begin = end + 1;
  }
  add_folder(folders, fs::path(environment.home()) / ".local/lib/claudemesh/plugins", "user", false);
  if (!program.empty()) {
    add_folder(folders, program.parent_path() / "plugins", "program", true);
    add_folder(folders, program.parent_path() / ".." / "plugins", "program", true);
    // An installation that was moved, or made with another prefix than the one it was configured for.
    add_folder(folders, program.parent_path() / ".." / CM_RELATIVE_PLUGIN_DIR, "program", true);
  }
  add_folder(folders, CM_SYSTEM_PLUGIN_DIR, "system", true);
  return folders;
}

PluginCatalog::PluginCatalog(config::Environment environment, CatalogOptions options)
    : environment_(std::move(environment)), options_(std::move(options)) {
  if (options_.program.empty()) {
    options_.program = program_path();
  }
  if (options_.cache_file.empty()) {
    options_.cache_file = default_cache_file(environment_);
  }
  cache_ = std::make_unique<Cache>(options_.cache_file == "-" ? fs::path() : options_.cache_file);
}

PluginCatalog::~PluginCatalog() = default;

FoundPlugin PluginCatalog::inspect(const fs::path& file, std::string_view origin) {
  FoundPlugin found;
  found.file = file;
  found.origin = origin;
  const auto fail = [&found](const Error& error) {
    found.problem = error.message;
    found.problem_code = error.code;
    return found;
  };
  if (Status trusted = check_trusted(file); !trusted) {
    return fail(trusted.error());
  }
  struct stat status{};
  const bool known = ::stat(file.c_str(), &status) == 0;
  const std::optional<std::string> cached = known ? cache_->find(file, status) : std::nullopt;
  Result<Manifest> manifest = cached ? parse_manifest(*cached, file.string()) : read_manifest(file);
  if (!manifest && cached) {
    manifest = read_manifest(file);  // the cache was damaged in a way that is still JSON
  }
  if (!manifest) {
    return fail(manifest.error());
  }
  manifest->file = file;
  if (known && manifest->json != cached) {
    cache_->put(file, status, manifest->json);
  }
  found.manifest = std::make_shared<const Manifest>(std::move(manifest).value());
  const Status fits = check_compatible(*found.manifest);
  return fits ? found : fail(fits.error());
}

void PluginCatalog::scan_folder(const SearchFolder& folder, std::vector<FoundPlugin>& found) {
  for (const fs::path& file : libraries_in(folder.path)) {
    found.push_back(inspect(file, folder.origin));
  }
}

std::vector<FoundPlugin> PluginCatalog::scan(const std::vector<fs::path>& plugin_path, bool bundled_only) {
  std::vector<FoundPlugin> found;
  const std::vector<SearchFolder> folders = search_folders(plugin_path, environment_, options_.program);
  for (const SearchFolder& folder : folders) {
    if (!folder.bundled && !bundled_only) {
      scan_folder(folder, found);
    }
  }
  for (const auto& manifest : builtin_manifests()) {
    FoundPlugin builtin;
    builtin.origin = "built-in";
    builtin.manifest = manifest;
    found.push_back(std::move(builtin));
  }
  for (const SearchFolder& folder : folders) {
    if (folder.bundled) {
      scan_folder(folder, found);
    }
  }
  mark_shadowed(found);
  cache_->save();
  return found;
}

const std::vector<FoundPlugin>& PluginCatalog::scanned(const config::PluginQuery& query) {
  std::string key = query.bundled_only ? "bundled" : "all";
  for (const fs::path& path : query.plugin_path) {
    key += '\0' + path.string();
  }
  const auto known = scans_.find(key);
  return known != scans_.end() ? known->second
                               : scans_.emplace(key, scan(query.plugin_path, query.bundled_only)).first->second;
}

Status PluginCatalog::check_bundled(const fs::path& file) const {
  const auto folders = search_folders({}, environment_, options_.program);
  const bool bundled = std::any_of(folders.begin(), folders.end(), [&file](const SearchFolder& folder) {
    return folder.bundled && folder.path == file.parent_path();
  });
  return bundled ? Status()
                 : Status(make_error(ErrorCode::kDenied,
                                     file.string() + " did not come with the program, and safe mode is on; expected "
                                                     "a bundled plugin; disable the instance or leave safe mode"));
}

Result<std::shared_ptr<const Manifest>> PluginCatalog::open(const fs::path& file) {
  FoundPlugin found = inspect(file, "file");
  cache_->save();
  if (!found.problem.empty()) {
    return make_error(found.problem_code, std::move(found.problem));
  }
  return std::move(found.manifest);
}

Result<std::shared_ptr<const Manifest>> PluginCatalog::find(const config::PluginQuery& query) {
  std::shared_ptr<const Manifest> manifest;
  if (!query.file.empty()) {
    const Status allowed = query.bundled_only ? check_bundled(query.file) : Status();
    Result<std::shared_ptr<const Manifest>> opened =
        allowed ? open(query.file) : Result<std::shared_ptr<const Manifest>>(allowed.error());
    if (!opened) {
      return opened;
    }
    manifest = std::move(opened).value();
  } else {
    const std::vector<FoundPlugin>& plugins = scanned(query);
    const auto found = std::find_if(plugins.begin(), plugins.end(),
                                    [&query](const FoundPlugin& plugin) { return is_called(plugin, query.use); });
    if (found == plugins.end()) {
      const auto folders = search_folders(query.plugin_path, environment_, options_.program);
      return make_error(ErrorCode::kGone, "no plugin is called " + options::json_quote(query.use) +
                                              ", expected one in " + searched_text(folders, query.bundled_only));
    }
    if (!found->problem.empty()) {
      return make_error(found->problem_code, found->problem);
    }
    manifest = found->manifest;
  }
  if (!query.sha256.empty()) {
    if (manifest->is_builtin()) {
      return make_error(ErrorCode::kInvalid, "the plugin " + manifest->name +
                                                 " is built in and has no file to hash; remove sha256, or give `file`");
    }
    if (Status pinned = check_pin(manifest->file, query.sha256); !pinned) {
      return pinned.error();
    }
  }
  return manifest;
}

std::vector<std::string> PluginCatalog::known_names(const config::PluginQuery& query) {
  std::vector<std::string> names;
  for (const FoundPlugin& plugin : scanned(query)) {
    if (plugin.manifest != nullptr) {
      names.push_back(plugin.manifest->name);
    }
  }
  return names;
}

}  // namespace cm::loader
