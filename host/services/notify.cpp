#include "host/services/notify.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace cm::host {

namespace {

std::optional<std::uint64_t> number_from(const char* text) {
  if (text == nullptr) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, value);
  return error == std::errc() && stopped == end ? std::optional(value) : std::nullopt;
}

}  // namespace

ServiceNotifier ServiceNotifier::from_environment() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  std::optional<std::uint64_t> watchdog_us = number_from(std::getenv("WATCHDOG_USEC"));
  const std::optional<std::uint64_t> watchdog_pid = number_from(std::getenv("WATCHDOG_PID"));
  if (watchdog_pid.has_value() && *watchdog_pid != static_cast<std::uint64_t>(getpid())) {
    watchdog_us.reset();
  }
  return ServiceNotifier(path != nullptr ? path : "", watchdog_us);
}

bool ServiceNotifier::send(std::string_view state) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.empty() || socket_path_.size() >= sizeof address.sun_path) {
    return false;
  }
  std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
  if (address.sun_path[0] == '@') {
    address.sun_path[0] = '\0';  // the abstract name space
  }
  const Descriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) {
    return false;
  }
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_path_.size());
  const ssize_t sent = ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&address), size);
  return sent == static_cast<ssize_t>(state.size());
}

std::optional<std::uint64_t> ServiceNotifier::watchdog_interval_ms() const {
  if (socket_path_.empty() || !watchdog_us_.has_value()) {
    return std::nullopt;
  }
  return std::max<std::uint64_t>(1, *watchdog_us_ / 2000);
}

}  // namespace cm::host
