// A small host for tests of one plugin: the tables that storage_sqlite asks for, without files, sockets or options.
//
// Two modes. Threaded: each worker queue is a std::thread, the thread that calls `run_until` is the loop of all
// instances, time is real. Deterministic: everything runs on that thread, one step at a time, picked by a seeded
// generator among the loop and the worker queues, and time stands still except for `advance`.
#pragma once

#include <claudemesh/plugin.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm::test {

class FakeHost {
 public:
  enum class Mode { kThreaded, kDeterministic };

  explicit FakeHost(Mode mode = Mode::kThreaded, std::uint64_t seed = 1);
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  // A cm_host for one instance. The first one is usually the storage, the others its callers.
  const cm_host* add_instance(const std::string& name);
  // From here on posts to it are refused, and those that wait are dropped.
  void stop_instance(cm_handle instance);
  // Worker jobs wait in their queues while held. None is running any more when a call that holds them returns.
  void hold_workers(bool held);
  // The host's limit of waiting jobs; 0 makes every submit fail with CM_BUSY.
  void set_jobs_max(std::size_t jobs_max);

  // Runs posted functions and timers (deterministic: worker jobs too) until `done` answers true. False after
  // `deadline_ms` of real time, or when nothing is left to do in deterministic mode.
  bool run_until(const std::function<bool()>& done, std::uint64_t deadline_ms = 20'000);
  // Waits until every worker job has run, as a host does before destroy.
  void wait_for_jobs();
  void advance_ms(std::uint64_t ms);

  // Options of all instances, by name.
  std::map<std::string, std::int64_t> ints;
  std::map<std::string, std::string> texts;
  std::map<std::string, bool> bools;
  // What cm.registry/1 gives to whoever asks.
  cm_extension provided = {};

  // What the plugin said. Copies, any thread.
  std::vector<std::string> logs(std::uint32_t level_min = CM_LOG_WARN) const;
  bool logged(const std::string& part, std::uint32_t level_min = CM_LOG_WARN) const;
  std::int64_t metric(const std::string& name_and_labels) const;
  std::string last_error() const;
  // The answer of a deferred step: its status, and whether it came.
  bool completed(cm_handle ticket, cm_status* status, std::string* text) const;
  std::uint64_t posts() const;

 private:
  struct Instance;
  struct Queue {
    std::deque<std::pair<cm_callback, void*>> jobs;
    bool running = false;
    bool closed = false;
    std::thread thread;
  };
  struct Post {
    cm_handle instance;
    cm_callback function;
    cm_callback dropped;
    void* user;
  };
  struct TimerEntry {
    std::uint64_t due_us;
    std::uint64_t period_us;
    cm_callback function;
    void* user;
  };
  struct Series {
    std::string key;
    std::int64_t value = 0;
  };
  struct Answer {
    cm_status status;
    std::string text;
  };
  struct Tables;
  friend struct Tables;

  std::uint64_t now_us() const;
  bool run_one_post(std::unique_lock<std::mutex>& lock);
  bool run_due_timer(std::unique_lock<std::mutex>& lock);
  bool run_one_job(std::unique_lock<std::mutex>& lock);
  void worker_thread(Queue* queue);
  bool jobs_left() const;

  const Mode mode_;
  std::mt19937_64 random_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<std::unique_ptr<Queue>> queues_;
  std::deque<Post> posts_;
  std::map<cm_handle, TimerEntry> timers_;
  std::vector<Series> series_;
  std::vector<std::pair<std::uint32_t, std::string>> logs_;
  std::map<cm_handle, Answer> answers_;
  std::string last_error_;
  std::uint64_t simulated_us_ = 1'000'000;
  std::uint64_t next_timer_ = 1;
  std::uint64_t post_count_ = 0;
  std::size_t jobs_waiting_ = 0;
  std::size_t jobs_max_ = 65'536;
  bool held_ = false;
  bool ending_ = false;
};

}  // namespace cm::test
