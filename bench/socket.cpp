#include "bench/socket.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace cm::bench {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::size_t kPaddingBytes = 64;

int connect_tcp(const std::string& address) {
  const auto colon = address.rfind(':');
  sockaddr_in target = {};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<std::uint16_t>(std::atoi(address.substr(colon + 1).c_str())));
  ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &target.sin_addr);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) {
    fail("cannot connect to " + address + ": " + std::strerror(errno));
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

int connect_unix(const std::string& path) {
  sockaddr_un target = {};
  target.sun_family = AF_UNIX;
  std::strncpy(target.sun_path, path.c_str(), sizeof(target.sun_path) - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) {
    fail("cannot connect to " + path + ": " + std::strerror(errno));
  }
  return fd;
}

}  // namespace

void fail(const std::string& text) {
  std::fprintf(stderr, "cm_bench: %s\n", text.c_str());
  std::exit(1);
}

std::uint64_t now_us() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

Socket::~Socket() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}
Socket::Socket(Socket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      out_(std::move(other.out_)),
      in_(std::move(other.in_)),
      in_size_(std::exchange(other.in_size_, 0)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(out_, other.out_);
  std::swap(in_, other.in_);
  std::swap(in_size_, other.in_size_);
  return *this;
}

Socket Socket::connect(const std::string& address) {
  Socket socket;
  socket.fd_ = address.starts_with("unix:") ? connect_unix(address.substr(5)) : connect_tcp(address);
  ::fcntl(socket.fd_, F_SETFL, ::fcntl(socket.fd_, F_GETFL) | O_NONBLOCK);
  return socket;
}

void Socket::flush() {
  std::size_t written = 0;
  while (written < out_.size()) {
    const ssize_t result = ::send(fd_, out_.data() + written, out_.size() - written, MSG_NOSIGNAL);
    if (result < 0 && (errno == EAGAIN || errno == EINTR)) {
      break;
    }
    if (result <= 0) {
      fail(std::string("the peer closed the connection: ") + std::strerror(errno));
    }
    written += static_cast<std::size_t>(result);
  }
  out_.erase(0, written);
}

void Socket::flush_blocking() {
  while (!out_.empty()) {
    flush();
    if (!out_.empty()) {
      pollfd waiting = {fd_, POLLOUT, 0};
      ::poll(&waiting, 1, 1000);
    }
  }
}

bool Socket::fill() {
  if (in_.size() < in_size_ + kReadBytes + kPaddingBytes) {
    in_.resize(in_size_ + kReadBytes + kPaddingBytes);
  }
  const ssize_t result = ::recv(fd_, in_.data() + in_size_, in_.size() - in_size_ - kPaddingBytes, 0);
  if (result > 0) {
    in_size_ += static_cast<std::size_t>(result);
    return true;
  }
  return result < 0 && (errno == EAGAIN || errno == EINTR);
}

bool Socket::fill_blocking(int timeout_ms) {
  pollfd waiting = {fd_, POLLIN, 0};
  if (::poll(&waiting, 1, timeout_ms) <= 0) {
    return false;
  }
  return fill();
}

void Socket::consume(std::size_t bytes) {
  std::memmove(in_.data(), in_.data() + bytes, in_size_ - bytes);
  in_size_ -= bytes;
}

void wait_for(const std::vector<Socket*>& sockets, std::uint64_t timeout_us) {
  std::vector<pollfd> waiting;
  for (const Socket* socket : sockets) {
    waiting.push_back(pollfd{socket->fd(), static_cast<short>(POLLIN | (socket->wants_write() ? POLLOUT : 0)), 0});
  }
  timespec timeout = {static_cast<time_t>(timeout_us / 1'000'000), static_cast<long>(timeout_us % 1'000'000 * 1000)};
  ::ppoll(waiting.data(), waiting.size(), &timeout, nullptr);
}

}  // namespace cm::bench
