// One check of a plugin: what it is called, which rule it stands for, to whom it applies, and how it is done. A check
// runs in a process of its own, so it may leave anything behind and may crash; what it found is its return value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/config/manifest.hpp"
#include "sdk/checker/check_config.hpp"

namespace cm::checker {

enum class Verdict : std::uint8_t { kOk, kFailed, kSkipped };

// `found` of a skipped check is the reason why it does not apply.
struct Outcome {
  Verdict verdict = Verdict::kOk;
  std::string found;
  std::string expected;
  std::string remedy;
};

Outcome ok();
Outcome skipped(std::string reason);
Outcome failed(std::string found, std::string expected, std::string remedy);

// The plugin under test.
struct Subject {
  std::filesystem::path file;                // absolute
  std::optional<config::Manifest> manifest;  // none: it could not be read
  std::string manifest_error;
  CheckConfig config;
  std::uint64_t seed = 1;

  bool provides(std::string_view extension_id) const noexcept;
};

struct Check {
  std::string_view name;  // "group.what_must_hold"
  std::uint32_t rule;     // of docs/plugin-rules, 1 to 20
  std::string_view says;  // one sentence: what a plugin that passes does
  Outcome (*run)(const Subject& subject);
  std::string_view extension = {};  // only for plugins that provide it
  std::uint32_t time_limit_ms = 0;  // 0: the runner's
  bool needs_manifest = true;       // without one the check is skipped
};

// All checks, group by group, in the order in which they are shown.
std::span<const Check> all_checks();
const Check* find_check(std::string_view name);

// One group each; all_checks joins them.
std::span<const Check> symbols_checks();
std::span<const Check> manifest_checks();
std::span<const Check> negotiation_checks();
std::span<const Check> lifecycle_checks();
std::span<const Check> configuration_checks();
std::span<const Check> threads_checks();
std::span<const Check> handles_checks();
std::span<const Check> leaks_checks();
std::span<const Check> fault_checks();
std::span<const Check> network_checks();
std::span<const Check> hook_checks();
std::span<const Check> transport_checks();
std::span<const Check> storage_checks();
std::span<const Check> bridge_checks();

// Tells the parent process what is going on, so that a crash or a hang has a place. Cheap; the last one counts.
void progress(std::string_view text);
// Where `progress` writes: a pipe, or nothing (-1).
void set_progress_fd(int fd);

}  // namespace cm::checker
