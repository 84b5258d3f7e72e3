// The configured options of one storage instance (plugin.toml describes each).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <claudemesh/cpp/host.hpp>

namespace cm::storage {

enum class Synchronous { kFull, kExtra };
enum class IntegrityCheck { kOff, kQuick, kFull };

// What may change while the instance runs.
struct LiveOptions {
  std::size_t queue_max = 65'536;
  std::size_t batch_max = 512;
  std::uint64_t batch_time_max_ms = 20;
  int wal_checkpoint_pages = 8'000;
};

struct StorageOptions {
  std::string path;
  std::string vfs;  // empty: the system's
  int readers = 2;
  LiveOptions live;
  int busy_timeout_ms = 5'000;
  Synchronous synchronous = Synchronous::kFull;
  IntegrityCheck integrity_check = IntegrityCheck::kQuick;
  bool self_check = true;
  std::int64_t page_size_bytes = 4'096;
  std::int64_t cache_size_bytes = 16 * 1'024 * 1'024;
  std::int64_t reader_cache_size_bytes = 4 * 1'024 * 1'024;
  std::int64_t wal_truncate_size_bytes = 64 * 1'024 * 1'024;
  std::uint64_t idle_after_ms = 5'000;
  std::uint64_t read_only_grace_ms = 2'000;
  std::uint64_t slow_work_ms = 100;
  std::uint64_t stuck_work_ms = 5'000;
  int backup_step_pages = 256;
};

// Reads the active options. kInvalid when a value passes the schema but cannot be used. [loop]
Result<StorageOptions> read_options(const HostApi& host);
// `which` is CM_CONFIG_ACTIVE or CM_CONFIG_CANDIDATE. [loop]
LiveOptions read_live_options(const HostApi& host, std::uint32_t which);

}  // namespace cm::storage
