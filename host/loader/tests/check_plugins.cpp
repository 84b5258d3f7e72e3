// Usage: loader_check_plugins LIBRARY...: fails when one exports more than its entry or has no acceptable manifest.
#include <iostream>
#include <set>

#include "host/loader/elf_reader.hpp"
#include "host/loader/manifest.hpp"

int main(int argc, char** argv) {
  int failures = 0;
  std::set<std::string> ids;
  const auto fail = [&failures](const std::string& file, const std::string& text) {
    std::cerr << file << ": " << text << '\n';
    ++failures;
  };
  for (const std::string& file : std::vector<std::string>(argv + 1, argv + argc)) {
    const auto symbols = cm::loader::exported_symbols(file);
    if (!symbols) {
      fail(file, symbols.error().message);
      continue;
    }
    if (*symbols != std::vector<std::string>{"cm_plugin_entry"}) {
      std::string names;
      for (const std::string& name : *symbols) {
        names += " " + name;
      }
      fail(file, "expected the one symbol cm_plugin_entry, found:" + names);
    }
    const auto manifest = cm::loader::read_manifest(file);
    if (!manifest) {
      fail(file, manifest.error().message);
      continue;
    }
    if (const auto fits = cm::loader::check_compatible(*manifest); !fits) {
      fail(file, fits.error().message);
    }
    if (!ids.insert(manifest->id).second || !ids.insert(manifest->name).second) {
      fail(file, "another plugin has the same id or name: " + manifest->id);
    }
    if (manifest->description.empty() || manifest->license.empty()) {
      fail(file, "a plugin of the product needs a description and a license");
    }
  }
  std::cout << argc - 1 << " plugins checked\n";
  return failures == 0 ? 0 : 1;
}
