// Watches the loops from a thread of its own and names a plugin that blocks one, while it still does.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "host/services/loop_thread.hpp"
#include "host/services/services.hpp"

namespace cm::host {

inline constexpr std::uint64_t kWatchdogIntervalMs = 100;

// [control] for everything but firing.
class Watchdog {
 public:
  Watchdog(Services& services, std::vector<LoopThread*> loops);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // [any] True while some loop is stuck inside a plugin.
  bool firing() const noexcept { return firing_.load(std::memory_order_relaxed); }

 private:
  void main();
  // True when the loop is stuck now; reports each stuck call once.
  bool look_at(std::size_t loop, std::int64_t now_ns);

  Services& services_;
  const std::vector<LoopThread*> loops_;
  std::vector<std::int64_t> reported_since_ns_;
  std::atomic<bool> firing_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace cm::host
