// The first conversation: versions that a host serves, tables that are shorter, longer or missing.
#include <dlfcn.h>

#include <algorithm>
#include <vector>

#include "host/loader/manifest.hpp"
#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::uint32_t kUntouched = 0xdeadbeef;

const cm_plugin_entry_v1* load_entry(const Subject& subject) {
  void* code = ::dlopen(subject.file.c_str(), RTLD_NOW | RTLD_LOCAL);
  return code == nullptr ? nullptr : static_cast<const cm_plugin_entry_v1*>(::dlsym(code, "cm_plugin_entry"));
}

std::string version_text(std::uint32_t number) {
  return config::AbiVersion::from_number(number).text();
}

struct Picked {
  cm_status status = CM_INTERNAL;
  std::uint32_t version = kUntouched;
};

Picked pick(const cm_plugin_entry_v1& entry, const std::vector<std::uint32_t>& offered) {
  Picked picked;
  std::string text;
  for (const std::uint32_t version : offered) {
    text += (text.empty() ? "" : ", ") + version_text(version);
  }
  progress("init with the versions " + text);
  // Memory of exactly this size, so that a read beyond its end can be noticed.
  const std::vector<std::uint32_t> exact(offered);
  picked.status =
      entry.init(exact.empty() ? nullptr : exact.data(), static_cast<std::uint32_t>(exact.size()), &picked.version);
  return picked;
}

Outcome has_entry(const Subject& subject) {
  const cm_plugin_entry_v1* entry = load_entry(subject);
  if (entry == nullptr) {
    return failed("cm_plugin_entry cannot be found", "a library that exports it", "see the checks symbols.*");
  }
  std::string found;
  if (entry->magic != CM_PLUGIN_MAGIC) {
    found = "another magic number";
  } else if (entry->size < sizeof(cm_plugin_entry_v1)) {
    found = "a size of " + std::to_string(entry->size) + " bytes";
  } else if (entry->abi_min > entry->abi_built_with || entry->abi_min < CM_ABI_VERSION_1_0) {
    found = "ABI " + version_text(entry->abi_min) + " to " + version_text(entry->abi_built_with);
  } else if (entry->init == nullptr || entry->get_factory == nullptr) {
    found = "no init or no get_factory";
  } else if (entry->reserved != 0) {
    found = "something in `reserved`";
  }
  return found.empty()
             ? ok()
             : failed("the entry has " + found,
                      "CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), abi_min not above abi_built_with, init and "
                      "get_factory, reserved 0",
                      "initialise it from the macros of the header");
}

// Skips when the entry cannot be called at all.
template <typename Function>
Outcome with_entry(const Subject& subject, Function&& function) {
  const cm_plugin_entry_v1* entry = load_entry(subject);
  if (entry == nullptr || entry->magic != CM_PLUGIN_MAGIC || entry->init == nullptr || entry->get_factory == nullptr) {
    return skipped("there is no usable entry (negotiation.has_entry says why)");
  }
  return function(*entry);
}

Outcome picks_an_offered(const Subject& subject) {
  return with_entry(subject, [](const cm_plugin_entry_v1& entry) {
    const auto span = loader::offered_abi_versions();
    const std::vector<std::uint32_t> offered(span.begin(), span.end());
    const Picked picked = pick(entry, offered);
    if (picked.status == CM_OK && std::find(offered.begin(), offered.end(), picked.version) != offered.end()) {
      return ok();
    }
    return failed("init answered " + status_name(picked.status) + " and picked " +
                      (picked.version == kUntouched ? "none" : version_text(picked.version)),
                  "CM_OK and one of the versions that this host offers (" + version_text(offered.front()) + " ...)",
                  "look through the whole list and take one that you know");
  });
}

Outcome picks_from_newer_host(const Subject& subject) {
  return with_entry(subject, [](const cm_plugin_entry_v1& entry) {
    // A host of the future, which still serves what the plugin was built with.
    const std::vector<std::uint32_t> offered = {0x00030002, 0x00020000, entry.abi_built_with + 3, entry.abi_built_with};
    const Picked picked = pick(entry, offered);
    const bool offered_it = std::find(offered.begin(), offered.end(), picked.version) != offered.end();
    const bool same_major = picked.version >> 16 == entry.abi_built_with >> 16;
    if (picked.status == CM_OK && offered_it && same_major && picked.version >= entry.abi_min) {
      return ok();
    }
    return failed("a host that offers 3.2, 2.0, " + version_text(offered[2]) + " and " + version_text(offered[3]) +
                      " got " + status_name(picked.status) + " and " +
                      (picked.version == kUntouched ? "no version" : "version " + version_text(picked.version)),
                  "CM_OK and one of the last two: the plugin's major number, not older than its minimum",
                  "compare each offered version with what you can work with; do not take the first");
  });
}

