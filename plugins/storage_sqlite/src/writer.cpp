#include "plugins/storage_sqlite/src/writer.hpp"

#include "plugins/storage_sqlite/src/sqlite_error.hpp"

namespace cm::storage {

Writer::Writer(const HostApi& host, const StatementRegistry& registry, const StorageOptions& options,
               const Metrics& metrics, Health& health, InFlight& in_flight)
    : host_(host),
      registry_(registry),
      options_(options),
      metrics_(metrics),
      health_(health),
      in_flight_(in_flight),
      connection_(registry, connection_settings(options, Access::kWriter)),
      transaction_(host, connection_, health, watch_) {
  apply(options.live);
}

void Writer::apply(const LiveOptions& live) noexcept {
  queue_max_.store(live.queue_max, std::memory_order_relaxed);
  batch_max_.store(live.batch_max, std::memory_order_relaxed);
  batch_time_max_us_.store(live.batch_time_max_ms * 1'000, std::memory_order_relaxed);
  checkpoint_pages_.store(live.wal_checkpoint_pages, std::memory_order_relaxed);
}

cm_status Writer::push(WorkItem item) {
  const cm_handle queue = queue_.load(std::memory_order_acquire);
  if (queue == CM_NO_HANDLE) {
    return CM_BUSY;
  }
  const auto schedule = [this, queue] {
    return host_.worker_table()->submit(host_.self(), queue, &Writer::run_job, this) == CM_OK;
  };
  const std::size_t limit = queue_max_.load(std::memory_order_relaxed);
  return works_.push(std::move(item), limit, schedule) == WorkQueue::Push::kAccepted ? CM_OK : CM_BUSY;
}

cm_status Writer::submit(cm_handle caller, cm_storage_work work, cm_storage_done done, void* user) {
  if (!in_flight_.enter()) {
    return CM_GONE;
  }
  const cm_status status = push(WorkItem{caller, work, done, user, nullptr});
  if (status != CM_OK) {
    in_flight_.leave();
    metrics_.queue_full.add();
  }
  return status;
}

cm_status Writer::submit_task(WriterTask task) {
  return push(WorkItem{CM_NO_HANDLE, nullptr, nullptr, nullptr, std::make_unique<WriterTask>(std::move(task))});
}

void Writer::abandon() noexcept {
  abandoned_.store(true, std::memory_order_release);
  connection_.interrupt();
}

void Writer::run_job(void* user) noexcept {
  static_cast<Writer*>(user)->run();
}

void Writer::run() {
  while (WorkItem* item = works_.peek_or_end()) {
    if (item->task) {
      const WorkItem taken = works_.take();
      (*taken.task)(connection_);
    } else {
      run_batch();
    }
  }
}

// Works that arrive while the batch runs join it: it ends when the queue is empty, full batches or late ones excepted.
void Writer::run_batch() {
  now_us_ = host_.monotonic_us();
  const std::uint64_t limit_us = now_us_ + batch_time_max_us_.load(std::memory_order_relaxed);
  const std::size_t batch_max = batch_max_.load(std::memory_order_relaxed);
  metrics_.queue_depth.set(static_cast<std::int64_t>(works_.depth()));
  refused_.reset();
  while (answers_.size() < batch_max && (now_us_ < limit_us || refused_)) {
    const WorkItem* item = works_.peek();
    if (item == nullptr || item->task) {
      break;
    }
    run_work(works_.take());
  }
  commit();
  send_answers();
  metrics_.queue_depth.set(static_cast<std::int64_t>(works_.depth()));
  if (connection_.wal_pages() >= checkpoint_after_pages_ + checkpoint_pages_.load(std::memory_order_relaxed)) {
    checkpoint(SQLITE_CHECKPOINT_PASSIVE);
  }
}

void Writer::run_work(WorkItem item) {
  if (abandoned_.load(std::memory_order_acquire)) {
    answer(item, CM_BUSY, "the storage is stopping and has not run this work; repeat it after the restart");
    return;
  }
  if (health_.degraded()) {
    answer(item, CM_IO, health_.degraded_text());
    return;
  }
  Error error;
  if (!ensure_transaction(&error)) {
    answer(item, status_from_error(error), std::move(error.message));
    return;
  }
  // The first work that a transaction keeps needs no savepoint: nothing is lost when all of it is rolled back.
  const bool savepoint = !kept_.empty();
  if (savepoint) {
    const int code = connection_.control(Connection::Control::kSavepoint);
    if (code != SQLITE_OK) {
      Error failure = connection_.error("opening a savepoint", code);
      answer(item, status_from_error(failure), std::move(failure.message));
      return;
    }
  }
  const std::uint64_t started_us = now_us_;
  const Transaction::Outcome outcome = transaction_.run(item.work, item.user, started_us);
  now_us_ = outcome.ended_us;
  if (now_us_ - started_us >= options_.slow_work_ms * 1'000) {
    report_slow(transaction_, now_us_ - started_us);
  }
  cm_status status = outcome.status;
  std::string text = status == CM_OK ? std::string() : transaction_.take_error();
  if (!connection_.in_transaction()) {
    const std::string reason =
        text.empty() ? "the database rolled the transaction back during a work; repeat the work" : text;
    lose_transaction(reason);
    answer(item, status == CM_OK ? CM_IO : status, reason);
    return;
  }
  if (status == CM_OK && connection_.foreign_keys_broken()) {
    // A deferred key would fail the commit, and with it the works of others.
    status = CM_INVALID;
    text =
        "a work left a deferred foreign key without its row; every reference was expected to hold at its end; "
        "correct the caller";
  }
  if (status != CM_OK) {
    if (!roll_back_work(savepoint)) {
      lose_transaction("a failed work could not be rolled back alone; repeat the work");
    }
    answer(item, status, std::move(text));
    return;
  }
  if (savepoint && connection_.control(Connection::Control::kRelease) != SQLITE_OK) {
    lose_transaction("a savepoint could not be released; repeat the work");
    answer(item, CM_IO, "a savepoint could not be released; repeat the work");
    return;
  }
  kept_.push_back(answers_.size());
  answer(item, CM_OK, {});
}

bool Writer::ensure_transaction(Error* error) {
  if (connection_.in_transaction()) {
    return true;
  }
  if (refused_) {
    *error = *refused_;
    return false;
  }
  Status opened = connection_.open();
  if (!opened) {
    *error = opened.error();
    refused_ = *error;
    health_.failed(SQLITE_CANTOPEN, error->message);
    return false;
  }
  const int code = connection_.control(Connection::Control::kBeginImmediate);
  if (code == SQLITE_OK) {
    return true;
  }
  *error = connection_.error("beginning a write transaction", code);
  health_.failed(code, error->message);
  refused_ = *error;  // waiting for the lock again for each work would hold up all of them
  return false;
}

bool Writer::roll_back_work(bool savepoint) {
  if (!savepoint) {
    return connection_.control(Connection::Control::kRollback) == SQLITE_OK;
  }
  return connection_.control(Connection::Control::kRollbackTo) == SQLITE_OK &&
         connection_.control(Connection::Control::kRelease) == SQLITE_OK && connection_.in_transaction();
}

// The transaction is gone, or must go: what it kept fails with it.
void Writer::lose_transaction(std::string_view reason) {
  if (connection_.in_transaction()) {
    static_cast<void>(connection_.control(Connection::Control::kRollback));
  }
  fail_kept(CM_IO, reason);
  after_disk_failure();
}

void Writer::commit() {
  if (!connection_.in_transaction()) {
    fail_kept(CM_IO, "the database rolled the transaction back before its commit; repeat the work");
    return;
  }
  if (kept_.empty()) {
    static_cast<void>(connection_.control(Connection::Control::kRollback));
    return;
  }
  const std::uint64_t started_us = host_.monotonic_us();
  const int code = connection_.control(Connection::Control::kCommit);
  const std::uint64_t ended_us = host_.monotonic_us();
  if (code != SQLITE_OK) {
    const Error failure = connection_.error("committing to " + options_.path, code);
    if (connection_.in_transaction()) {
      static_cast<void>(connection_.control(Connection::Control::kRollback));
    }
    fail_kept(status_from_error(failure), failure.message);
    health_.failed(code, failure.message);
    after_disk_failure();
    return;
  }
  health_.commit_worked();
  metrics_.commits.add();
  metrics_.batch_size.observe(kept_.size());
  metrics_.works_ok.add(static_cast<std::int64_t>(kept_.size()));
  metrics_.commit_duration_us.observe(ended_us - started_us);
  metrics_.wal_pages.set(connection_.wal_pages());
  last_commit_us_.store(ended_us, std::memory_order_relaxed);
  wal_pages_peak_.store(connection_.wal_pages_peak(), std::memory_order_relaxed);
  if (connection_.wal_pages() < checkpoint_after_pages_) {
    checkpoint_after_pages_ = 0;  // the log has begun anew
  }
  kept_.clear();
  if (ended_us - started_us >= kSlowCommitUs) {
    host_.log(LogLevel::kWarn, "a commit took long: the disk is slow or overloaded",
              {LogField("took_ms", (ended_us - started_us) / 1'000)});
  }
}

void Writer::fail_kept(cm_status status, std::string_view text) {
  for (const std::size_t index : kept_) {
    answers_[index].completion.status = status;
    answers_[index].completion.error = text;
  }
  metrics_.works_failed.add(static_cast<std::int64_t>(kept_.size()));
  kept_.clear();
}

// A connection that cannot even read the schema is given up; the next batch opens a new one.
void Writer::after_disk_failure() {
  if (health_.degraded() || !connection_.is_open()) {
    return;
  }
  if (!connection_.in_transaction() && connection_.query_text("SELECT count(*) FROM sqlite_schema").ok()) {
    return;
  }
  host_.log(LogLevel::kWarn, "the writer's connection is unusable after a disk failure and is opened again");
  connection_.close();
}

void Writer::answer(const WorkItem& item, cm_status status, std::string error) {
  if (status != CM_OK) {
    metrics_.works_failed.add();
  }
  answers_.push_back(Answer{item.caller, Completion{item.done, item.user, status, std::move(error)}});
}

void Writer::send_answers() {
  const std::size_t count = answers_.size();
  for (Answer& answer : answers_) {
    sender_.add(answer.caller, std::move(answer.completion));
  }
  answers_.clear();
  sender_.flush(host_);
  in_flight_.leave(count);
}

void Writer::report_slow(const Transaction& transaction, std::uint64_t took_us) {
  metrics_.slow_works.add();
  const std::string_view sql = registry_.text(transaction.slowest());
  host_.log(LogLevel::kWarn, "a work was slow and held up all others; shorten it or add an index",
            {LogField("took_ms", took_us / 1'000), LogField("slowest_ms", transaction.slowest_us() / 1'000),
             LogField("slowest_statement", statement_excerpt(sql))});
}

void Writer::checkpoint(int mode) {
  if (!connection_.is_open() || health_.degraded()) {
    return;
  }
  const std::uint64_t started_us = host_.monotonic_us();
  int log_pages = 0;
  int copied_pages = 0;
  const int code = connection_.checkpoint(mode, &log_pages, &copied_pages);
  metrics_.checkpoint_duration_us.observe(host_.monotonic_us() - started_us);
  if (code == SQLITE_OK && mode == SQLITE_CHECKPOINT_TRUNCATE) {
    connection_.reset_wal_pages();
    checkpoint_after_pages_ = 0;
    metrics_.wal_pages.set(0);
    wal_pages_peak_.store(0, std::memory_order_relaxed);
    return;
  }
  // A reader in an old snapshot may keep the log from beginning anew: try again only after as many pages more.
  checkpoint_after_pages_ = connection_.wal_pages();
  if (code != SQLITE_OK && classify(code) != Failure::kBusy) {
    health_.failed(code, connection_.describe("copying the write-ahead log into " + options_.path, code));
  }
}

}  // namespace cm::storage
