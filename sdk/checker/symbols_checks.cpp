// The file itself: what it is, who may change it, what it shows and needs, and what merely loading it does.
#include <dlfcn.h>

#include "host/loader/discovery.hpp"
#include "host/loader/elf_reader.hpp"
#include "sdk/checker/check.hpp"
#include "sdk/checker/process_state.hpp"

namespace cm::checker {
namespace {

constexpr const char* kEntry = "cm_plugin_entry";

std::string dl_error() {
  const char* text = ::dlerror();
  return text == nullptr ? "no reason given" : text;
}

Outcome is_library(const Subject& subject) {
  const auto symbols = loader::exported_symbols(subject.file);
  if (!symbols) {
    return failed(symbols.error().message, "a shared library (ELF, 64 bits) with a dynamic symbol table",
                  "link it with -shared");
  }
  return ok();
}

Outcome is_trusted(const Subject& subject) {
  if (const Status safe = loader::check_trusted(subject.file); !safe) {
    return failed(safe.error().message, "a file that only its owner can change",
                  "chmod go-w the file and its folder; the host refuses to load it as it is");
  }
  return ok();
}

Outcome exports_one(const Subject& subject) {
  const auto symbols = loader::exported_symbols(subject.file);
  if (!symbols) {
    return skipped("the symbols cannot be read (symbols.is_library says why)");
  }
  std::string others;
  bool has_entry = false;
  std::size_t count = 0;
  for (const std::string& symbol : *symbols) {
    if (symbol == kEntry) {
      has_entry = true;
    } else if (++count <= 5) {
      others += (others.empty() ? "" : ", ") + symbol;
    }
  }
  if (has_entry && count == 0) {
    return ok();
  }
  return failed(std::string(has_entry ? "" : "no cm_plugin_entry; ") + std::to_string(count) +
                    " other exported symbols" + (count == 0 ? "" : ": " + others),
                "exactly one exported symbol, cm_plugin_entry",
                "compile with -fvisibility=hidden and link with the version script of the SDK (plugin.map) and "
                "-Wl,--exclude-libs,ALL");
}

Outcome loads_alone(const Subject& subject) {
  progress("loading the library");
  if (::dlopen(subject.file.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    return failed(dl_error(), "a library that loads with RTLD_NOW in a bare process",
                  "link everything it uses and add -Wl,-z,defs, so that the linker finds what is missing");
  }
  return ok();
}

Outcome loads_quietly(const Subject& subject) {
  const std::size_t threads = thread_count();
  const auto descriptors = open_descriptors();
  const auto settings = process_settings();
  progress("loading the library");
  if (::dlopen(subject.file.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    return skipped("it does not load (symbols.loads_alone says why)");
  }
  std::string found;
  if (thread_count() != threads) {
    found = std::to_string(thread_count() - threads) + " threads were started";
  }
  for (const std::string& item : added(descriptors, open_descriptors())) {
    found += (found.empty() ? "" : "; ") + std::string("a descriptor stays open: ") + item;
  }
  for (const std::string& item : added(settings, process_settings())) {
    found += (found.empty() ? "" : "; ") + std::string("now ") + item;
  }
  return found.empty()
             ? ok()
             : failed("loading the library alone changed the process: " + found, "nothing happens before `init`",
                      "move the work of static constructors to create or start");
}

constexpr Check kChecks[] = {
    {"symbols.is_library", 2, "The file is a shared library with a readable symbol table.", is_library, {}, 0, false},
    {"symbols.is_trusted", 17, "Only the owner can change the file and its folder.", is_trusted, {}, 0, false},
    {"symbols.exports_one", 2, "It exports cm_plugin_entry and nothing else.", exports_one, {}, 0, false},
    {"symbols.loads_alone", 2, "It loads in a bare process: nothing it needs is missing.", loads_alone, {}, 0, false},
    {"symbols.loads_quietly",
     15,
     "Loading it starts no thread, opens nothing and changes no setting.",
     loads_quietly,
     {},
     0,
     false},
};

}  // namespace

std::span<const Check> symbols_checks() {
  return kChecks;
}

}  // namespace cm::checker
