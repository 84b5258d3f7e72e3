// Starting the daemon: a detached process, its log, and the wait for its readiness.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "cli/daemon_process.hpp"
#include "cli/files.hpp"
#include "protocol/ids.hpp"

namespace cm::cli {

namespace {

constexpr int kPollMs = 50;  // between two looks at the socket of a daemon that sends no READY=1

// The receiving end of the readiness protocol (sd_notify(3)), in the abstract name space so that no file stays behind.
class ReadinessSocket {
 public:
  bool open() {
    const std::string name =
        "claudemesh-ready-" + std::to_string(::getpid()) + "-" + protocol::generate_hex(protocol::system_random(), 8);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    socket_ = Descriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    const int on = 1;
    if (!socket_ || ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
      return false;
    }
    environment_ = "@" + name;
    return true;
  }
  int fd() const { return socket_.get(); }
  const std::string& environment() const { return environment_; }

  // True when a datagram of this user's says READY=1.
  bool received() {
    std::array<char, 512> text{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
    iovec part{text.data(), text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
    const cmsghdr* header = size > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (header == nullptr || header->cmsg_type != SCM_CREDENTIALS) {
      return false;
    }
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
    const std::string_view state(text.data(), static_cast<std::size_t>(size));
    return sender.uid == ::getuid() && state.find("READY=1") != std::string_view::npos;
  }

 private:
  Descriptor socket_;
  std::string environment_;
};

Result<Descriptor> open_log(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) > kLogRotateBytes) {
    ::rename(path.c_str(), (path + ".1").c_str());
  }
  Descriptor log(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!log || ::fchmod(log.get(), 0600) != 0) {
    return make_error(ErrorCode::kIo, "cannot open " + path + ": " + std::strerror(errno));
  }
  return log;
}

// Everything the child needs, made before the fork: between fork and exec only simple system calls are allowed.
struct ChildPlan {
  std::vector<std::string> arguments;
  std::vector<std::string> variables;
  std::string folder;
  int log = -1;

  std::vector<char*> argv() { return pointers(arguments); }
  std::vector<char*> envp() { return pointers(variables); }

 private:
  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) {
      result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
  }
};

std::vector<std::string> child_environment(const Context& context, const std::string& notify_socket) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    const bool replaced = name == "NOTIFY_SOCKET" || name == "WATCHDOG_USEC" || name == "WATCHDOG_PID" ||
                          name == "CLAUDEMESH_CONFIG_DIR" || name == "CLAUDEMESH_DAEMON_DIR" || name == "HOME" ||
                          // A session's token is not for the daemon of all sessions.
                          name == "CLAUDEMESH_IPC_TOKEN" || name == "CLAUDEMESH_IPC_TOKEN_FILE";
    if (!replaced) {
      variables.emplace_back(text);
    }
  }
  variables.push_back("HOME=" + context.paths.home);
  variables.push_back("CLAUDEMESH_CONFIG_DIR=" + context.paths.config_dir);
  variables.push_back("CLAUDEMESH_DAEMON_DIR=" + context.paths.daemon_dir);
  if (!notify_socket.empty()) {
    variables.push_back("NOTIFY_SOCKET=" + notify_socket);
  }
  return variables;
}

// In the grandchild. Never returns; a failing exec writes errno to `report`.
[[noreturn]] void become_daemon(const ChildPlan& plan, char** argv, char** envp, int report) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::umask(0077);
  const int null = ::open("/dev/null", O_RDWR);
  ::dup2(null, STDIN_FILENO);
  ::dup2(plan.log, STDOUT_FILENO);
  ::dup2(plan.log, STDERR_FILENO);
  // Whatever else this process has open (a pipe of the shell that waits for its end, say) must not live on.
  for (int fd = 3; fd < 1024; ++fd) {
    if (fd != report) {
      ::close(fd);
    }
  }
  if (::chdir(plan.folder.c_str()) == 0) {
    ::execve(argv[0], argv, envp);
  }
  const int cause = errno;
  [[maybe_unused]] const ssize_t ignored = ::write(report, &cause, sizeof cause);
  ::_exit(127);
}

struct Pipe {
  Descriptor read;
  Descriptor write;

  bool open() {
    std::array<int, 2> ends{-1, -1};
    const bool made = ::pipe2(ends.data(), O_CLOEXEC) == 0;
    read = Descriptor(ends[0]);
    write = Descriptor(ends[1]);
    return made;
  }
};

// Forks twice, so that the daemon can never get a terminal; adopts the grandchild, so that its end can be waited for.
// Answers the grandchild's pid, or 0.
int spawn_detached(ChildPlan& plan, int& exec_error) {
  Pipe numbers;
  Pipe report;
  if (!numbers.open() || !report.open()) {
    exec_error = errno;
    return 0;
  }
  std::vector<char*> argv = plan.argv();
  std::vector<char*> envp = plan.envp();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    const pid_t grandchild = ::fork();
    if (grandchild == 0) {
      become_daemon(plan, argv.data(), envp.data(), report.write.get());
    }
    [[maybe_unused]] const ssize_t ignored = ::write(numbers.write.get(), &grandchild, sizeof grandchild);
    ::_exit(0);
  }
  // The reads below end when the last writer has gone.
  numbers.write.reset();
  report.write.reset();
  pid_t pid = 0;
  if (child < 0 || ::read(numbers.read.get(), &pid, sizeof pid) != static_cast<ssize_t>(sizeof pid) || pid <= 0) {
    exec_error = errno;
    pid = 0;
  }
  if (child > 0) {
    ::waitpid(child, nullptr, 0);
  }
  // Ends with the exec (close-on-exec) or brings the cause of its failure.
  if (pid > 0 && ::read(report.read.get(), &exec_error, sizeof exec_error) == static_cast<ssize_t>(sizeof exec_error)) {
    ::waitpid(pid, nullptr, 0);
    pid = 0;
  }
  return pid;
}

