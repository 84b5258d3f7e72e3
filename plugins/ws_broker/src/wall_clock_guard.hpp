// Whether the wall clock may be believed when it decides what is old enough to be deleted. A clock that jumps by days
// (a wrong time server, a machine that wakes up, an operator's slip) must not empty the queues.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>

namespace cm::broker {

enum class ClockVerdict : std::uint8_t {
  kTrusted,
  kJumped,   // found just now; believe it for nothing that deletes
  kWaiting,  // the same time as at the start or after the jump, not held for long enough
};

// Pure: both clocks are passed in.
class WallClockGuard {
 public:
  static constexpr std::int64_t kJumpMs = 3'600'000;  // a larger difference to the monotonic clock is a jump
  // A new time is the truth after it has run evenly for this long.
  static constexpr std::int64_t kHoldMs = 3'600'000;

  // The clock at the start is not believed: there is nothing to compare it with, and many a machine boots with a wrong
  // one that a time server corrects soon.
  void start(std::int64_t wall_ms, std::int64_t monotonic_ms) {
    trusted_.reset();
    candidate_ = {wall_ms, monotonic_ms};
  }

  ClockVerdict check(std::int64_t wall_ms, std::int64_t monotonic_ms) {
    const Reading now{wall_ms, monotonic_ms};
    if (trusted_ && agrees(*trusted_, now)) {
      trusted_ = now;
      candidate_.reset();
      return ClockVerdict::kTrusted;
    }
    if (!candidate_ || !agrees(*candidate_, now)) {
      candidate_ = now;
      return ClockVerdict::kJumped;
    }
    if (monotonic_ms - candidate_->monotonic_ms < kHoldMs) {
      return ClockVerdict::kWaiting;
    }
    trusted_ = now;
    candidate_.reset();
    return ClockVerdict::kTrusted;
  }

  // How far the clock is ahead of what the trusted reading promises (before there is one: the last candidate);
  // negative: behind.
  std::int64_t ahead_ms(std::int64_t wall_ms, std::int64_t monotonic_ms) const {
    const Reading now{wall_ms, monotonic_ms};
    return difference_ms(trusted_ ? *trusted_ : candidate_.value_or(now), now);
  }

 private:
  struct Reading {
    std::int64_t wall_ms = 0;
    std::int64_t monotonic_ms = 0;
  };
  static std::int64_t difference_ms(const Reading& before, const Reading& now) {
    return (now.wall_ms - before.wall_ms) - (now.monotonic_ms - before.monotonic_ms);
  }
  static bool agrees(const Reading& before, const Reading& now) {
    return std::abs(difference_ms(before, now)) <= kJumpMs;
  }

  std::optional<Reading> trusted_;  // none before the clock of the start has held
  std::optional<Reading> candidate_;
};

}  // namespace cm::broker
