#include "host/services/successor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "host/isolation/posix_spawn.hpp"
#include "host/isolation/spawner.hpp"

namespace cm::host {

namespace {

constexpr const char* kChannelVariable = "CLAUDEMESH_UPGRADE_FD";
// One socket on each line: descriptor, owner, address.
constexpr const char* kSocketsVariable = "CLAUDEMESH_LISTEN_FDS";
constexpr std::size_t kWordBytesMax = 4096;
constexpr int kFirstActivationFd = 3;  // SD_LISTEN_FDS_START
// Descriptors of the successor begin above what programs expect to be their own.
constexpr int kFirstHandedFd = 3;

std::string errno_text() {
  return std::strerror(errno);
}

std::optional<long> number_from(const char* text) {
  if (text == nullptr) {
    return std::nullopt;
  }
  long value = 0;
  const char* end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, value);
  return error == std::errc() && stopped == end ? std::optional(value) : std::nullopt;
}

bool same_file(const std::string& one, const char* other) {
  struct stat first{};
  struct stat second{};
  return ::stat(one.c_str(), &first) == 0 && ::stat(other, &second) == 0 && first.st_ino == second.st_ino &&
         first.st_dev == second.st_dev;
}

// The path by which the program was called, links included: an upgrade replaces what it leads to.
std::string program_path(const std::string& called) {
  std::vector<std::string> candidates;
  if (called.find('/') != std::string::npos) {
    candidates.push_back(std::filesystem::absolute(called).string());
  } else if (const char* path = std::getenv("PATH"); path != nullptr) {
    std::istringstream folders{std::string(path)};
    for (std::string folder; std::getline(folders, folder, ':');) {
      candidates.push_back((std::filesystem::absolute(folder) / called).string());
    }
  }
  for (const std::string& candidate : candidates) {
    if (same_file(candidate, "/proc/self/exe")) {
      return candidate;
    }
  }
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

// A line of the variable cannot hold a line break; such an address is bound anew.
bool can_be_named(const HandedSocket& socket) {
  const std::string text = socket.owner + socket.address;
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\0'; }) &&
         socket.owner.find(' ') == std::string::npos;
}

// The environment of the successor: ours, without what was meant for this process only.
std::vector<std::string> successor_environment(const std::string& sockets, int channel_fd) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    // The service manager watches the new process from now on.
    if (name != "WATCHDOG_PID" && name != kSocketsVariable && name != kChannelVariable) {
      result.emplace_back(text);
    }
  }
  result.push_back(std::string(kSocketsVariable) + "=" + sockets);
  result.push_back(std::string(kChannelVariable) + "=" + std::to_string(channel_fd));
  return result;
}

// Copies a descriptor above `floor` and lets go of it, so that no dup2 of the child overwrites one that is still
// needed. None: no room.
Descriptor move_above(const Descriptor fd, int floor) {
  return Descriptor(::fcntl(fd.get(), F_DUPFD_CLOEXEC, floor));
}

}  // namespace

Invocation invocation_of_process() {
  Invocation invocation;
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  for (std::string argument; std::getline(file, argument, '\0');) {
    invocation.arguments.push_back(argument);
  }
  if (invocation.arguments.empty()) {
    return invocation;
  }
  invocation.program = program_path(invocation.arguments.front());
  return invocation;
}

// --- the channel -----------------------------------------------------------------------------------------------------

bool UpgradeChannel::send(std::string_view word) const {
  return ::send(fd_.get(), word.data(), std::min(word.size(), kWordBytesMax), MSG_NOSIGNAL) > 0;
}