enum class Readiness { kReady, kDied, kLate };

Readiness wait_ready(const Paths& paths, ReadinessSocket& notify, int pid, std::uint64_t deadline_ms,
                     int& wait_status) {
  const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  std::array<pollfd, 2> wait{{{notify.fd(), POLLIN, 0}, {process.get(), POLLIN, 0}}};
  const std::int64_t deadline = steady_ms() + static_cast<std::int64_t>(deadline_ms);
  while (steady_ms() < deadline) {
    ::poll(wait.data(), wait.size(), kPollMs);
    if (::waitpid(pid, &wait_status, WNOHANG) == pid) {
      return Readiness::kDied;
    }
    const bool announced = notify.fd() >= 0 && notify.received();
    // The pid file tells a socket of this daemon from the one of a predecessor that is just leaving.
    if (announced || (read_daemon_pid(paths).pid == pid && socket_answers(paths.socket()))) {
      return Readiness::kReady;
    }
  }
  return Readiness::kLate;
}

std::string end_text(int wait_status) {
  return WIFSIGNALED(wait_status) ? "was ended by signal " + std::to_string(WTERMSIG(wait_status))
                                  : "ended with exit code " + std::to_string(WEXITSTATUS(wait_status));
}

std::string log_tail(const std::string& path, off_t from) {
  const Descriptor log(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(16 * 1024, '\0');
  struct stat info{};
  if (!log || ::fstat(log.get(), &info) != 0) {
    return {};
  }
  const off_t start = std::max(from, info.st_size - static_cast<off_t>(text.size()));
  const ssize_t size = ::pread(log.get(), text.data(), text.size(), start);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  std::string tail;
  for (const std::string& line : last_lines(text, kLogTailLines)) {
    tail += "\n      " + line;
  }
  return tail;
}

}  // namespace

Outcome<StartedDaemon> start_daemon(const Context& context, const std::string& config_file, std::uint64_t deadline_ms) {
  const Paths& paths = context.paths;
  const Status folder = make_private_directory(paths.daemon_dir);
  Result<Descriptor> log = folder ? open_log(paths.log_file()) : Result<Descriptor>(folder.error());
  if (!log) {
    return Failure{ExitCode::kFailed, log.error().message, "a folder that this user can write",
                   "check " + paths.daemon_dir + ", or set CLAUDEMESH_DAEMON_DIR to another folder"};
  }
  ReadinessSocket notify;
  const bool can_notify = notify.open();
  ChildPlan plan;
  plan.arguments = {paths.executable, "run", config_file};
  plan.variables = child_environment(context, can_notify ? notify.environment() : std::string());
  plan.folder = paths.daemon_dir;
  plan.log = log->get();
  const off_t log_start = ::lseek(log->get(), 0, SEEK_END);
  const std::int64_t started_at = steady_ms();
  int exec_error = 0;
  const int pid = spawn_detached(plan, exec_error);
  if (pid == 0) {
    return Failure{ExitCode::kFailed, "cannot start " + paths.executable + ": " + std::strerror(exec_error),
                   "a program that this user may run", "check the limits of processes and the file's mode"};
  }
  int wait_status = 0;
  const Readiness readiness = wait_ready(paths, notify, pid, deadline_ms, wait_status);
  if (readiness == Readiness::kReady) {
    return StartedDaemon{pid, steady_ms() - started_at};
  }
  const std::string tail = log_tail(paths.log_file(), log_start);
  if (readiness == Readiness::kDied) {
    return Failure{ExitCode::kFailed, "the daemon " + end_text(wait_status) + " while starting",
                   "that it stays and opens " + paths.socket(),
                   "the last lines of " + paths.log_file() + ":" + (tail.empty() ? " (none)" : tail)};
  }
  return Failure{
      ExitCode::kFailed,
      "the daemon (pid " + std::to_string(pid) + ") was not ready within " + std::to_string(deadline_ms) + " ms",
      "that it opens " + paths.socket(),
      "it goes on starting; look at `claudemesh daemon status` and " + paths.log_file() + ":" + tail};
}

Failure exec_daemon(const Context& context, const std::string& config_file) {
  const Status folder = make_private_directory(context.paths.daemon_dir);
  if (!folder) {
    return {ExitCode::kFailed, folder.error().message, "a folder that this user can write",
            "set CLAUDEMESH_DAEMON_DIR to another folder"};
  }
  ChildPlan plan;
  plan.arguments = {context.paths.executable, "run", config_file};
  plan.variables = child_environment(context, context.environment.get("NOTIFY_SOCKET"));
  std::vector<char*> argv = plan.argv();
  std::vector<char*> envp = plan.envp();
  ::execve(argv[0], argv.data(), envp.data());
  return {ExitCode::kFailed, "cannot start " + context.paths.executable + ": " + std::strerror(errno),
          "a program that this user may run", "check the file's mode"};
}

}  // namespace cm::cli
