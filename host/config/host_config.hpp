// The configuration of one host: a TOML file, its includes, the environment and the manifests of the plugins, checked
// against each other. Nothing is started, loaded or written here. All functions: control thread (they read files).
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/config/environment.hpp"
#include "host/config/manifest.hpp"
#include "host/config/values.hpp"

namespace cm::config {

inline constexpr std::size_t kConfigBytesMax = 1024 * 1024;  // of one file
inline constexpr std::size_t kIncludeDepthMax = 8;
inline constexpr std::size_t kConfigFilesMax = 32;
inline constexpr std::size_t kInstancesMax = 256;
inline constexpr std::size_t kProblemsMax = 20;  // reported at once
inline constexpr std::size_t kSecretFileBytesMax = 64 * 1024;

// One complaint, or one note. `text`: found, expected, next step.
struct Problem {
  SourceLocation where;
  std::string text;

  std::string line() const;  // "broker.toml:12:5: text"
};

// [host]
struct HostSettings {
  std::uint32_t threads = 1;  // loops
  std::uint32_t workers = 4;  // threads of the shared worker pool
  std::filesystem::path data_dir;
  std::vector<std::filesystem::path> plugin_path;
  std::uint64_t start_timeout_ms = 0;
  std::uint64_t drain_timeout_ms = 0;
  std::uint64_t reload_timeout_ms = 0;
  bool safe_mode = false;
  ValidatedOptions options;  // the same values by name
};

enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kCritical };  // as CM_LOG_*
enum class LogFormat : std::uint8_t { kText, kJson };

// [log] and [log.levels]
struct LogSettings {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  std::filesystem::path file;                           // empty: standard error
  std::map<std::string, LogLevel, std::less<>> levels;  // by instance name; "host" for the host itself
  ValidatedOptions options;

  LogLevel level_of(std::string_view instance) const noexcept;
};

// [ops]
struct OpsSettings {
  std::string listen;  // address of /healthz, /readyz, /metrics; empty: off
  ValidatedOptions options;
};

// A file or folder that a plugin in a process of its own may open, and for a folder all beneath it.
struct FileGrant {
  std::filesystem::path path;  // absolute
  bool write = false;          // also to write, make, move and remove; otherwise to read
  std::string key;             // that grants it: "isolation_write", or an option of the plugin; empty: the host itself

  friend bool operator==(const FileGrant&, const FileGrant&) = default;
};

// The keys isolation and isolation_* of [plugins.NAME].
struct IsolationSettings {
  bool process = false;  // in a runner child of its own
  std::uint64_t memory_bytes_max = 256u << 20;
  std::uint64_t file_bytes_max = 1u << 30;
  std::uint32_t descriptors_max = 64;
  std::uint32_t cpu_seconds_max = 0;  // in each minute; 0: no limit
  bool network = false;
  std::uint64_t hang_timeout_ms = 5'000;
  std::uint32_t failures_max = 5;
  std::uint64_t failure_window_ms = 600'000;
  std::uint64_t restart_delay_ms = 200;
  std::vector<FileGrant> files;  // of isolation_read, isolation_write and the plugin's own options that name paths

  friend bool operator==(const IsolationSettings&, const IsolationSettings&) = default;
};

// [plugins.NAME]
struct InstanceConfig {
  std::string name;
  std::string sha256;                        // pin, checked again when the library is loaded
  std::shared_ptr<const Manifest> manifest;  // never null
  std::vector<std::string> permissions;      // host tables granted: without the key, all that the manifest asks for
  std::optional<std::uint32_t> loop;         // explicit loop index, the same for a whole loop group
  std::size_t loop_group = 0;                // instances with equal numbers must share one loop
  IsolationSettings isolation;
  ValidatedOptions options;
  std::vector<std::string> depends_on;  // instances that its plugin options name, without doubles
  SourceLocation where;

  bool granted(std::string_view host_table) const noexcept;
};

struct HostConfig {
  std::filesystem::path file;
  HostSettings host;
  LogSettings log;
  OpsSettings ops;
  std::vector<InstanceConfig> instances;  // enabled ones in start order: a dependency stands before its users
  std::size_t loop_group_count = 0;
  std::vector<std::string> disabled;  // names of instances with enabled = false
  std::vector<Problem> warnings;      // deprecated options, overridden keys

  const InstanceConfig* find(std::string_view instance) const noexcept;
};

struct LoadRequest {
  std::filesystem::path file;
  std::optional<std::string> text;  // instead of reading `file` (whose folder still anchors relative paths)
  bool safe_mode = false;           // forces [host] safe_mode
};

// Either a configuration, or problems sorted by file and position (never both).
struct LoadReport {
  std::optional<HostConfig> config;
  std::vector<Problem> problems;
  std::size_t problems_left_out = 0;  // beyond kProblemsMax
};
LoadReport load_config_report(const LoadRequest& request, const Environment& environment, ManifestSource& manifests);

// The same, with all problems in one error text, one per line. kInvalid.
Result<HostConfig> load_config(const std::filesystem::path& file, const Environment& environment,
                               ManifestSource& manifests);

// What a reload has to do, by instance name. The lists are disjoint.
struct ConfigDiff {
  std::vector<std::string> removed;    // reverse start order of the old configuration
  std::vector<std::string> added;      // start order of the new configuration
  std::vector<std::string> restarted;  // start order of the new configuration; includes users of a restarted instance
  std::vector<std::string> reconfigured;  // only reloadable options differ; start order
  std::vector<std::string> host_keys;     // keys of [host] and [ops] that need a new process, "host.threads"
  bool log_changed = false;

  bool empty() const noexcept {
    return removed.empty() && added.empty() && restarted.empty() && reconfigured.empty() && host_keys.empty() &&
           !log_changed;
  }
};
ConfigDiff diff_configs(const HostConfig& before, const HostConfig& after);

// The host's own tables as data; documents are generated from it.
struct SectionSpec {
  std::string name;  // "host"
  std::string doc;
  std::vector<OptionSpec> options;
};
const std::vector<SectionSpec>& host_sections();
// Keys of [plugins.NAME] that belong to the host.
const SectionSpec& instance_section();

}  // namespace cm::config
