// Writes that no one waits for: acknowledgements, claims, audit entries, peer states. They are collected and run in
// order, many in one work. What is lost in a crash is repeated (a delivery) or rebuilt (the audit log).
#pragma once

#include <claudemesh/cpp/host.hpp>
#include <claudemesh/cpp/storage.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "plugins/ws_broker/src/metrics.hpp"
#include "plugins/ws_broker/src/store_health.hpp"

namespace cm::broker {

class WriteBehind {
 public:
  static constexpr std::uint64_t kDelayMs = 20;
  static constexpr std::uint64_t kRetryMs = 1'000;
  static constexpr std::size_t kBatchMax = 512;
  static constexpr std::size_t kPendingMax = 200'000;  // beyond it new writes are dropped and counted

  WriteBehind(const HostApi& host, StorageClient& storage, const Metrics& metrics, StoreHealth& health);

  // `write` runs later on the storage's thread; it owns all it needs. `settled` (may be empty) runs on the loop when
  // the write is durable or was refused by the store, and never after stop(). False: dropped, `settled` is not called.
  // [loop]
  bool add(SqlWork write, std::function<void()> settled = {});
  // For a part that collects by itself: after wake() it is asked once for its write, when the next batch is put
  // together. An empty write is left out.
  void set_collector(std::function<SqlWork()> collector) { collector_ = std::move(collector); }
  void wake();
  // `done` runs when everything added so far is durable (at once if nothing waits). [loop]
  void flush(std::function<void()> done);
  bool idle() const noexcept { return pending_.empty() && !running_ && !awake_; }
  void stop();

 private:
  struct Write {
    SqlWork work;
    std::function<void()> settled;
  };
  using Batch = std::shared_ptr<std::vector<Write>>;
  void start_timer(std::uint64_t delay_ms);
  void plan();
  void collect();
  void run_next();
  void finished(const Batch& batch, const Status& status);
  void answer_waiters();

  struct Waiter {
    std::uint64_t after;  // number of writes that must be durable
    std::function<void()> done;
  };

  const HostApi& host_;
  StorageClient& storage_;
  const Metrics& metrics_;
  StoreHealth& health_;
  Timer timer_;
  std::function<SqlWork()> collector_;
  std::deque<Write> pending_;
  std::deque<Waiter> waiters_;
  std::uint64_t added_ = 0;
  std::uint64_t durable_ = 0;
  bool running_ = false;
  bool awake_ = false;  // the collector has something
  bool stopped_ = false;
};

}  // namespace cm::broker
