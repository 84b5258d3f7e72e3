// Starts child programs away from the loops, and collects those that nobody waits for any more (cm.process/1).
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <sys/resource.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "host/net/unique_function.hpp"

namespace cm::host {

// What to start. All strings are complete and checked; 0 in a limit: none.
struct SpawnPlan {
  std::string program;
  std::vector<std::string> arguments;  // with argv[0]
  std::vector<std::string> environment;
  std::string working_folder = "/";
  bool input = false;
  bool merge_output = false;
  bool discard_output = false;
  std::uint64_t memory_bytes_max = 0;
  std::uint64_t cpu_seconds_max = 0;
  std::uint64_t descriptors_max = 0;
};

class ProcessSpawner;

// A started child and our ends of its pipes (non-blocking). Whoever lets go of it kills the process group; the spawner
// collects what is left. Belongs to one thread at a time.
class SpawnedChild {
 public:
  SpawnedChild() = default;
  SpawnedChild(pid_t pid, std::shared_ptr<ProcessSpawner> spawner) : pid_(pid), spawner_(std::move(spawner)) {}
  SpawnedChild(SpawnedChild&& other) noexcept;
  SpawnedChild& operator=(SpawnedChild&& other) noexcept;
  ~SpawnedChild() { abandon(); }

  pid_t pid() const noexcept { return pid_; }
  // To the whole group, as long as the child is not collected: its number cannot belong to anybody else until then.
  void signal_group(int signal_number) const noexcept;
  // Kills the rest of the group and collects the child. False while it still runs.
  bool collect(int& status, rusage& usage) noexcept;

  Descriptor pidfd;  // readable when the child has ended
  Descriptor input;
  Descriptor output;
  Descriptor error;

 private:
  void abandon() noexcept;

  pid_t pid_ = -1;  // -1: none, or collected
  std::shared_ptr<ProcessSpawner> spawner_;
};

// One thread that starts programs, so that no loop waits for the kernel to copy and load. Children ask the kernel to be
// killed when the thread that made them ends, so this thread lives as long as the host.
class ProcessSpawner : public std::enable_shared_from_this<ProcessSpawner> {
 public:
  static constexpr std::size_t kWaitingMax = 4096;
  static constexpr int kOrphanWaitMs = 5000;  // at close, for children that were killed

  using Done = net::UniqueFunction<void(Result<SpawnedChild>)>;

  ProcessSpawner() = default;
  ~ProcessSpawner();
  ProcessSpawner(const ProcessSpawner&) = delete;
  ProcessSpawner& operator=(const ProcessSpawner&) = delete;

  // [any] `done` is called on the spawner's thread, or destroyed uncalled at close. kBusy: too many are waiting; kGone:
  // closed.
  Status start(SpawnPlan plan, Done done);
  // [any] A killed child that is to be collected.
  void adopt(pid_t pid) noexcept;
  // [control] Starts nothing more, collects what is left, ends the thread.
  void close();

  std::uint64_t started() const noexcept { return started_.load(std::memory_order_relaxed); }
  std::uint64_t failed() const noexcept { return failed_.load(std::memory_order_relaxed); }
  std::size_t orphans() const;

 private:
  struct Job {
    SpawnPlan plan;
    Done done;
  };
  void main();
  void collect_orphans() noexcept;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;        // guarded by mutex_
  std::vector<pid_t> orphans_;  // guarded by mutex_
  bool closing_ = false;        // guarded by mutex_
  std::thread thread_;          // guarded by mutex_ until close
  std::atomic<std::uint64_t> started_{0};
  std::atomic<std::uint64_t> failed_{0};
};

// Starts a program now; blocks until it has been executed or has failed. The calling thread must outlive the child.
Result<SpawnedChild> spawn_now(const SpawnPlan& plan, std::shared_ptr<ProcessSpawner> spawner);

}  // namespace cm::host
