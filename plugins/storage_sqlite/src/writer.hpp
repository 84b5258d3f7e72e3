// The one writer: runs queued works in shared commits and answers them after the sync.
//
// Durability: an answer CM_OK leaves only after COMMIT has returned, which with synchronous=FULL is after the sync of
// the write-ahead log. A failed COMMIT fails every work of the batch; none of them has been answered before.
#pragma once

#include <claudemesh/ext/storage.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <claudemesh/cpp/host.hpp>

#include "plugins/storage_sqlite/src/completion.hpp"
#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/src/health.hpp"
#include "plugins/storage_sqlite/src/in_flight.hpp"
#include "plugins/storage_sqlite/src/metrics.hpp"
#include "plugins/storage_sqlite/src/transaction.hpp"
#include "plugins/storage_sqlite/src/work_queue.hpp"
#include "plugins/storage_sqlite/src/work_watch.hpp"

namespace cm::storage {

// Commits slower than this are logged: a disk in trouble shows here first.
inline constexpr std::uint64_t kSlowCommitUs = 1'000'000;

class Writer {
 public:
  // Everything referred to must outlive the writer.
  Writer(const HostApi& host, const StatementRegistry& registry, const StorageOptions& options, const Metrics& metrics,
         Health& health, InFlight& in_flight);

  // From here on works are taken. `queue`: a worker queue of this instance. [loop]
  void bind(cm_handle queue) noexcept { queue_.store(queue, std::memory_order_release); }
  void apply(const LiveOptions& live) noexcept;

  // CM_OK: `done` comes. CM_BUSY: the queue is full. CM_GONE: draining. [any]
  cm_status submit(cm_handle caller, cm_storage_work work, cm_storage_done done, void* user);
  // Runs `task` in its turn, between two commits. CM_BUSY when the host's worker queue is full. [any]
  cm_status submit_task(WriterTask task);
  // What is still queued is answered with CM_BUSY instead of run; what runs is interrupted. [any]
  void abandon() noexcept;

  Connection& connection() noexcept { return connection_; }
  WorkWatch& watch() noexcept { return watch_; }
  std::size_t queue_depth() const noexcept { return works_.depth(); }
  // For the idle check of the loop. [any]
  std::uint64_t last_commit_us() const noexcept { return last_commit_us_.load(std::memory_order_relaxed); }
  int wal_pages_peak() const noexcept { return wal_pages_peak_.load(std::memory_order_relaxed); }
  // On the writer's queue only (inside a task).
  void checkpoint(int mode);

 private:
  struct Answer {
    cm_handle caller;
    Completion completion;
  };

  static void run_job(void* user) noexcept;
  cm_status push(WorkItem item);
  void run();
  void run_batch();
  void run_work(WorkItem item);
  bool ensure_transaction(Error* error);
  bool roll_back_work(bool savepoint);
  void lose_transaction(std::string_view reason);
  void commit();
  void fail_kept(cm_status status, std::string_view text);
  void send_answers();
  void report_slow(const Transaction& transaction, std::uint64_t took_us);
  void after_disk_failure();
  void answer(const WorkItem& item, cm_status status, std::string error);

  const HostApi& host_;
  const StatementRegistry& registry_;
  const StorageOptions& options_;
  const Metrics& metrics_;
  Health& health_;
  InFlight& in_flight_;
  Connection connection_;
  WorkWatch watch_;
  Transaction transaction_;
  WorkQueue works_;
  CompletionSender sender_;

  std::atomic<cm_handle> queue_ = CM_NO_HANDLE;
  std::atomic<bool> abandoned_ = false;
  std::atomic<std::size_t> queue_max_;
  std::atomic<std::size_t> batch_max_;
  std::atomic<std::uint64_t> batch_time_max_us_;
  std::atomic<int> checkpoint_pages_;
  std::atomic<std::uint64_t> last_commit_us_ = 0;
  std::atomic<int> wal_pages_peak_ = 0;

  // Of the batch that runs. Answers in the order of the works; `kept_` are those that the open transaction contains.
  std::vector<Answer> answers_;
  std::vector<std::size_t> kept_;
  std::optional<Error> refused_;  // why no transaction could be begun for this batch
  std::uint64_t now_us_ = 0;
  int checkpoint_after_pages_ = 0;
};

}  // namespace cm::storage
