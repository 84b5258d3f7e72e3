// A consistent copy of the database while works go on.
//
// The copy reads through a connection and a snapshot of its own, a few pages per worker job, so that the reads on the
// same queue are not held up. It is written to PATH.partial, synced, and gets its name last: PATH is either complete or
// not there.
#pragma once

#include <claudemesh/ext/storage.h>

#include <atomic>
#include <memory>
#include <string>

#include <claudemesh/cpp/host.hpp>

#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/src/in_flight.hpp"

namespace cm::storage {

class Backup {
 public:
  struct Request {
    cm_handle caller = CM_NO_HANDLE;
    std::string path;
    cm_storage_done done = nullptr;
    void* user = nullptr;
  };

  // Starts it on `queue`; it owns itself from here. `in_flight` has been entered for it, and is left after the answer.
  // `cancelled` ends it early with CM_BUSY. Everything referred to must outlive it. CM_BUSY: the host takes no more
  // jobs; the caller leaves `in_flight`. [any]
  static cm_status start(const HostApi& host, cm_handle queue, const StatementRegistry& registry,
                         const StorageOptions& options, InFlight& in_flight, const std::atomic<bool>& cancelled,
                         Request request);
  ~Backup();
  Backup(const Backup&) = delete;
  Backup& operator=(const Backup&) = delete;

 private:
  Backup(const HostApi& host, cm_handle queue, const StatementRegistry& registry, const StorageOptions& options,
         InFlight& in_flight, const std::atomic<bool>& cancelled, Request request);

  static void run_job(void* user) noexcept;
  // True when there is more to copy.
  Result<bool> step();
  Status begin();
  Status reserve_target();
  Status finish();
  Error target_error(std::string_view action, int code) const;
  void discard_target() noexcept;
  void close_target() noexcept;
  bool on_system_files() const noexcept { return options_.vfs.empty(); }

  const HostApi& host_;
  const cm_handle queue_;
  const StorageOptions& options_;
  InFlight& in_flight_;
  const std::atomic<bool>& cancelled_;
  const Request request_;
  const std::string partial_path_;
  Connection source_;
  sqlite3* target_ = nullptr;
  sqlite3_backup* copy_ = nullptr;
  bool reserved_ = false;  // partial_path_ is ours to delete
  std::uint64_t started_us_ = 0;
};

}  // namespace cm::storage
