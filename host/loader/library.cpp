#include "host/loader/library.hpp"

#define BOOST_DLL_USE_STD_FS
#include <dlfcn.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <boost/dll/shared_library.hpp>
#include <boost/dll/shared_library_load_mode.hpp>
#include <mutex>

#include "host/loader/discovery.hpp"

namespace cm::loader {
namespace {

constexpr const char* kEntrySymbol = "cm_plugin_entry";

struct Builtin {
  const cm_plugin_entry_v1* entry;
  std::shared_ptr<const Manifest> manifest;
};

// Registration happens before main (static initialisers) or at its beginning; a mutex costs nothing there.
struct BuiltinRegistry {
  std::mutex mutex;
  std::vector<Builtin> plugins;
};

BuiltinRegistry& builtin_registry() {
  static BuiltinRegistry registry;
  return registry;
}

std::string title(const Manifest& manifest) {
  return "plugin " + manifest.id + " " + manifest.version;
}

std::string abi_text(std::uint32_t number) {
  return AbiVersion::from_number(number).text();
}

// Is this really an entry, and of an ABI that we can talk to? Only the first 24 bytes are read before `size` is known.
Status check_entry(const cm_plugin_entry_v1& entry, const Manifest& manifest) {
  if (entry.magic != CM_PLUGIN_MAGIC) {
    return make_error(ErrorCode::kInvalid, title(manifest) +
                                               " is not a claudemesh plugin: its cm_plugin_entry does not "
                                               "begin with CM_PLUGIN_MAGIC; build it with this SDK");
  }
  if (entry.size < sizeof(cm_plugin_entry_v1)) {
    return make_error(ErrorCode::kUnsupported, title(manifest) + " has an entry of " + std::to_string(entry.size) +
                                                   " bytes, expected at least " +
                                                   std::to_string(sizeof(cm_plugin_entry_v1)) +
                                                   "; build it with this SDK");
  }
  if (entry.abi_min != manifest.abi_min.number() || entry.abi_built_with != manifest.abi_built.number()) {
    return make_error(ErrorCode::kInvalid, title(manifest) + " contradicts itself: its manifest says ABI " +
                                               manifest.abi_min.text() + " to " + manifest.abi_built.text() +
                                               ", its entry " + abi_text(entry.abi_min) + " to " +
                                               abi_text(entry.abi_built_with) + "; build it again");
  }
  if (entry.init == nullptr || entry.get_factory == nullptr) {
    return make_error(ErrorCode::kInvalid, title(manifest) + " has no init or no get_factory; expected both");
  }
  return {};
}

}  // namespace

class PluginLibraries::Library final : public LoadedLibrary {
 public:
  Library(Manifest manifest, boost::dll::shared_library code, const cm_plugin_entry_v1* entry)
      : manifest_(std::move(manifest)), code_(std::move(code)), entry_(entry), identity_(identity_now()) {}

  const Manifest& manifest() const noexcept override { return manifest_; }
  const cm_factory_v1& factory() const noexcept override { return *factory_; }
  std::uint32_t abi_version() const noexcept override { return picked_; }
  const void* get_factory(const char* factory_id) const override { return entry_->get_factory(factory_id); }

  bool changed_on_disk() const { return identity_now() != identity_; }

  // Negotiates the version and takes the factory.
  Status initialise() {
    const auto offered = offered_abi_versions();
    std::uint32_t picked = 0;
    const cm_status status = entry_->init(offered.data(), static_cast<std::uint32_t>(offered.size()), &picked);
    const std::string needs = title(manifest_) + " needs plugin ABI " + manifest_.abi_min.text() +
                              "; this host offers " + abi_versions_text(offered);
    if (status == CM_UNSUPPORTED) {
      return make_error(ErrorCode::kUnsupported, needs + "; the plugin refused it");
    }
    if (status != CM_OK) {
      return make_error(ErrorCode::kInternal, title(manifest_) + ": init failed with status " + std::to_string(status) +
                                                  ", expected 0; ask the author of the plugin");
    }
    initialised_ = true;
    if (std::find(offered.begin(), offered.end(), picked) == offered.end()) {
      return make_error(ErrorCode::kUnsupported, needs + "; the plugin picked " + abi_text(picked));
    }
    picked_ = picked;
    factory_ = static_cast<const cm_factory_v1*>(entry_->get_factory(CM_FACTORY_ID));
    if (factory_ == nullptr || factory_->size < sizeof(cm_factory_v1) || factory_->create == nullptr) {
      return make_error(ErrorCode::kUnsupported, title(manifest_) + " has no usable factory " CM_FACTORY_ID
                                                                    ", expected one; build it with this SDK");
    }
    return {};
  }

  void deinitialise() noexcept {
    if (std::exchange(initialised_, false) && entry_->deinit != nullptr) {
      entry_->deinit();
    }
  }

 private:
  // Device, inode, size and modification time in ns; zeros for built-in plugins and files that are gone.
  using Identity = std::array<std::int64_t, 4>;
  Identity identity_now() const {
    struct stat status{};
    if (manifest_.is_builtin() || ::stat(manifest_.file.c_str(), &status) != 0) {
      return {};
    }
    return {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino), status.st_size,
            status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
  }

