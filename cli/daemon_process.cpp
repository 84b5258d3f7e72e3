#include "cli/daemon_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>

#include "cli/files.hpp"

namespace cm::cli {

namespace {

constexpr std::size_t kLogLineColumns = 400;

bool is_file(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

Descriptor open_pidfd(int pid) {
  return Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace

Outcome<std::string> find_daemon_config(const Paths& paths, const std::string& chosen) {
  if (!chosen.empty()) {
    if (!is_file(chosen)) {
      return Failure{ExitCode::kFailed, "there is no configuration file " + chosen,
                     "a TOML file with the daemon's plugins",
                     "check the path, or leave --config away to use the one that came with the program"};
    }
    std::array<char, PATH_MAX> resolved{};
    return std::string(::realpath(chosen.c_str(), resolved.data()) != nullptr ? resolved.data() : chosen.c_str());
  }
  const std::string beside = directory_of(paths.executable);
  const std::array<std::string, 4> places = {paths.config_dir + "/daemon.toml", "/etc/claudemesh/daemon.toml",
                                             beside + "/../../../etc/daemon.toml",
                                             beside + "/../share/claudemesh/etc/daemon.toml"};
  std::string looked_at;
  for (const std::string& place : places) {
    if (is_file(place)) {
      std::array<char, PATH_MAX> resolved{};
      return std::string(::realpath(place.c_str(), resolved.data()) != nullptr ? resolved.data() : place.c_str());
    }
    looked_at += looked_at.empty() ? place : ", " + place;
  }
  return Failure{ExitCode::kFailed, "no daemon.toml was found", "a file at one of " + looked_at,
                 "name one: claudemesh daemon up --config FILE"};
}

DaemonPid read_daemon_pid(const Paths& paths) {
  DaemonPid state;
  const Descriptor file(::open(paths.pid_file().c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return state;
  }
  std::array<char, 32> text{};
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  int pid = 0;
  if (size > 0 && std::from_chars(text.data(), text.data() + size, pid).ec == std::errc() && pid > 1) {
    state.pid = pid;
    state.alive = ::kill(pid, 0) == 0 || errno == EPERM;
    state.other_user = !state.alive ? false : ::kill(pid, 0) != 0;
  }
  // A shared lock that is refused proves that a daemon holds the exclusive one; closing the file drops ours.
  state.locked = ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  return state;
}

StopResult stop_process(int pid, std::uint64_t deadline_ms) {
  const Descriptor process = open_pidfd(pid);
  if (!process) {
    return errno == ESRCH ? StopResult::kGone : StopResult::kDenied;
  }
  // Through the descriptor the signal can only reach the process that was looked at, even if its number is reused.
  if (::syscall(SYS_pidfd_send_signal, process.get(), SIGTERM, nullptr, 0) != 0) {
    return errno == ESRCH ? StopResult::kGone : StopResult::kDenied;
  }
  const std::int64_t deadline = steady_ms() + static_cast<std::int64_t>(deadline_ms);
  pollfd wait{process.get(), POLLIN, 0};
  for (;;) {
    const std::int64_t left = deadline - steady_ms();
    if (left <= 0) {
      return StopResult::kTimeout;
    }
    if (::poll(&wait, 1, static_cast<int>(left)) > 0) {
      return StopResult::kStopped;
    }
  }
}

bool socket_answers(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return false;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A full backlog (EAGAIN) also means that somebody listens.
  return socket &&
         (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN);
}

std::vector<std::string> last_lines(std::string_view text, std::size_t count) {
  std::vector<std::string> lines;
  while (!text.empty() && lines.size() < count) {
    if (text.back() == '\n') {
      text.remove_suffix(1);
      continue;
    }
    const std::size_t start = text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1;
    lines.push_back(printable(text.substr(start).substr(0, kLogLineColumns)));
    text = text.substr(0, start);
  }
  std::reverse(lines.begin(), lines.end());
  return lines;
}

}  // namespace cm::cli
