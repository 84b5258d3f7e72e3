// Helpers of this room's tests: turning a loop until something happened, a plain blocking peer.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

#include "host/net/http_server.hpp"
#include "host/net/loop.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::net::test {

inline constexpr std::int64_t kDeadlineNs = 30'000'000'000;  // generous: reached only by a failing test

// Turns the loop until the condition holds; false after the deadline.
template <typename Condition>
bool run_until(Loop& loop, Condition&& condition) {
  const std::int64_t end = Loop::now_ns() + kDeadlineNs;
  while (!condition()) {
    if (Loop::now_ns() > end) {
      return false;
    }
    loop.run_once(2);
  }
  return true;
}

using cm::test::TemporaryFolder;

// A raw peer on the same thread: its socket does not block, and receiving turns the loop of the server.
class RawPeer {
 public:
  explicit RawPeer(const ListenerInfo& listener) {
    if (listener.path.empty()) {
      connect_tcp(listener.port);
    } else {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::memcpy(address.sun_path, listener.path.data(), listener.path.size());
      fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
  }
  ~RawPeer() { close(); }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) {
      ::close(std::exchange(fd_, -1));
    }
  }
  void send(std::string_view bytes) {
    ASSERT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void shutdown_write() { ::shutdown(fd_, SHUT_WR); }

  // Takes what has arrived; true when the server has ended the connection.
  bool poll() {
    char buffer[16384];
    for (;;) {
      const ssize_t got = ::recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got > 0) {
        received_.append(buffer, static_cast<std::size_t>(got));
        continue;
      }
      if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
        reset_ = got < 0;
        ended_ = true;
      }
      return ended_;
    }
  }
  bool ended() const { return ended_; }
  bool reset() const { return reset_; }
  std::string& received() { return received_; }

  // Turns the loop until the text has arrived (false at the deadline or at the end of the connection without it).
  bool wait_for(Loop& loop, std::string_view text) {
    run_until(loop, [&] { return poll() || received_.find(text) != std::string::npos; });
    return received_.find(text) != std::string::npos;
  }
  bool wait_end(Loop& loop) {
    return run_until(loop, [&] { return poll(); });
  }

 private:
  void connect_tcp(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }

  int fd_ = -1;
  bool connected_ = false;
  bool ended_ = false;
  bool reset_ = false;
  std::string received_;
};

inline std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) {
    ++found;
  }
  return found;
}

}  // namespace cm::net::test