Result<std::string> UpgradeChannel::receive(std::optional<std::chrono::steady_clock::time_point> deadline,
                                            int wake_fd) const {
  for (;;) {
    int wait_ms = -1;
    if (deadline.has_value()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now()).count();
      if (left <= 0) {
        return make_error(ErrorCode::kBusy, "it did not answer in time");
      }
      wait_ms = static_cast<int>(std::min<std::int64_t>(left + 1, 60'000));
    }
    pollfd fds[2] = {{fd_.get(), POLLIN, 0}, {wake_fd, POLLIN, 0}};
    if (::poll(fds, 2, wait_ms) < 0 && errno != EINTR) {
      return make_error(ErrorCode::kIo, "poll: " + errno_text());
    }
    if (fds[0].revents != 0) {
      std::string word(kWordBytesMax, '\0');
      const ssize_t size = ::recv(fd_.get(), word.data(), word.size(), 0);
      if (size <= 0) {
        return make_error(ErrorCode::kGone, "it has ended");
      }
      word.resize(static_cast<std::size_t>(size));
      return word;
    }
    if (fds[1].revents != 0) {
      return make_error(ErrorCode::kBusy, "this process was told to stop");
    }
  }
}

// --- the running process' side ---------------------------------------------------------------------------------------

Result<std::unique_ptr<Successor>> Successor::spawn(const Invocation& invocation, std::vector<HandedSocket> sockets) {
  std::erase_if(sockets, [](const HandedSocket& socket) { return !can_be_named(socket); });
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return make_error(ErrorCode::kIo, "no socket pair for the new process: " + errno_text());
  }
  UpgradeChannel channel{Descriptor(ends[0])};
  Descriptor of_successor(ends[1]);
  const int floor = kFirstHandedFd + static_cast<int>(sockets.size()) + 1;
  std::vector<Descriptor> sources;
  for (HandedSocket& socket : sockets) {
    sources.push_back(move_above(std::move(socket.fd), floor));
  }
  sources.push_back(move_above(std::move(of_successor), floor));
  isolation::SpawnFileActions actions;
  std::string names;
  bool complete = true;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const int target = kFirstHandedFd + static_cast<int>(i);
    complete = complete && sources[i];
    posix_spawn_file_actions_adddup2(actions.get(), sources[i].get(), target);
    if (i < sockets.size()) {
      names += std::to_string(target) + " " + (sockets[i].owner.empty() ? "-" : sockets[i].owner) + " " +
               sockets[i].address + "\n";
    }
  }
  const std::vector<std::string> environment =
      successor_environment(names, kFirstHandedFd + static_cast<int>(sockets.size()));
  pid_t pid = -1;
  const int failed = !complete ? EMFILE
                               : ::posix_spawn(&pid, invocation.program.c_str(), actions.get(), nullptr,
                                               isolation::exec_pointers(invocation.arguments).data(),
                                               isolation::exec_pointers(environment).data());
  if (failed != 0) {
    return make_error(ErrorCode::kIo, "the program " + invocation.program + " cannot be started: " +
                                          std::strerror(failed) + "; expected the new version at this path");
  }
  return std::unique_ptr<Successor>(new Successor(pid, std::move(channel)));
}

Successor::~Successor() {
  end();
}

void Successor::end() noexcept {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
}

std::string Successor::how_it_ended() {
  int status = 0;
  // Its end of the channel is closed, so it has ended or is about to.
  if (::waitpid(std::exchange(pid_, -1), &status, 0) <= 0) {
    return "it has ended";
  }
  const bool signalled = WIFSIGNALED(status);
  return "it ended with " + isolation::ExitStatus{signalled, signalled ? WTERMSIG(status) : WEXITSTATUS(status)}.text();
}

Status Successor::expect(std::string_view word, std::chrono::steady_clock::time_point deadline, int wake_fd) {
  const Result<std::string> answer = channel_.receive(deadline, wake_fd);
  const std::string who = "the new process (pid " + std::to_string(pid_) + "): ";
  if (!answer) {
    if (answer.error().code == ErrorCode::kGone) {
      return make_error(ErrorCode::kGone, who + how_it_ended() +
                                              "; its reason stands in the log above or on standard "
                                              "error");
    }
    return make_error(answer.error().code, who + answer.error().message);
  }
  if (*answer != word) {
    return make_error(ErrorCode::kInternal, who + *answer);
  }
  return {};
}

// --- the successor's side --------------------------------------------------------------------------------------------

namespace {

void take_handed_sockets(const char* text, Inheritance& inheritance) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(' ');
    const std::size_t second = first == std::string::npos ? first : line.find(' ', first + 1);
    const std::optional<long> fd = number_from(line.substr(0, first).c_str());
    if (second == std::string::npos || !fd.has_value() || *fd < kFirstHandedFd) {
      continue;
    }
    const std::string owner = line.substr(first + 1, second - first - 1);
    inheritance.sockets.push_back(
        {Descriptor(static_cast<int>(*fd)), owner == "-" ? "" : owner, line.substr(second + 1)});
  }
}

// sd_listen_fds(3): the sockets are known by the addresses that they are bound to.
void take_activation_sockets(Inheritance& inheritance) {
  const std::optional<long> pid = number_from(std::getenv("LISTEN_PID"));
  const std::optional<long> count = number_from(std::getenv("LISTEN_FDS"));
  if (!pid.has_value() || *pid != ::getpid() || !count.has_value() || *count < 1 ||
      *count > static_cast<long>(kListeningSocketsMax)) {
    return;
  }
  for (int fd = kFirstActivationFd; fd < kFirstActivationFd + static_cast<int>(*count); ++fd) {
    inheritance.sockets.push_back({Descriptor(fd), "", ""});
  }
}

}  // namespace

Inheritance take_inheritance() {
  Inheritance inheritance;
  const std::optional<long> channel = number_from(std::getenv(kChannelVariable));
  if (channel.has_value()) {
    ::fcntl(static_cast<int>(*channel), F_SETFD, FD_CLOEXEC);
    inheritance.predecessor.emplace(Descriptor(static_cast<int>(*channel)));
    if (const char* sockets = std::getenv(kSocketsVariable); sockets != nullptr) {
      take_handed_sockets(sockets, inheritance);
    }
  } else {
    take_activation_sockets(inheritance);
  }
  for (const HandedSocket& socket : inheritance.sockets) {
    ::fcntl(socket.fd.get(), F_SETFD, FD_CLOEXEC);
  }
  for (const char* name : {kChannelVariable, kSocketsVariable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    ::unsetenv(name);
  }
  return inheritance;
}

}  // namespace cm::host
