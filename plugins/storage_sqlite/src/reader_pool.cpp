#include "plugins/storage_sqlite/src/reader_pool.hpp"

namespace cm::storage {
namespace {

// After so many reads a reader lets other jobs of its queue run (the steps of a backup).
constexpr int kReadsPerJobMax = 32;

}  // namespace

ReaderPool::ReaderPool(const HostApi& host, const StatementRegistry& registry, const StorageOptions& options,
                       const Metrics& metrics, Health& health, InFlight& in_flight)
    : host_(host),
      registry_(registry),
      options_(options),
      metrics_(metrics),
      in_flight_(in_flight),
      queue_max_(options.live.queue_max) {
  for (int i = 0; i < options.readers; ++i) {
    readers_.push_back(std::make_unique<Reader>(*this, host, registry, options, health));
  }
}

Status ReaderPool::open() {
  for (const auto& reader : readers_) {
    if (Status opened = reader->connection.open(); !opened) {
      return opened;
    }
  }
  return {};
}

void ReaderPool::bind(const std::vector<cm_handle>& queues) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < readers_.size(); ++i) {
    readers_[i]->queue = queues[i];
  }
  bound_ = true;
}

// Under the mutex.
bool ReaderPool::schedule(Reader& reader) {
  reader.scheduled = host_.worker_table()->submit(host_.self(), reader.queue, &ReaderPool::run_job, &reader) == CM_OK;
  return reader.scheduled;
}

cm_status ReaderPool::submit(cm_handle caller, cm_storage_work work, cm_storage_done done, void* user) {
  if (!in_flight_.enter()) {
    return CM_GONE;
  }
  bool accepted = false;
  {
    const std::lock_guard lock(mutex_);
    if (bound_ && items_.size() < queue_max_.load(std::memory_order_relaxed)) {
      bool someone = false;
      for (const auto& reader : readers_) {
        if (!reader->scheduled) {
          someone = schedule(*reader) || someone;
          break;
        }
        someone = true;
      }
      if (someone) {
        items_.push_back(Item{caller, work, done, user});
        accepted = true;
      }
    }
  }
  if (!accepted) {
    in_flight_.leave();
    metrics_.queue_full.add();
    return CM_BUSY;
  }
  return CM_OK;
}

void ReaderPool::abandon() noexcept {
  abandoned_.store(true, std::memory_order_release);
  for (const auto& reader : readers_) {
    reader->connection.interrupt();
  }
}

void ReaderPool::run_job(void* user) noexcept {
  auto* reader = static_cast<Reader*>(user);
  reader->pool.run(*reader);
}

// False ends the job; the next submit starts a new one.
bool ReaderPool::next(Reader& reader, Item* out) {
  const std::lock_guard lock(mutex_);
  if (items_.empty()) {
    reader.scheduled = false;
    return false;
  }
  *out = items_.front();
  items_.pop_front();
  return true;
}

void ReaderPool::run(Reader& reader) {
  Item item;
  for (int done = 0; next(reader, &item); ++done) {
    send_completion(host_, item.caller, run_read(reader, item));
    in_flight_.leave();
    if (done + 1 >= kReadsPerJobMax) {
      const std::lock_guard lock(mutex_);
      if (schedule(reader)) {
        return;
      }
      reader.scheduled = true;  // the host takes no more jobs: go on here
      done = 0;
    }
  }
}

Completion ReaderPool::run_read(Reader& reader, const Item& item) {
  if (abandoned_.load(std::memory_order_acquire)) {
    return Completion{item.done, item.user, CM_BUSY,
                      "the storage is stopping and has not run this read; repeat it after the restart"};
  }
  metrics_.reads.add();
  if (Status opened = reader.connection.open(); !opened) {
    return Completion{item.done, item.user, status_from_error(opened.error()), opened.error().message};
  }
  int code = reader.connection.control(Connection::Control::kBegin);
  if (code != SQLITE_OK) {
    const Error failure = reader.connection.error("beginning a read", code);
    reader.connection.close();
    return Completion{item.done, item.user, status_from_error(failure), failure.message};
  }
  const std::uint64_t started_us = host_.monotonic_us();
  const Transaction::Outcome outcome = reader.transaction.run(item.work, item.user, started_us);
  if (outcome.ended_us - started_us >= options_.slow_work_ms * 1'000) {
    metrics_.slow_works.add();
    host_.log(LogLevel::kWarn, "a read was slow; shorten it or add an index",
              {LogField("took_ms", (outcome.ended_us - started_us) / 1'000),
               LogField("slowest_statement", statement_excerpt(registry_.text(reader.transaction.slowest())))});
  }
  code = reader.connection.in_transaction() ? reader.connection.control(Connection::Control::kRollback) : SQLITE_OK;
  if (code != SQLITE_OK) {
    reader.connection.close();  // the next read opens it again
  }
  std::string text = outcome.status == CM_OK ? std::string() : reader.transaction.take_error();
  return Completion{item.done, item.user, outcome.status, std::move(text)};
}

}  // namespace cm::storage