  Manifest manifest_;
  boost::dll::shared_library code_;  // empty for a built-in plugin
  const cm_plugin_entry_v1* entry_;
  const Identity identity_;
  const cm_factory_v1* factory_ = nullptr;
  std::uint32_t picked_ = 0;
  bool initialised_ = false;
};

Status register_builtin(const cm_plugin_entry_v1* entry, std::string_view manifest_json) {
  Result<Manifest> manifest = parse_manifest(manifest_json, "a built-in plugin");
  if (!manifest) {
    return manifest.error();
  }
  BuiltinRegistry& registry = builtin_registry();
  const std::lock_guard lock(registry.mutex);
  const bool taken = std::any_of(registry.plugins.begin(), registry.plugins.end(), [&](const Builtin& plugin) {
    return plugin.manifest->id == manifest->id || plugin.manifest->name == manifest->name;
  });
  if (taken || entry == nullptr) {
    return make_error(ErrorCode::kInvalid, title(*manifest) + " is built in twice or has no entry; register it once");
  }
  registry.plugins.push_back({entry, std::make_shared<const Manifest>(std::move(manifest).value())});
  return {};
}

std::vector<std::shared_ptr<const Manifest>> builtin_manifests() {
  BuiltinRegistry& registry = builtin_registry();
  const std::lock_guard lock(registry.mutex);
  std::vector<std::shared_ptr<const Manifest>> manifests;
  for (const Builtin& plugin : registry.plugins) {
    manifests.push_back(plugin.manifest);
  }
  std::sort(manifests.begin(), manifests.end(), [](const auto& a, const auto& b) { return a->name < b->name; });
  return manifests;
}

namespace {

const cm_plugin_entry_v1* builtin_entry(const std::string& id) {
  BuiltinRegistry& registry = builtin_registry();
  const std::lock_guard lock(registry.mutex);
  const auto found = std::find_if(registry.plugins.begin(), registry.plugins.end(),
                                  [&id](const Builtin& plugin) { return plugin.manifest->id == id; });
  return found == registry.plugins.end() ? nullptr : found->entry;
}

struct OpenedCode {
  boost::dll::shared_library code;
  const cm_plugin_entry_v1* entry = nullptr;
};

Result<OpenedCode> open_code(const Manifest& manifest, UnloadMode mode) {
  namespace dll = boost::dll;
  int flags = RTLD_NOW | RTLD_LOCAL;
  flags |= mode == UnloadMode::kKeep ? RTLD_NODELETE : 0;  // Boost hands the bits through to dlopen unchanged
  OpenedCode opened;
  dll::fs::error_code error;
  opened.code.load(manifest.file, static_cast<dll::load_mode::type>(flags), error);
  if (error) {
    const char* reason = ::dlerror();
    return make_error(ErrorCode::kIo, title(manifest) + " cannot be loaded: " +
                                          (reason == nullptr ? error.message() : std::string(reason)) +
                                          "; install what it needs, or get another build");
  }
  if (!opened.code.has(kEntrySymbol)) {
    return make_error(ErrorCode::kInvalid, manifest.file.string() +
                                               " is not a claudemesh plugin: it has a manifest but does not export "
                                               "cm_plugin_entry; export it and nothing else");
  }
  opened.entry = &opened.code.get<const cm_plugin_entry_v1>(kEntrySymbol);
  return opened;
}

}  // namespace

PluginLibraries::~PluginLibraries() {
  deinit_all();
}

Result<std::shared_ptr<const LoadedLibrary>> PluginLibraries::load(const Manifest& manifest,
                                                                   std::string_view sha256_pin) {
  if (!manifest.is_builtin()) {
    Status safe = check_trusted(manifest.file);
    safe = safe && !sha256_pin.empty() ? check_pin(manifest.file, sha256_pin) : safe;
    if (!safe) {
      return safe.error();
    }
  } else if (!sha256_pin.empty()) {
    return make_error(ErrorCode::kInvalid, title(manifest) + " is built in and has no file to hash; remove sha256");
  }
  if (const auto known = by_id_.find(manifest.id); known != by_id_.end()) {
    if (known->second->manifest().file == manifest.file) {
      return std::shared_ptr<const LoadedLibrary>(known->second);
    }
    return make_error(ErrorCode::kInvalid, manifest.file.string() + " is a second copy of " + manifest.id +
                                               ", which is loaded from " + known->second->manifest().file.string() +
                                               "; use one of them");
  }
  if (Status fits = check_compatible(manifest); !fits) {
    return fits.error();
  }
  OpenedCode opened;
  opened.entry = manifest.is_builtin() ? builtin_entry(manifest.id) : nullptr;
  if (!manifest.is_builtin()) {
    Result<OpenedCode> code = open_code(manifest, mode_);
    if (!code) {
      return code.error();
    }
    opened = std::move(code).value();
  }
  if (opened.entry == nullptr) {
    return make_error(ErrorCode::kGone, title(manifest) + " is not built into this program; give its file");
  }
  if (Status sound = check_entry(*opened.entry, manifest); !sound) {
    return sound.error();
  }
  auto library = std::make_shared<Library>(manifest, std::move(opened.code), opened.entry);
  if (Status ready = library->initialise(); !ready) {
    library->deinitialise();
    return ready.error();
  }
  by_id_.emplace(manifest.id, library);
  order_.push_back(library);
  return std::shared_ptr<const LoadedLibrary>(library);
}

std::vector<std::string> PluginLibraries::changed_files() const {
  std::vector<std::string> files;
  for (const auto& library : order_) {
    if (library->changed_on_disk()) {
      files.push_back(library->manifest().file.string());
    }
  }
  return files;
}

void PluginLibraries::deinit_all() noexcept {
  std::for_each(order_.rbegin(), order_.rend(), [](const auto& library) { library->deinitialise(); });
}

}  // namespace cm::loader
