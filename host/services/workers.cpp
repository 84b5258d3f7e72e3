#include "host/services/workers.hpp"

#include <pthread.h>

#include "host/services/calls.hpp"
#include "host/services/instance.hpp"

namespace cm::host {

JobQueue::JobQueue(std::string name, std::uint32_t threads) : thread_count_(threads), name_(std::move(name)) {}

JobQueue::~JobQueue() {
  join();
}

Status JobQueue::submit(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_) {
      return make_error(ErrorCode::kGone, "the worker queue " + name_ + " is closed; create another one");
    }
    if (jobs_.size() >= kJobsWaitingMax) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      return make_error(ErrorCode::kBusy, std::to_string(kJobsWaitingMax) + " jobs wait in the worker queue " + name_ +
                                              ", which is the limit; submit again when some have finished");
    }
    if (threads_.size() < thread_count_) {
      const std::string name = thread_count_ == 1 ? name_ : name_ + "-" + std::to_string(threads_.size());
      threads_.emplace_back([this, name] { main(name); });
      ++threads_running_;
    }
    job.instance->jobs_outstanding.fetch_add(1, std::memory_order_relaxed);
    jobs_.push_back(job);
  }
  changed_.notify_one();
  return {};
}

void JobQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    ended_.store(threads_running_ == 0, std::memory_order_release);
  }
  changed_.notify_all();
}

void JobQueue::join() {
  close();
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

std::size_t JobQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

void JobQueue::main(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, kWorkerNameBytesMax).c_str());
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (jobs_.empty()) {
      --threads_running_;
      ended_.store(threads_running_ == 0, std::memory_order_release);
      return;
    }
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    run(job);
    finished_.fetch_add(1, std::memory_order_relaxed);
    lock.lock();
  }
}

void JobQueue::run(const Job& job) noexcept {
  enter(*job.instance, CallbackKind::kJob, [&job] { job.function(job.user); });
  if (job.instance->jobs_outstanding.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    job.instance->jobs_outstanding.notify_all();
  }
}

Status WorkerPool::submit(const Job& job) {
  if (JobQueue* ready = pool(); ready != nullptr) {
    return ready->submit(job);
  }
  const std::lock_guard lock(mutex_);
  if (closed_) {
    return make_error(ErrorCode::kGone, "the worker pool has ended; the host is stopping");
  }
  if (owned_ == nullptr) {
    owned_ = std::make_unique<JobQueue>("worker", threads_);
    pool_.store(owned_.get(), std::memory_order_release);
  }
  return owned_->submit(job);
}

void WorkerPool::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  if (JobQueue* ready = pool(); ready != nullptr) {
    ready->join();
  }
}

std::size_t WorkerPool::waiting() const {
  return pool() != nullptr ? pool()->waiting() : 0;
}
std::uint64_t WorkerPool::finished() const {
  return pool() != nullptr ? pool()->finished() : 0;
}
std::uint64_t WorkerPool::refused() const {
  return pool() != nullptr ? pool()->refused() : 0;
}

Result<cm_handle> WorkerQueues::create(std::string_view name) {
  if (name.empty() || name.size() > kWorkerNameBytesMax) {
    return make_error(ErrorCode::kInvalid, "the worker queue name \"" + std::string(name.substr(0, 80)) + "\" has " +
                                               std::to_string(name.size()) + " bytes; expected 1 to " +
                                               std::to_string(kWorkerNameBytesMax));
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(closed_, [](const std::unique_ptr<JobQueue>& one) { return one->ended(); });
  const cm_handle queue = queues_.insert(std::make_unique<JobQueue>(std::string(name), 1));
  if (queue == CM_NO_HANDLE) {
    return make_error(ErrorCode::kBusy, "an instance may have at most " + std::to_string(kWorkerQueuesMax) +
                                            " worker queues; close one first");
  }
  return queue;
}

bool WorkerQueues::close(cm_handle queue) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<JobQueue> closed = queues_.remove(queue);
  if (closed == nullptr) {
    return false;
  }
  closed->close();
  closed_.push_back(std::move(closed));
  return true;
}

Status WorkerQueues::submit(cm_handle queue, const Job& job) {
  const std::lock_guard lock(mutex_);
  JobQueue* found = queues_.find(queue);
  if (found == nullptr) {
    return make_error(ErrorCode::kGone, "the worker queue does not exist (any more)");
  }
  return found->submit(job);
}

std::uint32_t WorkerQueues::finish() {
  std::vector<std::unique_ptr<JobQueue>> ending;
  std::uint32_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const cm_handle queue : queues_.handles()) {
      ending.push_back(queues_.remove(queue));
      ++left;
    }
    for (auto& queue : closed_) {
      ending.push_back(std::move(queue));
    }
    closed_.clear();
  }
  for (const auto& queue : ending) {
    queue->join();
  }
  return left;
}

void wait_for_jobs(Instance& instance) {
  std::uint64_t outstanding = instance.jobs_outstanding.load(std::memory_order_acquire);
  while (outstanding != 0) {
    instance.jobs_outstanding.wait(outstanding, std::memory_order_acquire);
    outstanding = instance.jobs_outstanding.load(std::memory_order_acquire);
  }
}

}  // namespace cm::host
