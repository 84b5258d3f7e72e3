// The reactor: one thread that waits for sockets, timers, signals and posted work.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/net/unique_function.hpp"

namespace cm::net {

namespace detail {
class LoopCore;
}

// Names of things that live on a loop. Never reused within a loop's life; zero names nothing.
enum class TimerId : std::uint64_t { kNone = 0 };
enum class WatchId : std::uint64_t { kNone = 0 };

// What a watch waits for, and what it found. An error or hang-up on the descriptor reports what was waited for, so that
// the following read or write shows it.
struct FdInterest {
  bool readable = false;
  bool writable = false;
};

// One reactor. Everything of one connection lives on one loop, and between loops only post() is used.
//
// A *turn* is: wait, run what became ready (sockets, signals, posts, due timers), then the end-of-batch functions.
// Output is flushed at the end of a turn, so that all that was answered in one turn leaves in one write per connection.
//
// Thread tags: [any] any thread; [loop] the thread inside run(), or, while nobody is inside run(), the thread that has
// the loop to itself (construction, tests, tear-down). [loop] functions assert it in debug builds.
// Every object bound to a loop (server, client, connection) must be destroyed before the loop, and on its thread.
class Loop {
 public:
  // At most this many handlers run before due timers and the end-of-batch functions, and none is begun after this
  // time: one socket that always has more to read must not hold back what is to be sent to all others.
  static constexpr int kHandlersPerTurnMax = 512;
  static constexpr std::int64_t kTurnNsMax = 2'000'000;

  // Throws std::system_error when the kernel refuses a descriptor (start-up only). `name` is for logs.
  explicit Loop(std::string name = "loop");
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  const std::string& name() const noexcept;

  // [any] Runs `fn` on the loop, never inside this call, in the order of posting. Many posts wake the loop once. What
  // is still queued when the loop is destroyed is destroyed without being run.
  void post(UniqueFunction<void()> fn);

  // [any, one thread at a time] Runs turns until stop(). May be called again after it returned.
  void run();
  // [any] Makes run() return after the turn in which everything posted before this call has run. When called before
  // run(), the next run() returns after one such turn.
  void stop();
  // [loop] Runs one turn, waiting at most `wait_ms` for something to do. For tests and blocking facades.
  void run_once(std::uint64_t wait_ms);

  // [any] True on the thread inside run() or run_once(), and also while no thread is inside.
  bool on_loop() const noexcept;

  // [any] The steady clock in nanoseconds, the time base of every deadline here.
  static std::int64_t now_ns() noexcept;

  // [loop] Calls `fn` once, not before `deadline_ns` (now_ns() base) and at most about 1 ms late on an idle loop.
  TimerId start_timer(std::int64_t deadline_ns, UniqueFunction<void()> fn);
  // [loop] The same, `delay_ms` from now.
  TimerId start_timer_after_ms(std::uint64_t delay_ms, UniqueFunction<void()> fn);
  // [loop] True when the timer was still waiting; its function is destroyed and will not run. Unknown ids give false.
  bool cancel_timer(TimerId id);

  // [loop] Calls `fn(ready)` whenever the descriptor is ready for something of the interest (level-triggered), until
  // unwatch_fd(). The descriptor stays the caller's: unwatch first, then close. One watch per descriptor.
  // Errors: kInvalid for a descriptor that cannot be waited for (regular files), kIo from the kernel.
  Result<WatchId> watch_fd(int fd, FdInterest interest, UniqueFunction<void(FdInterest ready)> fn);
  // [loop] Replaces the interest; kGone when the watch does not exist. An empty interest pauses the watch.
  Status update_watch(WatchId id, FdInterest interest);
  // [loop] Ends the watch; `fn` will not be called again. Unknown ids are ignored. Allowed inside `fn`.
  void unwatch_fd(WatchId id);

  // [loop] Calls `fn(signal_number)` on the loop for each delivery of one of the signals. Process-wide effect: the
  // default action of these signals no longer happens. Several watches may name the same signal; all are called.
  Result<WatchId> watch_signals(const std::vector<int>& signal_numbers, UniqueFunction<void(int)> fn);
  void unwatch_signals(WatchId id);

  // [loop] Runs `fn` once at the end of the current turn, before the loop waits again; functions added by end-of-batch
  // functions run at the end of the next turn, which follows without waiting.
  void at_end_of_batch(UniqueFunction<void()> fn);

  // For this room only: the parts that carry Asio types or scratch memory.
  detail::LoopCore& core() noexcept { return *core_; }

 private:
  std::unique_ptr<detail::LoopCore> core_;
};

}  // namespace cm::net