Outcome refuses_older_host(const Subject& subject) {
  return with_entry(subject, [](const cm_plugin_entry_v1& entry) {
    const Picked picked = pick(entry, {0x00000009, 0x00000001});
    if (picked.status == CM_UNSUPPORTED && picked.version == kUntouched) {
      return ok();
    }
    return failed("a host that offers only 0.9 and 0.1 got " + status_name(picked.status) +
                      (picked.version == kUntouched ? "" : " and out_picked was written"),
                  "CM_UNSUPPORTED, and out_picked left alone", "answer CM_UNSUPPORTED when no offered version fits");
  });
}

Outcome refuses_other_major(const Subject& subject) {
  return with_entry(subject, [](const cm_plugin_entry_v1& entry) {
    const std::uint32_t next_major = ((entry.abi_built_with >> 16) + 1) << 16;
    const Picked picked = pick(entry, {next_major + 4, next_major});
    return picked.status == CM_UNSUPPORTED ? ok()
                                           : failed("a host that offers only " + version_text(next_major) +
                                                        " and newer got " + status_name(picked.status),
                                                    "CM_UNSUPPORTED: tables of another major number have another shape",
                                                    "accept your own major number only");
  });
}

Outcome survives_empty_offer(const Subject& subject) {
  return with_entry(subject, [](const cm_plugin_entry_v1& entry) {
    const Picked picked = pick(entry, {});
    return picked.status != CM_OK && picked.version == kUntouched
               ? ok()
               : failed("an empty list got " + status_name(picked.status), "CM_UNSUPPORTED, without reading the list",
                        "look at offered_count before you read offered_versions");
  });
}

Outcome has_factory(const Subject& subject) {
  return with_entry(subject, [](const cm_plugin_entry_v1& entry) {
    const auto offered = loader::offered_abi_versions();
    pick(entry, {offered.begin(), offered.end()});
    progress("get_factory(\"cm.factory/1\")");
    const auto* factory = static_cast<const cm_factory_v1*>(entry.get_factory(CM_FACTORY_ID));
    if (factory == nullptr || factory->size < sizeof(cm_factory_v1) || factory->create == nullptr) {
      return failed("no usable factory \"" CM_FACTORY_ID "\"", "one whose size covers create",
                    "answer a cm_factory_v1 for this id");
    }
    for (const char* id : {"cm.factory/2", "cm.factory/", "", "check.unknown/1"}) {
      progress("get_factory(\"" + std::string(id) + "\")");
      if (entry.get_factory(id) != nullptr) {
        return failed("get_factory(\"" + std::string(id) + "\") answered something", "null for ids that are not known",
                      "compare the whole id");
      }
    }
    return ok();
  });
}

// --- tables of other hosts -------------------------------------------------------------------------------------------

std::vector<sim::HostTableInfo> wanted_tables(const Subject& subject) {
  std::vector<sim::HostTableInfo> wanted;
  for (const sim::HostTableInfo& table : sim::host_tables()) {
    const auto& asked = subject.manifest->host_tables;
    if (std::find(asked.begin(), asked.end(), table.id) != asked.end()) {
      wanted.push_back(table);
    }
  }
  return wanted;
}

// One life with a changed table. It may be refused, with a text; it may not break a rule, and leaves nothing.
Outcome live_with(const Subject& subject, const std::string& situation, std::function<void(sim::HostProbe&)> set_up) {
  progress(situation);
  BenchOptions options;
  options.probe = std::move(set_up);
  Bench bench(subject, std::move(options));
  if (bench.bring_up()) {
    exercise(bench, {.quiet_ms = 1'000});
  } else if (bench.problem().find("without a text") != std::string::npos) {
    return failed(situation + ": " + bench.problem(), "a refusal that names what is missing",
                  "call set_error before the failing status is returned");
  }
  bench.end();
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach == sim::Breach::kBehindSize) {
      return failed(situation + ": " + note.text, "no call of a function that the size does not cover",
                    "ask CM_HAS_FUNCTION(table, type, function) before the call");
    }
  }
  return ok();
}

