#include "host/services/loop_thread.hpp"

#include <pthread.h>

#include <cassert>
#include <condition_variable>
#include <mutex>

#include "host/services/instance.hpp"

namespace cm::host {

LoopThread::LoopThread(std::uint32_t index, std::string name, std::shared_ptr<net::NetCounters> counters)
    : index_(index), counters_(std::move(counters)), loop_(std::move(name)) {}

LoopThread::~LoopThread() {
  stop();
}

void LoopThread::start() {
  assert(!thread_.joinable());
  thread_ = std::thread([this] { main(); });
}

void LoopThread::main() {
  current_loop_thread = this;
  pthread_setname_np(pthread_self(), loop_.name().c_str());
  loop_.run();
  http_client_.reset();
  current_loop_thread = nullptr;
}

void LoopThread::stop() {
  if (thread_.joinable()) {
    loop_.stop();
    thread_.join();
  }
}

namespace {

// One thread waits for one moment on another. Signalled under the lock: the waiter owns this object and may destroy it
// as soon as it sees `done`.
class Rendezvous {
 public:
  void signal() {
    const std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

}  // namespace

void LoopThread::run_sync(const std::function<void()>& function) {
  assert(current_loop_thread == nullptr && "a loop must not wait for a loop");
  Rendezvous rendezvous;
  loop_.post([&rendezvous, &function] {
    function();
    rendezvous.signal();
  });
  rendezvous.wait();
}

void LoopThread::settle() {
  assert(current_loop_thread == nullptr && "a loop must not wait for a loop");
  Rendezvous rendezvous;
  loop_.post([this, &rendezvous] { loop_.at_end_of_batch([&rendezvous] { rendezvous.signal(); }); });
  rendezvous.wait();
}

std::string LoopThread::who_holds() const {
  const LoopWatch::Sample sample = watch_.sample();
  if (sample.since_ns == 0) {
    return loop_.name() + " does not answer, though no plugin holds it";
  }
  return "instance \"" + sample.instance->name() + "\" holds " + loop_.name() + " in its callback " +
         callback_name(sample.kind) + " for " + std::to_string((net::Loop::now_ns() - sample.since_ns) / 1'000'000) +
         " ms";
}

net::HttpClient& LoopThread::http_client() {
  assert(is_current());
  if (http_client_ == nullptr) {
    net::HttpClientOptions options;
    options.counters = counters_;
    http_client_ = std::make_unique<net::HttpClient>(loop_, std::move(options));
  }
  return *http_client_;
}

}  // namespace cm::host
