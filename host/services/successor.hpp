// The process that takes over: how the running one starts it, and how the two talk. The protocol is four words on a
// socket pair: the successor says "prepared" when everything is configured, is told "go" when its predecessor has let
// go of everything, and says "started" or "failed REASON".
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include "host/services/listening_sockets.hpp"

namespace cm::host {

// How this process was started, to start the next one in the same way.
struct Invocation {
  std::string program;  // the path that is executed again; a link in it is followed anew
  std::vector<std::string> arguments;
};
// Call it early: later the program's file may have been replaced.
Invocation invocation_of_process();

// One end of the connection between the two. [control]
class UpgradeChannel {
 public:
  explicit UpgradeChannel(Descriptor fd) : fd_(std::move(fd)) {}

  // False when the other end is gone.
  bool send(std::string_view word) const;
  // The next word. kGone: the other end is gone; kBusy: the deadline has passed, or `wake_fd` became readable.
  Result<std::string> receive(std::optional<std::chrono::steady_clock::time_point> deadline, int wake_fd) const;

 private:
  Descriptor fd_;
};

// The running process' side. [control]
class Successor {
 public:
  // Starts the program with the sockets.
  static Result<std::unique_ptr<Successor>> spawn(const Invocation& invocation, std::vector<HandedSocket> sockets);
  // Kills it and waits for its end, unless it was released.
  ~Successor();
  Successor(const Successor&) = delete;
  Successor& operator=(const Successor&) = delete;

  pid_t pid() const noexcept { return pid_; }
  // Waits for the word; every other answer, the end of the process and the deadline are errors that say what happened.
  Status expect(std::string_view word, std::chrono::steady_clock::time_point deadline, int wake_fd);
  bool tell_go() { return channel_.send("go"); }
  // Kills it, if it still runs, and waits for its end.
  void end() noexcept;
  // It goes on without this process.
  void release() noexcept { pid_ = -1; }

 private:
  Successor(pid_t pid, UpgradeChannel channel) : pid_(pid), channel_(std::move(channel)) {}
  std::string how_it_ended();

  pid_t pid_;
  UpgradeChannel channel_;
};

// What a process got from the one before it, or from the service manager (sd_listen_fds(3)).
struct Inheritance {
  std::vector<HandedSocket> sockets;
  std::optional<UpgradeChannel> predecessor;
};
// Reads the variables and removes them from the environment. Before any other thread exists.
Inheritance take_inheritance();

}  // namespace cm::host
