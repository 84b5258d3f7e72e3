#include "host/isolation/spawner.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "host/isolation/posix_spawn.hpp"
#include "host/isolation/sandbox.hpp"

namespace cm::isolation {

namespace {

using Clock = std::chrono::steady_clock;

std::string& runner_program() {
  static std::string program = "/proc/self/exe";
  return program;
}

// A plugin needs no variable of the host; these make texts and times come out the same.
std::vector<std::string> runner_environment() {
  std::vector<std::string> result;
  for (const char* name : {"LANG", "LC_ALL", "TZ"}) {
    if (const char* value = ::getenv(name); value != nullptr) {
      result.push_back(std::string(name) + "=" + value);
    }
  }
  if (!kLimitsAddressSpace) {
    // Under a sanitizer: its leak check would need ptrace, and a signal is to end the child as it does otherwise.
    result.push_back("ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0");
    result.push_back("TSAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigbus=0");
    result.push_back("UBSAN_OPTIONS=handle_segv=0:handle_abort=0");
  }
  return result;
}

// The descriptors of the child: nothing, the socket, the memory, and no other.
void hand_over(SpawnFileActions& actions, int socket_fd, int memory_fd) {
  ::posix_spawn_file_actions_adddup2(actions.get(), socket_fd, kRunnerSocketFd);
  ::posix_spawn_file_actions_adddup2(actions.get(), memory_fd, kRunnerMemoryFd);
  ::posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // A plugin's writes to standard error would be a way around the bounds of the log; a sanitizer's report is wanted.
  if (kLimitsAddressSpace) {
    ::posix_spawn_file_actions_addopen(actions.get(), STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(actions.get(), STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  ::posix_spawn_file_actions_addclosefrom_np(actions.get(), kRunnerMemoryFd + 1);
}

// Signals as in a fresh process: the host blocks some for its own use.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    // A process group of its own: Ctrl-C at the terminal is for the host, which then stops its plugins in order.
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

// A copy of a descriptor out of the way of the numbers that the child uses.
Descriptor high_copy(int fd) {
  return Descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, kRunnerMemoryFd + 1));
}

Result<pid_t> start_process(const SpawnRequest& request) {
  const std::vector<std::string> arguments{"claudemesh", kRunnerVerb, request.name};
  const std::vector<std::string> environment = runner_environment();
  const Descriptor socket = high_copy(request.socket.get());
  const Descriptor memory = high_copy(request.memory_fd);
  SpawnFileActions actions;
  hand_over(actions, socket.get(), memory.get());
  const SpawnAttributes attributes;
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, runner_program().c_str(), actions.get(), attributes.get(),
                                  exec_pointers(arguments).data(), exec_pointers(environment).data());
  if (error != 0) {
    return make_error(ErrorCode::kIo, "the runner process cannot be started from " + runner_program() + ": " +
                                          std::strerror(error) + "; look at the limits of processes and memory");
  }
  return pid;
}

}  // namespace

void set_runner_program(std::string path) {
  runner_program() = std::move(path);
}

std::string ExitStatus::text() const {
  if (!signalled) {
    return "exit code " + std::to_string(value);
  }
  const char* name = ::sigabbrev_np(value);
  return "signal " + std::to_string(value) + (name == nullptr ? "" : " (SIG" + std::string(name) + ")");
}

struct Spawner::Impl {
  struct Child {
    pid_t pid = -1;
    Descriptor pidfd;
    std::function<void(ExitStatus)> exited;
    std::optional<Clock::time_point> kill_at;
    bool kill_when_known = false;
  };

  std::mutex mutex;
  std::uint64_t next_id = 1;                                 // guarded by mutex
  std::vector<std::pair<ProcessId, SpawnRequest>> requests;  // guarded by mutex
  std::map<ProcessId, Child> children;  // guarded by mutex; entries are made by spawn, removed by the thread
  int wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

