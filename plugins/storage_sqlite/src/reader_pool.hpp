// Reads on several connections. Each read is a transaction of its own, begun after the read was submitted, so it sees
// every write that was reported done before that.
#pragma once

#include <claudemesh/ext/storage.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include <claudemesh/cpp/host.hpp>

#include "plugins/storage_sqlite/src/completion.hpp"
#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/src/health.hpp"
#include "plugins/storage_sqlite/src/in_flight.hpp"
#include "plugins/storage_sqlite/src/metrics.hpp"
#include "plugins/storage_sqlite/src/transaction.hpp"
#include "plugins/storage_sqlite/src/work_watch.hpp"

namespace cm::storage {

class ReaderPool {
 public:
  // Everything referred to must outlive the pool.
  ReaderPool(const HostApi& host, const StatementRegistry& registry, const StorageOptions& options,
             const Metrics& metrics, Health& health, InFlight& in_flight);

  // Opens every connection, so that the shared memory of the log outlives a writer that is opened again. [worker]
  Status open();
  // From here on reads are taken. One worker queue per reader. [loop]
  void bind(const std::vector<cm_handle>& queues);
  void apply(const LiveOptions& live) noexcept { queue_max_.store(live.queue_max, std::memory_order_relaxed); }

  // CM_OK: `done` comes. CM_BUSY: the queue is full. CM_GONE: draining. [any]
  cm_status submit(cm_handle caller, cm_storage_work work, cm_storage_done done, void* user);
  // What is still queued is answered with CM_BUSY instead of run; what runs is interrupted. [any]
  void abandon() noexcept;
  // Closes the connection of one reader; on its queue, as its last job.
  void close(std::size_t index) noexcept { readers_[index]->connection.close(); }

  std::size_t size() const noexcept { return readers_.size(); }
  WorkWatch& watch(std::size_t index) noexcept { return readers_[index]->watch; }
  Connection& connection(std::size_t index) noexcept { return readers_[index]->connection; }

 private:
  struct Item {
    cm_handle caller;
    cm_storage_work work;
    cm_storage_done done;
    void* user;
  };
  struct Reader {
    Reader(ReaderPool& owner, const HostApi& host, const StatementRegistry& registry, const StorageOptions& options,
           Health& health)
        : pool(owner),
          connection(registry, connection_settings(options, Access::kReader)),
          transaction(host, connection, health, watch) {}
    ReaderPool& pool;
    cm_handle queue = CM_NO_HANDLE;
    bool scheduled = false;  // under the pool's mutex
    Connection connection;
    WorkWatch watch;
    Transaction transaction;
  };

  static void run_job(void* user) noexcept;
  bool schedule(Reader& reader);
  void run(Reader& reader);
  bool next(Reader& reader, Item* out);
  Completion run_read(Reader& reader, const Item& item);

  const HostApi& host_;
  const StatementRegistry& registry_;
  const StorageOptions& options_;
  const Metrics& metrics_;
  InFlight& in_flight_;
  std::atomic<std::size_t> queue_max_;
  std::atomic<bool> abandoned_ = false;
  std::mutex mutex_;
  std::deque<Item> items_;
  bool bound_ = false;
  std::vector<std::unique_ptr<Reader>> readers_;
};

}  // namespace cm::storage
