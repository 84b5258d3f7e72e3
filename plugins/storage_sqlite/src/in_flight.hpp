// Counts accepted work of all threads, so that a drain knows when the last answer is on its way. Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>

namespace cm::storage {

class InFlight {
 public:
  // False once closed.
  bool enter() {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      return false;
    }
    ++count_;
    return true;
  }
  void leave(std::size_t count = 1) {
    std::function<void()> empty;
    {
      const std::lock_guard lock(mutex_);
      count_ -= count;
      if (count_ == 0) {
        empty = std::exchange(empty_, {});
      }
    }
    if (empty) {
      empty();
    }
  }
  // Nobody enters any more. `empty` is called once, on the thread of the last one to leave, or at once on this one.
  void close(std::function<void()> empty) {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      if (count_ != 0) {
        empty_ = std::move(empty);
        return;
      }
    }
    empty();
  }
  std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  mutable std::mutex mutex_;
  std::size_t count_ = 0;
  bool closed_ = false;
  std::function<void()> empty_;
};

}  // namespace cm::storage
