// The readiness protocol of service managers (sd_notify(3)): datagrams to $NOTIFY_SOCKET. No library needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cm::host {

class ServiceNotifier {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Without a socket every send does nothing.
  static ServiceNotifier from_environment();
  explicit ServiceNotifier(std::string socket_path, std::optional<std::uint64_t> watchdog_us = std::nullopt)
      : socket_path_(std::move(socket_path)), watchdog_us_(watchdog_us) {}

  // For example "READY=1". False when there is no manager or it did not take the datagram; nobody needs to care.
  bool send(std::string_view state) const;
  // Half of what the manager demands, or nothing when it watches nothing.
  std::optional<std::uint64_t> watchdog_interval_ms() const;

 private:
  std::string socket_path_;
  std::optional<std::uint64_t> watchdog_us_;
};

}  // namespace cm::host
