// What waits for the writer. Producers on any thread; one consumer at a time.
#pragma once

#include <claudemesh/ext/storage.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace cm::storage {

class Connection;

// Something that needs the writer's connection outside of any transaction: a migration, a checkpoint, the end.
using WriterTask = std::function<void(Connection&)>;

struct WorkItem {
  cm_handle caller = CM_NO_HANDLE;
  cm_storage_work work = nullptr;
  cm_storage_done done = nullptr;
  void* user = nullptr;
  std::unique_ptr<WriterTask> task;  // instead of the four above
};

// The consumer is a worker job that exists only while there is work: the producer that finds none running starts it
// (`schedule`), and it ends when the queue is empty. So no thread ever waits for another.
class WorkQueue {
 public:
  enum class Push { kAccepted, kFull, kRefused };

  // kFull: `limit` items are waiting (tasks pass that limit). kRefused: `schedule()` was needed and answered false; the
  // item is not in the queue. `schedule` runs under the queue's lock and must not run the consumer itself.
  template <typename Schedule>
  Push push(WorkItem item, std::size_t limit, Schedule&& schedule) {
    const std::lock_guard lock(mutex_);
    if (!item.task && depth_.load(std::memory_order_relaxed) >= limit) {
      return Push::kFull;
    }
    if (!scheduled_) {
      if (!schedule()) {
        return Push::kRefused;
      }
      scheduled_ = true;
    }
    incoming_.push_back(std::move(item));
    depth_.fetch_add(1, std::memory_order_relaxed);
    return Push::kAccepted;
  }

  // The next item without taking it, or null; the consumer goes on. Consumer only.
  WorkItem* peek() { return next_ < current_.size() || refill(false) ? &current_[next_] : nullptr; }
  // As peek, but null ends the consumer: the next push schedules a new one.
  WorkItem* peek_or_end() { return next_ < current_.size() || refill(true) ? &current_[next_] : nullptr; }
  WorkItem take() {
    depth_.fetch_sub(1, std::memory_order_relaxed);
    return std::move(current_[next_++]);
  }
  std::size_t depth() const noexcept { return depth_.load(std::memory_order_relaxed); }

 private:
  bool refill(bool end_if_empty) {
    current_.clear();
    next_ = 0;
    const std::lock_guard lock(mutex_);
    std::swap(current_, incoming_);
    if (current_.empty() && end_if_empty) {
      scheduled_ = false;
    }
    return !current_.empty();
  }

  std::mutex mutex_;
  std::vector<WorkItem> incoming_;
  bool scheduled_ = false;
  std::atomic<std::size_t> depth_ = 0;
  std::vector<WorkItem> current_;  // consumer only
  std::size_t next_ = 0;           // consumer only
};

}  // namespace cm::storage
