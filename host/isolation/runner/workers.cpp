// cm.worker/1 in a runner child: a small pool, and a thread for each queue.
#include <pthread.h>

#include <condition_variable>

#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

constexpr std::size_t kPoolThreads = 2;
constexpr std::size_t kQueuesMax = 16;
constexpr std::size_t kJobsMax = 65'536;  // waiting in one queue

// Jobs in order, run by one or more threads. Ends when it was closed and is empty.
class JobQueue {
 public:
  JobQueue(const std::string& name, std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { main(); });
      ::pthread_setname_np(threads_.back().native_handle(), name.substr(0, 15).c_str());
    }
  }
  ~JobQueue() {
    close();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  cm_status submit(cm_callback job, void* user) {
    const std::lock_guard lock(mutex_);
    if (closed_ || jobs_.size() >= kJobsMax) {
      return closed_ ? CM_GONE : CM_BUSY;
    }
    jobs_.emplace_back(job, user);
    changed_.notify_one();
    return CM_OK;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  void main() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
      if (jobs_.empty()) {
        return;
      }
      const auto [job, user] = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      job(user);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<cm_callback, void*>> jobs_;  // guarded by mutex_
  bool closed_ = false;                             // guarded by mutex_
  std::vector<std::thread> threads_;
};

// All queues of the process; 0 is the pool.
class Workers {
 public:
  static Workers& get() {
    static Workers workers;
    return workers;
  }

  cm_status create(std::string_view name, cm_handle* out) {
    const std::lock_guard lock(mutex_);
    if (ended_ || queues_.size() >= kQueuesMax) {
      return ended_ ? CM_GONE : CM_BUSY;
    }
    const cm_handle handle = next_++;
    queues_.emplace(handle, std::make_unique<JobQueue>(std::string(name), 1));
    *out = handle;
    return CM_OK;
  }
  // The thread is joined at the end of the process' life: this call must not wait.
  cm_status close(cm_handle queue) {
    const std::lock_guard lock(mutex_);
    const auto entry = queues_.find(queue);
    if (queue == CM_WORKER_POOL || entry == queues_.end()) {
      return CM_GONE;
    }
    entry->second->close();
    closed_.push_back(std::move(entry->second));
    queues_.erase(entry);
    return CM_OK;
  }
  cm_status submit(cm_handle queue, cm_callback job, void* user) {
    const std::lock_guard lock(mutex_);
    if (ended_) {
      return CM_GONE;
    }
    if (queue == CM_WORKER_POOL && !queues_.contains(CM_WORKER_POOL)) {
      queues_.emplace(CM_WORKER_POOL, std::make_unique<JobQueue>("worker", kPoolThreads));
    }
    const auto entry = queues_.find(queue);
    return entry == queues_.end() ? CM_GONE : entry->second->submit(job, user);
  }
  void finish() {
    std::map<cm_handle, std::unique_ptr<JobQueue>> open;
    std::vector<std::unique_ptr<JobQueue>> closed;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      open.swap(queues_);
      closed.swap(closed_);
    }
  }  // the destructors wait for the jobs

 private:
  std::mutex mutex_;
  std::map<cm_handle, std::unique_ptr<JobQueue>> queues_;  // guarded by mutex_
  std::vector<std::unique_ptr<JobQueue>> closed_;          // guarded by mutex_
  cm_handle next_ = 1;                                     // guarded by mutex_
  bool ended_ = false;                                     // guarded by mutex_
};

cm_status worker_create_queue(cm_handle, cm_text_pview name, cm_handle* out) noexcept {
  if (out == nullptr || !Runtime::get().on_loop()) {
    return CM_INVALID;
  }
  return Workers::get().create(to_view(name), out);
}
cm_status worker_close_queue(cm_handle, cm_handle queue) noexcept {
  return Runtime::get().on_loop() ? Workers::get().close(queue) : CM_INVALID;
}
cm_status worker_submit(cm_handle, cm_handle queue, cm_callback job, void* user) noexcept {
  return job == nullptr ? CM_INVALID : Workers::get().submit(queue, job, user);
}
constexpr cm_worker_v1 kWorker = {sizeof(cm_worker_v1), 0, worker_create_queue, worker_close_queue, worker_submit};

}  // namespace

const void* runner_worker_table() noexcept {
  return &kWorker;
}

void finish_workers() {
  Workers::get().finish();
}

}  // namespace cm::isolation
