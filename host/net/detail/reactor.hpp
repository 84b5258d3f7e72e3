// The Asio side of a loop. Included by loop.cpp and resolver.cpp only, so that Asio compiles twice and no more.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "host/net/detail/loop_core.hpp"
#include "host/net/detail/timer_heap.hpp"

namespace cm::net::detail {

namespace asio = boost::asio;

// A descriptor and its two pending waits. Kept alive by the waits' handlers, so stopping never dangles.
struct FdState : std::enable_shared_from_this<FdState> {
  FdState(asio::io_context& context, FdListener& to) : descriptor(context), listener(&to) {}

  void arm();

  asio::posix::stream_descriptor descriptor;
  FdListener* listener;  // null once stopped
  bool want_read = false;
  bool want_write = false;
  bool read_pending = false;
  bool write_pending = false;
};

// A watch made by Loop::watch_fd.
struct PublicWatch final : FdListener, std::enable_shared_from_this<PublicWatch> {
  void on_fd_ready(bool readable, bool writable) override;

  FdWatch watch;
  UniqueFunction<void(FdInterest)> fn;
};

struct SignalWatch {
  SignalWatch(asio::io_context& context, UniqueFunction<void(int)> call) : set(context), fn(std::move(call)) {}

  asio::signal_set set;
  UniqueFunction<void(int)> fn;
  bool stopped = false;
};

struct Reactor {
  // One thread runs the context; the hint lets Asio skip work meant for several.
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
  TimerHeap timers;
  std::vector<UniqueFunction<void()>> batch_end;
  std::vector<UniqueFunction<void()>> batch_end_running;
  std::unordered_map<std::uint64_t, std::shared_ptr<PublicWatch>> watches;
  std::unordered_map<std::uint64_t, std::shared_ptr<SignalWatch>> signal_watches;
  std::uint64_t next_watch_id = 1;

  std::mutex post_mutex;
  std::vector<UniqueFunction<void()>> posted;          // guarded by post_mutex
  std::vector<UniqueFunction<void()>> posted_running;  // [loop]
  std::atomic<bool> stop_requested{false};
  std::atomic<std::thread::id> thread{};

  void turn(std::int64_t wait_limit_ns);
  void drain_posts();
  void run_due_timers();
  void run_batch_end();
  std::int64_t wait_ns(std::int64_t limit_ns) const;
};

}  // namespace cm::net::detail
