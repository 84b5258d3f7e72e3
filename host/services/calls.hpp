// What the host knows about each call into a plugin: who, which callback, since when, how long. The only place where
// plugin code is entered (anchors: rules 7, 9 and 18).
#pragma once

#include <claudemesh/abi.h>

#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "host/net/loop.hpp"

namespace cm::host {

class Instance;
class LoopThread;

// A call that takes longer is counted and logged as misbehaviour: it held up every instance of its loop.
inline constexpr std::int64_t kCallBudgetNs = 10'000'000;
// A call that takes longer is named by the watchdog while it still runs.
inline constexpr std::int64_t kCallStuckNs = 1'000'000'000;

enum class CallbackKind : std::uint32_t {
  kNone,
  kCreate,
  kConfigure,
  kGetExtension,
  kStart,
  kDrain,
  kStop,
  kDestroy,
  kReloadPrepare,
  kReloadFinish,
  kPost,
  kTimer,
  kEvent,
  kJob,
  kGoingAway,
  kHttpRequest,
  kHttpStream,
  kHttpResult,
  kWebSocketOpened,
  kWebSocketMessages,
  kWebSocketPong,
  kWebSocketDrained,
  kWebSocketClosed,
  kProcessOutput,
  kProcessDrained,
  kProcessExited,
  kRemote,  // what the process of an isolated plugin sent is carried out
  kCount,
};
inline constexpr std::size_t kCallbackKinds = static_cast<std::size_t>(CallbackKind::kCount);

// The name as metrics, logs and crash lines show it, zero-terminated, for example "timer".
const char* callback_name(CallbackKind kind) noexcept;

// Counts in buckets whose upper bounds are 1, 2, 4, ... 2^(kBuckets - 2), and one for everything above. Any thread.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 33;

  // Bucket i holds values in (2^(i-1), 2^i]; bucket 0 holds 0 and 1.
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    const std::size_t index = value <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(value - 1));
    return index < kBuckets ? index : kBuckets - 1;
  }

  // Any thread.
  void observe(std::uint64_t value) noexcept {
    buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }
  // For a histogram that only one thread writes: the same without locked instructions.
  void observe_unshared(std::uint64_t value) noexcept {
    auto& bucket = buckets_[bucket_of(value)];
    bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    sum_.store(sum_.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }

  std::uint64_t bucket(std::size_t index) const noexcept { return buckets_[index].load(std::memory_order_relaxed); }
  std::uint64_t sum() const noexcept { return sum_.load(std::memory_order_relaxed); }
  void reset() noexcept {
    for (auto& bucket : buckets_) {
      bucket.store(0, std::memory_order_relaxed);
    }
    sum_.store(0, std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets> buckets_{};
  std::atomic<std::uint64_t> sum_{0};
};

// Of one callback kind of one instance. Written by the instance's loop (jobs: by worker threads), read by anyone.
struct CallStats {
  Histogram duration_us;
  std::atomic<std::uint64_t> errors{0};    // calls that answered neither CM_OK nor CM_DEFER
  std::atomic<std::uint64_t> overruns{0};  // calls over kCallBudgetNs; never counted for jobs

  std::uint64_t calls() const noexcept;
  void reset() noexcept {
    duration_us.reset();
    errors.store(0, std::memory_order_relaxed);
    overruns.store(0, std::memory_order_relaxed);
  }
};

// Which call into a plugin this thread is in; all null outside. Read by the crash handlers.
struct CurrentCall {
  Instance* instance = nullptr;
  CallbackKind kind = CallbackKind::kNone;
};
extern constinit thread_local CurrentCall current_call;

// The loop whose thread this is, or null.
extern constinit thread_local LoopThread* current_loop_thread;

// What one loop is busy with, for the watchdog. Written by the loop, read by the watchdog thread.
class LoopWatch {
 public:
  struct Sample {
    Instance* instance = nullptr;
    CallbackKind kind = CallbackKind::kNone;
    std::int64_t since_ns = 0;  // 0: not inside a plugin
  };

  void begin(Instance* instance, CallbackKind kind, std::int64_t now_ns) noexcept {
    instance_.store(instance, std::memory_order_relaxed);
    kind_.store(kind, std::memory_order_relaxed);
    since_ns_.store(now_ns, std::memory_order_release);
  }
  void end() noexcept { since_ns_.store(0, std::memory_order_release); }

  // Instances are never freed, so even a torn sample is safe to look at; the second read of the time discards it.
  Sample sample() const noexcept;

 private:
  std::atomic<Instance*> instance_{nullptr};
  std::atomic<CallbackKind> kind_{CallbackKind::kNone};
  std::atomic<std::int64_t> since_ns_{0};
};

// Marks this thread as being inside a plugin for the life of the object.
class CallScope {
 public:
  CallScope(Instance& instance, CallbackKind kind) noexcept;
  ~CallScope();
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

 private:
  CurrentCall outer_;
  std::int64_t started_ns_;
};

// Counts a failed call; see CallStats::errors.
void count_call_error(Instance& instance, CallbackKind kind) noexcept;
// A status that is none of the ABI: counted, and reported as misbehaviour.
void report_garbage(Instance& instance, CallbackKind kind, cm_status status) noexcept;

// Calls `function` as the callback `kind` of the instance, on its loop (jobs: on a worker). Catches nothing: the ABI is
// noexcept, and a plugin that throws ends the process with a line that names it.
template <typename F>
auto enter(Instance& instance, CallbackKind kind, F&& function) noexcept {
  CallScope scope(instance, kind);
  using Answer = decltype(function());
  if constexpr (std::is_same_v<Answer, cm_status>) {
    const cm_status status = function();
    if (status != CM_OK && status != CM_DEFER) {
      count_call_error(instance, kind);
      if (status > CM_DEFER) [[unlikely]] {
        report_garbage(instance, kind, status);
      }
    }
    return status;
  } else {
    return function();
  }
}

}  // namespace cm::host