  void wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(wake_fd, &one, sizeof one));
  }

  [[noreturn]] void main() {
    ::pthread_setname_np(::pthread_self(), "spawner");
    while (true) {
      start_requested();
      wait();
      reap();
    }
  }

  void start_requested() {
    std::vector<std::pair<ProcessId, SpawnRequest>> batch;
    {
      const std::lock_guard lock(mutex);
      batch.swap(requests);
    }
    for (auto& [id, request] : batch) {
      start_one(id, request);
    }
  }

  void start_one(ProcessId id, SpawnRequest& request) {
    Result<pid_t> pid = start_process(request);
    request.socket.reset();  // now, so that the host sees the end of the child
    {
      const std::lock_guard lock(mutex);
      Child& child = children[id];
      if (pid) {
        child.pid = *pid;
        child.pidfd = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)));
        child.exited = std::move(request.exited);
        if (child.kill_when_known || !child.pidfd) {
          ::kill(*pid, SIGKILL);
        }
      } else {
        children.erase(id);
      }
    }
    request.spawned(std::move(pid));
  }

  void wait() {
    std::vector<pollfd> fds{{wake_fd, POLLIN, 0}};
    int timeout_ms = -1;
    {
      const std::lock_guard lock(mutex);
      const auto now = Clock::now();
      for (const auto& [id, child] : children) {
        if (child.pidfd) {
          fds.push_back({child.pidfd.get(), POLLIN, 0});
        } else if (child.pid > 0) {
          timeout_ms = 10;  // no descriptor was left to wait with: look again and again
        }
        if (child.kill_at.has_value()) {
          const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*child.kill_at - now).count() + 1;
          const int bounded = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
          timeout_ms = timeout_ms < 0 ? bounded : std::min(timeout_ms, bounded);
        }
      }
    }
    if (::poll(fds.data(), fds.size(), timeout_ms) > 0 && fds[0].revents != 0) {
      std::uint64_t count = 0;
      static_cast<void>(!::read(wake_fd, &count, sizeof count));
    }
  }

  void reap() {
    std::vector<std::pair<std::function<void(ExitStatus)>, ExitStatus>> ended;
    {
      const std::lock_guard lock(mutex);
      const auto now = Clock::now();
      for (auto entry = children.begin(); entry != children.end();) {
        Child& child = entry->second;
        if (child.kill_at.has_value() && now >= *child.kill_at && child.pid > 0) {
          ::kill(child.pid, SIGKILL);  // not reaped yet, so the number is still this child's
          child.kill_at.reset();
        }
        siginfo_t info{};
        if (child.pid <= 0 || ::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG) != 0 ||
            info.si_pid == 0) {
          ++entry;
          continue;
        }
        ended.emplace_back(std::move(child.exited), ExitStatus{info.si_code != CLD_EXITED, info.si_status});
        entry = children.erase(entry);
      }
    }
    for (auto& [exited, status] : ended) {
      exited(status);
    }
  }
};

Spawner::Spawner() : impl_(std::make_unique<Impl>().release()) {
  std::thread([impl = impl_] { impl->main(); }).detach();
}

Spawner& Spawner::instance() {
  static Spawner spawner;
  return spawner;
}

ProcessId Spawner::spawn(SpawnRequest request) {
  ProcessId id{};
  {
    const std::lock_guard lock(impl_->mutex);
    id = static_cast<ProcessId>(impl_->next_id++);
    impl_->children[id];
    impl_->requests.emplace_back(id, std::move(request));
  }
  impl_->wake();
  return id;
}

void Spawner::kill(ProcessId id) {
  const std::lock_guard lock(impl_->mutex);
  const auto entry = impl_->children.find(id);
  if (entry == impl_->children.end()) {
    return;
  }
  if (entry->second.pid > 0) {
    ::kill(entry->second.pid, SIGKILL);
  } else {
    entry->second.kill_when_known = true;
  }
}

void Spawner::kill_at(ProcessId id, std::chrono::steady_clock::time_point deadline) {
  {
    const std::lock_guard lock(impl_->mutex);
    const auto entry = impl_->children.find(id);
    if (entry == impl_->children.end()) {
      return;
    }
    entry->second.kill_at = deadline;
  }
  impl_->wake();
}

}  // namespace cm::isolation
