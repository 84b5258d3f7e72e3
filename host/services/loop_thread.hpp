// One loop with the thread that runs it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "host/net/counters.hpp"
#include "host/net/http_client.hpp"
#include "host/net/loop.hpp"
#include "host/services/calls.hpp"

namespace cm::host {

// Made, started, stopped and destroyed by the control thread. Instances that live here are entered only by its thread.
class LoopThread {
 public:
  LoopThread(std::uint32_t index, std::string name, std::shared_ptr<net::NetCounters> counters);
  ~LoopThread();
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  void start();
  // Ends the thread after the current turn and waits for it. What is still posted is dropped. Idempotent.
  void stop();

  // [control] Runs `function` on the loop and waits until it has returned. Must not be called by a loop.
  void run_sync(const std::function<void()>& function);

  // [control] Waits until a turn has ended that began after this call: what was answered before has been written.
  void settle();

  // [any] Who keeps this loop from answering, for an error text: "instance \"x\" holds loop-0 in its callback timer for
  // 1200 ms", or that it is not known.
  std::string who_holds() const;

  // [loop] The client that the instances of this loop share: one pool of kept-alive connections.
  net::HttpClient& http_client();

  std::uint32_t index() const noexcept { return index_; }
  net::Loop& loop() noexcept { return loop_; }
  const LoopWatch& watch() const noexcept { return watch_; }
  LoopWatch& watch() noexcept { return watch_; }
  bool is_current() const noexcept { return current_loop_thread == this; }

 private:
  void main();

  std::uint32_t index_;
  std::shared_ptr<net::NetCounters> counters_;
  net::Loop loop_;
  LoopWatch watch_;
  std::unique_ptr<net::HttpClient> http_client_;  // lives and dies on the loop's thread
  std::thread thread_;
};

}  // namespace cm::host
