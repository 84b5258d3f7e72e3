// Tells when the wall clock jumped: nothing may be thrown away for its age because somebody set the clock.
#pragma once

#include <claudemesh/cpp/host.hpp>

#include <cstdint>

namespace cm::daemon {

// Below this the wall clock counts as running on. A correction by NTP or a short suspension stays below.
inline constexpr std::int64_t kClockJumpMs = 3'600'000;

// Compares the wall clock with the monotonic one, which nobody sets and which stands still while the machine sleeps.
class ClockWatch {
 public:
  void bind(const HostApi& host) {
    host_ = &host;
    offset_ms_ = offset_ms();
  }
  // By how much the wall clock jumped since the last look; 0 when by kClockJumpMs or less.
  std::int64_t jump_ms() {
    const std::int64_t now_ms = offset_ms();
    const std::int64_t jump = now_ms - offset_ms_;
    offset_ms_ = now_ms;
    return jump > kClockJumpMs || jump < -kClockJumpMs ? jump : 0;
  }

 private:
  std::int64_t offset_ms() const { return host_->unix_ms() - static_cast<std::int64_t>(host_->monotonic_us() / 1000); }

  const HostApi* host_ = nullptr;
  std::int64_t offset_ms_ = 0;
};

}  // namespace cm::daemon
