#include "host/services/watchdog.hpp"

#include <pthread.h>

#include <chrono>

#include "host/services/instance.hpp"

namespace cm::host {

Watchdog::Watchdog(Services& services, std::vector<LoopThread*> loops)
    : services_(services),
      loops_(std::move(loops)),
      reported_since_ns_(loops_.size(), 0),
      thread_([this] { main(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::main() {
  pthread_setname_np(pthread_self(), "watchdog");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait_for(lock, std::chrono::milliseconds(kWatchdogIntervalMs), [this] { return stopping_; });
    bool firing = false;
    for (std::size_t loop = 0; loop < loops_.size(); ++loop) {
      firing = look_at(loop, net::Loop::now_ns()) || firing;
    }
    firing_.store(firing, std::memory_order_relaxed);
  }
}

bool Watchdog::look_at(std::size_t loop, std::int64_t now_ns) {
  const LoopWatch::Sample sample = loops_[loop]->watch().sample();
  if (sample.since_ns == 0 || now_ns - sample.since_ns < kCallStuckNs) {
    return false;
  }
  if (reported_since_ns_[loop] != sample.since_ns) {
    reported_since_ns_[loop] = sample.since_ns;
    services_.counters.watchdog_hits.fetch_add(1, std::memory_order_relaxed);
    sample.instance->set_degraded(true);
    if (loops_[loop]->watch().sample().since_ns != sample.since_ns) {
      sample.instance->set_degraded(false);  // It came back in this very moment and cannot clear the mark itself.
    }
    sample.instance->misbehaved("blocks " + std::string(loops_[loop]->loop().name()) + " in the callback " +
                                callback_name(sample.kind) + " since " +
                                std::to_string((now_ns - sample.since_ns) / 1'000'000) +
                                " ms; every instance of this loop waits for it");
  }
  return true;
}

}  // namespace cm::host
