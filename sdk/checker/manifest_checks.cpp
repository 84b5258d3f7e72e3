// What the manifest says, held against the library and against itself.
#include <dlfcn.h>

#include <algorithm>

#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/storage.h>
#include <claudemesh/ext/transport.h>
#include <claudemesh/plugin.h>

#include "host/loader/manifest.hpp"
#include "sdk/checker/check.hpp"
#include "sdk/simhost/host_functions.hpp"

namespace cm::checker {
namespace {

struct KindPromise {
  std::string_view kind;
  const char* extension;
};
constexpr KindPromise kPromises[] = {
    {"hook", CM_HOOK_ID}, {"storage", CM_STORAGE_ID}, {"transport", CM_TRANSPORT_ID}, {"bridge", CM_BRIDGE_ID}};

Outcome is_readable(const Subject& subject) {
  if (subject.manifest) {
    return ok();
  }
  return failed(subject.manifest_error, "a manifest in an ELF note that the host can read without loading the library",
                "build with cm_add_plugin, or use CM_PLUGIN_MANIFEST");
}

Outcome fits_host(const Subject& subject) {
  const Status fits = loader::check_compatible(*subject.manifest);
  return fits ? ok()
              : failed(fits.error().message, "a platform and an ABI of this host",
                       "build for this platform and against headers that this host serves");
}

Outcome agrees_with_entry(const Subject& subject) {
  void* code = ::dlopen(subject.file.c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto* entry =
      code == nullptr ? nullptr : static_cast<const cm_plugin_entry_v1*>(::dlsym(code, "cm_plugin_entry"));
  if (entry == nullptr) {
    return skipped("there is no entry to compare with (symbols.* say why)");
  }
  const config::AbiVersion min = config::AbiVersion::from_number(entry->abi_min);
  const config::AbiVersion built = config::AbiVersion::from_number(entry->abi_built_with);
  if (min == subject.manifest->abi_min && built == subject.manifest->abi_built) {
    return ok();
  }
  return failed("the manifest says ABI " + subject.manifest->abi_min.text() + " to " +
                    subject.manifest->abi_built.text() + ", the entry " + min.text() + " to " + built.text(),
                "the same numbers in both", "take both from the same headers and build again");
}

Outcome has_license(const Subject& subject) {
  const std::string& license = subject.manifest->license;
  const bool plausible = !license.empty() && std::all_of(license.begin(), license.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view(".-+() ").find(static_cast<char>(c)) != std::string_view::npos;
  });
  return plausible ? ok()
                   : failed("the licence is " + toml_text(license), "an SPDX expression such as \"MIT\"",
                            "set `license` in the manifest");
}

Outcome has_description(const Subject& subject) {
  const auto& manifest = *subject.manifest;
  if (manifest.description.empty()) {
    return failed("no description", "one line that says what the plugin is for", "set `description` in the manifest");
  }
  for (const auto& option : manifest.options) {
    if (option.doc.empty()) {
      return failed("the option " + option.name + " has no doc", "one line for every option",
                    "set `doc`; help and documents are made of it");
    }
  }
  return ok();
}

Outcome keeps_kind_promises(const Subject& subject) {
  const auto& kinds = subject.manifest->kinds;
  if (kinds.empty()) {
    return failed("no kinds", "at least one kind, such as \"hook\"", "set `kinds` in the manifest");
  }
  // Kinds are free, but a misspelt one of these keeps the plugin from being found by it.
  std::vector<std::string> names;
  for (const KindPromise& promise : kPromises) {
    names.emplace_back(promise.kind);
  }
  for (const std::string& kind : kinds) {
    const std::string near = options::nearest_name(kind, names);
    if (!near.empty() && near != kind) {
      return failed("the kind \"" + kind + "\"", "a kind that is known, or one of your own that looks like none",
                    "did you mean \"" + near + "\"?");
    }
  }
  for (const KindPromise& promise : kPromises) {
    const bool claims = std::find(kinds.begin(), kinds.end(), promise.kind) != kinds.end();
    if (claims && !subject.manifest->provides_extension(promise.extension)) {
      return failed("the kind \"" + std::string(promise.kind) + "\" without `provides` " + promise.extension,
                    "a plugin of a kind provides the extension of that kind",
                    "add the extension to `provides`, or take the kind out");
    }
  }
  return ok();
}

Outcome asks_for_known_tables(const Subject& subject) {
  for (const std::string& wanted : subject.manifest->host_tables) {
    const auto tables = sim::host_tables();
    std::vector<std::string> ids;
    for (const auto& table : tables) {
      ids.emplace_back(table.id);
    }
    const std::string near = options::nearest_name(wanted, ids);
    const bool known =
        std::any_of(tables.begin(), tables.end(), [&](const auto& table) { return table.id == wanted; }) ||
        sim::find_probed_table(wanted) != nullptr;
    const std::string name = wanted.substr(0, wanted.find('/'));
    const bool other_revision =
        std::any_of(tables.begin(), tables.end(), [&](const auto& table) { return table.id.starts_with(name + "/"); });
    if (!known && (other_revision || !near.empty() || !wanted.starts_with("cm."))) {
      return failed("`requires` names " + wanted, "ids of tables that a host offers, such as cm.timer/1",
                    near.empty() ? "correct the id; what nobody offers will always be null"
                                 : "did you mean " + near + "? What nobody offers will always be null");
    }
  }
  return ok();
}

Outcome bounds_its_options(const Subject& subject) {
  using options::OptionType;
  for (const auto& option : subject.manifest->options) {
    const bool counts =
        option.type == OptionType::kInt || option.type == OptionType::kDuration || option.type == OptionType::kSize;
    if (counts && (!option.min_int || !option.max_int)) {
      return failed("the option " + option.name + " has no " + (option.min_int ? "maximum" : "minimum"),
                    "a range for every number, duration and size",
                    "set `min` and `max`: the host then refuses what the plugin could not use");
    }
  }
  return ok();
}

constexpr Check kChecks[] = {
    {"manifest.is_readable",
     3,
     "The manifest can be read without loading the library, and is well formed.",
     is_readable,
     {},
     0,
     false},
    {"manifest.fits_host", 3, "Platform and ABI of the manifest fit a host of this release.", fits_host},
    {"manifest.agrees_with_entry", 4, "Manifest and entry name the same ABI versions.", agrees_with_entry},
    {"manifest.has_license", 3, "The manifest names a licence.", has_license},
    {"manifest.has_description", 13, "The plugin and each of its options are described.", has_description},
    {"manifest.keeps_kind_promises", 5, "A plugin of a kind provides the extension of that kind.", keeps_kind_promises},
    {"manifest.asks_for_known_tables", 6, "`requires` names tables that exist.", asks_for_known_tables},
    {"manifest.bounds_its_options", 13, "Every number, duration and size has a range.", bounds_its_options},
};

}  // namespace

std::span<const Check> manifest_checks() {
  return kChecks;
}

}  // namespace cm::checker
