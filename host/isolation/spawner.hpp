// Starts runner children and waits for their end, on one thread of the process.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cm::isolation {

// How a process ended.
struct ExitStatus {
  bool signalled = false;
  int value = 0;  // signal number or exit code

  // "signal 11 (SIGSEGV)", "exit code 3"
  std::string text() const;
};

enum class ProcessId : std::uint64_t { kNone = 0 };

struct SpawnRequest {
  std::string name;    // of the instance, shown in the list of processes
  Descriptor socket;   // becomes descriptor 3 of the child; closed by the spawner
  int memory_fd = -1;  // becomes descriptor 4; stays the caller's, who keeps it open until `spawned`
  // Called once, on the spawner's thread. After a success `exited` follows, also once.
  std::function<void(Result<pid_t>)> spawned;
  std::function<void(ExitStatus)> exited;
};

inline constexpr int kRunnerSocketFd = 3;
inline constexpr int kRunnerMemoryFd = 4;
inline constexpr const char* kRunnerVerb = "plugin-runner";

// The program that is started as runner, instead of the running executable. For tests, before the first spawn.
void set_runner_program(std::string path);

// The thread lives until the process ends: the kernel kills the children when the thread that made them is gone
// (prctl(2), PR_SET_PDEATHSIG), so no child outlives the host. All functions: any thread.
class Spawner {
 public:
  static Spawner& instance();

  ProcessId spawn(SpawnRequest request);
  // SIGKILL, now or at a point of time unless it has ended by then. Unknown ids are ignored.
  void kill(ProcessId id);
  void kill_at(ProcessId id, std::chrono::steady_clock::time_point deadline);

 private:
  struct Impl;
  Spawner();
  Impl* impl_;  // lives for ever, like the thread
};

}  // namespace cm::isolation
