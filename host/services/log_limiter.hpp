// How much one instance may write into the log: a flood costs the others disk, and hides what matters.
#pragma once

#include <atomic>
#include <cstdint>

namespace cm::host {

// A token bucket in one word (generic cell rate algorithm): `burst_s` seconds' worth of lines may come at once. Any
// thread.
class LogLimiter {
 public:
  explicit LogLimiter(std::int64_t burst_s) noexcept : burst_ns_(burst_s * 1'000'000'000) {}

  // May a line be written now? Otherwise it is counted as dropped. 0 lines per second: no limit.
  bool admit(std::int64_t now_ns, std::uint32_t lines_per_second) noexcept {
    if (lines_per_second == 0) {
      return true;
    }
    const std::int64_t cost_ns = 1'000'000'000 / lines_per_second;
    std::int64_t full_at_ns = full_at_ns_.load(std::memory_order_relaxed);
    for (;;) {
      const std::int64_t from_ns = full_at_ns > now_ns ? full_at_ns : now_ns;
      if (from_ns + cost_ns - now_ns > burst_ns_) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        untold_.fetch_add(1, std::memory_order_relaxed);
        return false;
      }
      if (full_at_ns_.compare_exchange_weak(full_at_ns, from_ns + cost_ns, std::memory_order_relaxed)) {
        return true;
      }
    }
  }
  // How many were dropped since the last call.
  std::uint64_t take_untold() noexcept {
    return untold_.load(std::memory_order_relaxed) == 0 ? 0 : untold_.exchange(0, std::memory_order_relaxed);
  }
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  const std::int64_t burst_ns_;
  std::atomic<std::int64_t> full_at_ns_{0};
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> untold_{0};
};

}  // namespace cm::host
