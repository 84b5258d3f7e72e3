// Where blocking work goes (cm.worker/1): a shared pool, and queues with a thread of their own.
#pragma once

#include <claudemesh/abi.h>
#include <claudemesh/cpp/result.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/services/handle_table.hpp"

namespace cm::host {

class Instance;

inline constexpr std::size_t kJobsWaitingMax = 65'536;  // per queue, the pool being one
inline constexpr std::uint32_t kWorkerQueuesMax = 64;   // dedicated queues of one instance
inline constexpr std::size_t kWorkerNameBytesMax = 15;  // what Linux shows of a thread's name

struct Job {
  Instance* instance = nullptr;
  cm_callback function = nullptr;
  void* user = nullptr;
};

// A bounded queue with one or more threads that run its jobs in order of submission. Any thread.
class JobQueue {
 public:
  JobQueue(std::string name, std::uint32_t threads);
  // Runs what is left and waits for it.
  ~JobQueue();
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // kBusy when full, kGone after close.
  Status submit(const Job& job);
  // No new jobs; the threads end when the queue is empty. Does not wait.
  void close();
  // [control] Closes and waits.
  void join();
  // True when it was closed and its last thread has nothing more to do: join does not wait then.
  bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }

  std::size_t waiting() const;
  std::uint64_t finished() const noexcept { return finished_.load(std::memory_order_relaxed); }
  std::uint64_t refused() const noexcept { return refused_.load(std::memory_order_relaxed); }

 private:
  void main(const std::string& name);
  static void run(const Job& job) noexcept;

  const std::uint32_t thread_count_;
  const std::string name_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;               // guarded by mutex_
  bool closing_ = false;               // guarded by mutex_
  std::uint32_t threads_running_ = 0;  // guarded by mutex_
  std::atomic<bool> ended_{false};
  std::atomic<std::uint64_t> finished_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::vector<std::thread> threads_;  // guarded by mutex_ until join
};

// The shared pool of one host. Its threads are made with the first job, so that a host whose plugins never block has
// none. Any thread.
class WorkerPool {
 public:
  explicit WorkerPool(std::uint32_t threads) : threads_(threads == 0 ? 1 : threads) {}

  Status submit(const Job& job);
  void close();  // [control] waits
  std::size_t waiting() const;
  std::uint64_t finished() const;
  std::uint64_t refused() const;

 private:
  JobQueue* pool() const noexcept { return pool_.load(std::memory_order_acquire); }

  const std::uint32_t threads_;
  std::mutex mutex_;
  std::unique_ptr<JobQueue> owned_;  // guarded by mutex_
  std::atomic<JobQueue*> pool_{nullptr};
  bool closed_ = false;  // guarded by mutex_
};

// The dedicated queues of one instance. create and close: [loop]; submit: [any].
class WorkerQueues {
 public:
  Result<cm_handle> create(std::string_view name);
  // False for an unknown queue. The jobs it holds still run.
  bool close(cm_handle queue);
  // kGone for an unknown or closed queue.
  Status submit(cm_handle queue, const Job& job);
  // [control] Closes all and waits for their jobs. Answers how many the plugin had not closed.
  std::uint32_t finish();

 private:
  std::mutex mutex_;
  HandleTable<JobQueue> queues_{kWorkerQueuesMax, 0x3300};  // guarded by mutex_
  std::vector<std::unique_ptr<JobQueue>> closed_;           // guarded by mutex_; their threads may still run
};

// [control] Waits until no job of the instance waits or runs.
void wait_for_jobs(Instance& instance);

}  // namespace cm::host
