// The trust of clients that named none: the system's CA bundle, read once per process. Reading it takes tens of
// milliseconds, so a thread of its own does that and no loop waits.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "host/net/tls.hpp"

namespace cm::net::detail {

// A descriptor that a loop watches and another thread makes readable. Owned by both sides, so that neither has to
// outlive the other.
class ReadySignal {
 public:
  ReadySignal();

  int fd() const noexcept { return fd_.get(); }  // -1: no descriptor was left
  void set() const noexcept;                     // any thread

 private:
  Descriptor fd_;
};

// Any thread for everything.
class DefaultTrust {
 public:
  using Context = Result<std::shared_ptr<TlsClientContext>>;

  static DefaultTrust& get();
  ~DefaultTrust();
  DefaultTrust(const DefaultTrust&) = delete;
  DefaultTrust& operator=(const DefaultTrust&) = delete;

  // Begins to read, unless that was done; a reading that failed is repeated. Does not wait.
  void prepare();
  // The outcome of the reading, or nothing while it goes on: `signal` is then set at its end.
  std::optional<Context> ask(const std::shared_ptr<ReadySignal>& signal);
  // Waits for the outcome; not on a loop.
  Context wait();

 private:
  DefaultTrust();
  void read();

  std::mutex mutex_;
  std::condition_variable done_;
  std::optional<Context> outcome_;  // guarded by mutex_, as are the next two
  std::vector<std::shared_ptr<ReadySignal>> waiting_;
  bool reading_ = false;
  std::thread thread_;
};

}  // namespace cm::net::detail