Outcome works_with_longer_tables(const Subject& subject) {
  const auto tables = wanted_tables(subject);
  const std::string situation = "every table has three functions more than this revision knows";
  progress(situation);
  BenchOptions options;
  options.probe = [&tables](sim::HostProbe& probe) {
    for (const sim::HostTableInfo& table : tables) {
      probe.extend(table.id, 3);
    }
  };
  {
    Bench plain(subject);
    if (!plain.bring_up()) {
      return plain.could_not("start");
    }
    plain.end();
  }
  Bench bench(subject, std::move(options));
  if (!bench.bring_up()) {
    return failed(situation + ": " + bench.problem(), "it works as with the tables that it knows",
                  "accept tables that are longer than yours: their beginning never changes");
  }
  bench.end();
  return ok();
}

Outcome survives_shorter_tables(const Subject& subject) {
  for (const sim::HostTableInfo& table : wanted_tables(subject)) {
    // The last function is missing; then all are.
    for (const std::uint32_t size : {table.size - 8U, 8U}) {
      const std::string situation =
          "a host whose " + std::string(table.id) + " has only " + std::to_string(size) + " bytes";
      Outcome outcome = live_with(subject, situation, [&](sim::HostProbe& probe) { probe.truncate(table.id, size); });
      if (outcome.verdict == Verdict::kFailed) {
        return outcome;
      }
    }
  }
  return ok();
}

Outcome looks_at_sizes(const Subject& subject) {
  const auto tables = wanted_tables(subject);
  return live_with(subject, "a host with tables of exactly this revision", [&](sim::HostProbe& probe) {
    for (const sim::HostTableInfo& table : tables) {
      probe.set_traps_behind(table.id, 4);
    }
  });
}

Outcome survives_missing_tables(const Subject& subject) {
  for (const sim::HostTableInfo& table : wanted_tables(subject)) {
    Outcome outcome = live_with(subject, "a host that does not give " + std::string(table.id),
                                [&](sim::HostProbe& probe) { probe.withhold(table.id); });
    if (outcome.verdict == Verdict::kFailed) {
      return outcome;
    }
  }
  return live_with(subject, "a host that gives no table at all", [](sim::HostProbe& probe) {
    for (const sim::HostTableInfo& table : sim::host_tables()) {
      probe.withhold(table.id);
    }
  });
}

constexpr Check kChecks[] = {
    {"negotiation.has_entry", 2, "The entry has the right magic, size and versions.", has_entry, {}, 0, false},
    {"negotiation.picks_an_offered",
     4,
     "`init` picks one of the versions that the host offers.",
     picks_an_offered,
     {},
     0,
     false},
    {"negotiation.picks_from_newer_host",
     4,
     "Of a newer host's versions it picks one that it can work with.",
     picks_from_newer_host,
     {},
     0,
     false},
    {"negotiation.refuses_older_host",
     4,
     "It refuses a host that serves only older versions than its minimum.",
     refuses_older_host,
     {},
     0,
     false},
    {"negotiation.refuses_other_major",
     4,
     "It refuses a host that serves another major version only.",
     refuses_other_major,
     {},
     0,
     false},
    {"negotiation.survives_empty_offer",
     4,
     "It refuses an empty list without reading it.",
     survives_empty_offer,
     {},
     0,
     false},
    {"negotiation.has_factory",
     5,
     "It answers its factory for the right id, and null for others.",
     has_factory,
     {},
     0,
     false},
    {"negotiation.works_with_longer_tables", 4, "It works with tables that have become longer.",
     works_with_longer_tables},
    {"negotiation.survives_shorter_tables", 4, "It works with, or refuses in words, tables that are shorter.",
     survives_shorter_tables},
    {"negotiation.looks_at_sizes", 4, "It calls nothing that a table's size does not cover.", looks_at_sizes},
    {"negotiation.survives_missing_tables", 5, "It works without, or refuses in words, each table that is not granted.",
     survives_missing_tables},
};

}  // namespace

std::span<const Check> negotiation_checks() {
  return kChecks;
}

}  // namespace cm::checker
