// Plugins as code: loaded libraries and those that are linked into the executable. [control] throughout.
#pragma once

#include <claudemesh/plugin.h>
#include <claudemesh/cpp/result.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/loader/manifest.hpp"

namespace cm::loader {

// Code that was initialised and can make instances. Lives as long as the PluginLibraries that made it; with kKeep the
// code stays in memory until the process ends.
class LoadedLibrary {
 public:
  virtual ~LoadedLibrary() = default;
  virtual const Manifest& manifest() const noexcept = 0;
  virtual const cm_factory_v1& factory() const noexcept = 0;
  virtual std::uint32_t abi_version() const noexcept = 0;             // picked by `init`
  virtual const void* get_factory(const char* factory_id) const = 0;  // other factories, or null
};

// A plugin that is linked into the executable. `entry` and `manifest_json` live as long as the process. kInvalid:
// the manifest is wrong or the id is registered already.
Status register_builtin(const cm_plugin_entry_v1* entry, std::string_view manifest_json);
// Manifests of all registered plugins, by name.
std::vector<std::shared_ptr<const Manifest>> builtin_manifests();

enum class UnloadMode {
  kKeep,   // RTLD_NODELETE: production. Unloading code that left threads or callbacks behind crashes
  kClose,  // tests, under the address sanitizer
};

// All plugin code of one process. Each id is loaded and initialised once; a second library with the same id is refused.
class PluginLibraries {
 public:
  explicit PluginLibraries(UnloadMode mode = UnloadMode::kKeep) : mode_(mode) {}
  ~PluginLibraries();  // deinit_all
  PluginLibraries(const PluginLibraries&) = delete;
  PluginLibraries& operator=(const PluginLibraries&) = delete;

  // Loads (or finds) the code of the manifest. `sha256_pin`: empty, or what the file must hash to. kDenied: unsafe file
  // or pin; kUnsupported: ABI; kInvalid: not a plugin, or a second copy of an id; kIo: the dynamic linker failed.
  Result<std::shared_ptr<const LoadedLibrary>> load(const Manifest& manifest, std::string_view sha256_pin = {});
  // Files of loaded plugins that are not what they were when they were loaded: replaced, changed or gone.
  std::vector<std::string> changed_files() const;
  // Calls deinit of everything, newest first, once. After the last instance was destroyed.
  void deinit_all() noexcept;

 private:
  class Library;
  UnloadMode mode_;
  std::map<std::string, std::shared_ptr<Library>, std::less<>> by_id_;
  std::vector<std::shared_ptr<Library>> order_;
};

}  // namespace cm::loader
