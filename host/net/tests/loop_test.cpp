// Goal: the loop's promises: posting from any thread, timers, watches, signals, end-of-batch order.
#include "host/net/loop.hpp"

#include <fcntl.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "host/net/tests/net_test_support.hpp"

namespace cm::net {
namespace {

using test::run_until;

TEST(NetLoop, PostsFromManyThreadsKeepTheirOrder) {
  Loop loop;
  constexpr int kThreads = 4;
  constexpr int kPosts = 5000;
  std::vector<int> last(kThreads, -1);
  int ran = 0;
  bool ordered = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.post([&, t, i] {
          ordered = ordered && last[static_cast<std::size_t>(t)] == i - 1 && loop.on_loop();
          last[static_cast<std::size_t>(t)] = i;
          if (++ran == kThreads * kPosts) {
            loop.stop();
          }
        });
      }
    });
  }
  loop.run();
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(ran, kThreads * kPosts);
  EXPECT_TRUE(ordered);
}

TEST(NetLoop, BusyHandlersHoldBackNeitherTimersNorTheEndOfTheBatch) {
  Loop loop;
  constexpr std::int64_t kHandlerNs = 5'000'000;
  int handlers = 0;
  int handlers_at_flush = 0;
  int handlers_at_timer = 0;
  std::function<void()> busy = [&] {
    const std::int64_t until_ns = Loop::now_ns() + kHandlerNs;
    while (Loop::now_ns() < until_ns) {
    }
    if (++handlers == 1) {
      loop.at_end_of_batch([&] { handlers_at_flush = handlers; });
    }
    if (handlers_at_timer != 0 || handlers == Loop::kHandlersPerTurnMax) {
      loop.stop();
      return;
    }
    loop.post([&] { busy(); });
  };
  loop.start_timer(Loop::now_ns() + kHandlerNs, [&] { handlers_at_timer = handlers; });
  loop.post([&] { busy(); });
  loop.run();
  EXPECT_LT(handlers_at_flush, 10);
  EXPECT_GT(handlers_at_timer, 0);
  EXPECT_LT(handlers_at_timer, 10);
}

TEST(NetLoop, RunsOnOneThreadOnly) {
  Loop loop;
  EXPECT_TRUE(loop.on_loop()) << "nobody runs it yet";
  std::atomic<bool> inside{false};
  std::thread runner([&] {
    loop.post([&] { inside = true; });
    loop.run();
  });
  while (!inside) {
    std::this_thread::yield();
  }
  EXPECT_FALSE(loop.on_loop());
  loop.stop();
  runner.join();
  EXPECT_TRUE(loop.on_loop());
}

TEST(NetLoop, TimersFireInOrderAndCancel) {
  Loop loop;
  std::string order;
  const std::int64_t now = Loop::now_ns();
  loop.start_timer(now + 3'000'000, [&] { order += 'c'; });
  loop.start_timer(now + 1'000'000, [&] { order += 'a'; });
  const TimerId cancelled = loop.start_timer(now + 2'000'000, [&] { order += 'x'; });
  loop.start_timer(now + 2'000'000, [&] { order += 'b'; });
  EXPECT_TRUE(loop.cancel_timer(cancelled));
  EXPECT_FALSE(loop.cancel_timer(cancelled));
  EXPECT_FALSE(loop.cancel_timer(TimerId::kNone));
  ASSERT_TRUE(run_until(loop, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "abc");
  EXPECT_GE(Loop::now_ns(), now + 3'000'000) << "never early";
}

TEST(NetLoop, EndOfBatchComesAfterTheTurnsPosts) {
  Loop loop;
  std::string order;
  loop.post([&] {
    loop.at_end_of_batch([&] {
      order += 'E';
      loop.at_end_of_batch([&] { order += 'F'; });
    });
    order += '1';
  });
  loop.post([&] { order += '2'; });
  ASSERT_TRUE(run_until(loop, [&] { return order.find('F') != std::string::npos; }));
  EXPECT_EQ(order, "12EF");
}

TEST(NetLoop, WatchesAreLevelTriggeredAndCanEndThemselves) {
  Loop loop;
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
  int calls = 0;
  WatchId id{};
  auto watched = loop.watch_fd(fds[0], {.readable = true}, [&](FdInterest ready) {
    EXPECT_TRUE(ready.readable);
    if (++calls == 3) {
      loop.unwatch_fd(id);  // the byte was never read: it would be reported for ever
    }
  });
  ASSERT_TRUE(watched.ok());
  id = *watched;
  ASSERT_EQ(::write(fds[1], "x", 1), 1);
  ASSERT_TRUE(run_until(loop, [&] { return calls == 3; }));
  loop.run_once(1);
  EXPECT_EQ(calls, 3);
  EXPECT_FALSE(loop.update_watch(id, {}).ok());
  // The descriptor can be watched again, and a paused watch is silent.
  auto again = loop.watch_fd(fds[0], {}, [&](FdInterest) { ++calls; });
  ASSERT_TRUE(again.ok());
  loop.run_once(1);
  EXPECT_EQ(calls, 3);
  ASSERT_TRUE(loop.update_watch(*again, {.readable = true}).ok());
  ASSERT_TRUE(run_until(loop, [&] { return calls > 3; }));
  loop.unwatch_fd(*again);
  EXPECT_FALSE(loop.watch_fd(-1, {.readable = true}, [](FdInterest) {}).ok());
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST(NetLoop, SignalsArriveOnTheLoop) {
  Loop loop;
  int first = 0;
  int second = 0;
  auto one = loop.watch_signals({SIGHUP, SIGTERM}, [&](int number) { first = number; });
  auto two = loop.watch_signals({SIGHUP}, [&](int number) { second = number; });
  ASSERT_TRUE(one.ok() && two.ok());
  ::raise(SIGHUP);
  ASSERT_TRUE(run_until(loop, [&] { return first == SIGHUP && second == SIGHUP; }));
  loop.unwatch_signals(*two);
  ::raise(SIGTERM);
  ASSERT_TRUE(run_until(loop, [&] { return first == SIGTERM; }));
  EXPECT_FALSE(loop.watch_signals({SIGKILL}, [](int) {}).ok());
}

TEST(NetLoop, DestroysWhatIsStillQueued) {
  const auto token = std::make_shared<int>(0);
  {
    Loop loop;
    loop.post([token] {});
    loop.start_timer_after_ms(1000, [token] {});
    loop.at_end_of_batch([token] {});
  }
  EXPECT_EQ(token.use_count(), 1);
}

}  // namespace
}  // namespace cm::net
