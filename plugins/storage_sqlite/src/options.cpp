#include "plugins/storage_sqlite/src/options.hpp"

#include <bit>

namespace cm::storage {

LiveOptions read_live_options(const HostApi& host, std::uint32_t which) {
  LiveOptions live;
  live.queue_max = static_cast<std::size_t>(host.option_int("queue_max", which));
  live.batch_max = static_cast<std::size_t>(host.option_int("batch_max", which));
  live.batch_time_max_ms = static_cast<std::uint64_t>(host.option_int("batch_time_max", which));
  live.wal_checkpoint_pages = static_cast<int>(host.option_int("wal_autocheckpoint", which));
  return live;
}

Result<StorageOptions> read_options(const HostApi& host) {
  StorageOptions options;
  options.path = host.option_text("path");
  options.vfs = host.option_text("vfs");
  options.readers = static_cast<int>(host.option_int("readers"));
  options.live = read_live_options(host, CM_CONFIG_ACTIVE);
  options.busy_timeout_ms = static_cast<int>(host.option_int("busy_timeout"));
  options.synchronous = host.option_text("synchronous") == "extra" ? Synchronous::kExtra : Synchronous::kFull;
  const std::string check = host.option_text("integrity_check");
  options.integrity_check = check == "off"    ? IntegrityCheck::kOff
                            : check == "full" ? IntegrityCheck::kFull
                                              : IntegrityCheck::kQuick;
  options.self_check = host.option_bool("self_check");
  options.page_size_bytes = host.option_int("page_size");
  options.cache_size_bytes = host.option_int("cache_size");
  options.reader_cache_size_bytes = host.option_int("reader_cache_size");
  options.wal_truncate_size_bytes = host.option_int("wal_truncate_size");
  options.idle_after_ms = static_cast<std::uint64_t>(host.option_int("idle_after"));
  options.read_only_grace_ms = static_cast<std::uint64_t>(host.option_int("read_only_grace"));
  options.slow_work_ms = static_cast<std::uint64_t>(host.option_int("slow_work"));
  options.stuck_work_ms = static_cast<std::uint64_t>(host.option_int("stuck_work"));
  options.backup_step_pages = static_cast<int>(host.option_int("backup_step"));
  if (options.path.empty()) {
    return make_error(ErrorCode::kInvalid,
                      "option path is empty; the name of the database file was expected; set path = \"...\"");
  }
  if (!std::has_single_bit(static_cast<std::uint64_t>(options.page_size_bytes))) {
    return make_error(ErrorCode::kInvalid, "option page_size is " + std::to_string(options.page_size_bytes) +
                                               "; a power of two between 512 and 65536 was expected; use 4KiB");
  }
  return options;
}

}  // namespace cm::storage
