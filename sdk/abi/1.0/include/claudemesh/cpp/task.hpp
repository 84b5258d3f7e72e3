// Coroutine tasks for code that lives on one loop.
//
// `Task<T>` starts lazily, when it is awaited or given to `spawn`. A task never changes the thread: whatever resumes it
// (a timer, a storage answer, an HTTP response) does so on the loop of the instance. What a task throws is thrown again
// where it is awaited; what leaves a task that was given to `spawn` is thrown again where the callback of the host ends
// that resumed it, so it is named and counted there (HostApi::guarded) and unwinds no frame that only waits.
//
// g++ 12: never put a braced list inside a `co_await` expression; build the argument in a named local first.
#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

namespace cm {

template <typename T = void>
class [[nodiscard]] Task;

namespace detail {

// What author's code threw where nobody can catch it (a task that nobody awaits, the end of a Gate): kept for the
// callback that is running on this thread. Of several the first is kept; outside of a callback the process ends.
class Escaped {
 public:
  Escaped() noexcept : outer_(std::exchange(current_, this)) {}
  Escaped(const Escaped&) = delete;
  Escaped& operator=(const Escaped&) = delete;
  ~Escaped() { current_ = outer_; }

  // Throws what was kept, if something was. [any]
  void rethrow() {
    if (thrown_ != nullptr) {
      std::rethrow_exception(std::exchange(thrown_, nullptr));
    }
  }
  // Inside a catch block: keeps what it caught. [any]
  static void keep() noexcept {
    if (current_ == nullptr) {
      std::terminate();
    }
    if (current_->thrown_ == nullptr) {
      current_->thrown_ = std::current_exception();
    }
  }

 private:
  static inline thread_local Escaped* current_ = nullptr;
  Escaped* outer_;
  std::exception_ptr thrown_;
};

struct TaskPromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  std::exception_ptr thrown = nullptr;

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> finished) noexcept {
      return finished.promise().continuation;
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { thrown = std::current_exception(); }
};

template <typename T>
struct TaskPromise : TaskPromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};

template <>
struct TaskPromise<void> : TaskPromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() noexcept {}
};

}  // namespace detail

// Owns a suspended coroutine; destroying an unfinished task destroys its frame (cancellation).
template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;

  Task() = default;
  explicit Task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() { reset(); }

  auto operator co_await() && noexcept {
    struct Awaiter {
      std::coroutine_handle<promise_type> handle;
      bool await_ready() const noexcept { return !handle || handle.done(); }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
        handle.promise().continuation = awaiting;
        return handle;
      }
      T await_resume() {
        if (handle.promise().thrown != nullptr) {
          std::rethrow_exception(handle.promise().thrown);
        }
        if constexpr (!std::is_void_v<T>) {
          return std::move(*handle.promise().value);
        }
      }
    };
    return Awaiter{handle_};
  }

 private:
  void reset() noexcept {
    if (handle_) {
      handle_.destroy();
      handle_ = {};
    }
  }

  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <typename T>
Task<T> TaskPromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<TaskPromise<T>>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<TaskPromise<void>>::from_promise(*this));
}

// A coroutine that nobody awaits: it owns itself and ends by itself.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

inline Detached run_detached(Task<void> task, std::function<void()> finished) {
  try {
    co_await std::move(task);
    if (finished) {
      finished();
    }
  } catch (...) {
    Escaped::keep();
  }
}

}  // namespace detail

// Starts `task` now, on this thread, and lets it run to its end; `finished` (may be empty) is called then, but not
// after a task that threw. The objects that the task refers to must outlive it: pair it with a Gate.
inline void spawn(Task<void> task, std::function<void()> finished = {}) {
  detail::run_detached(std::move(task), std::move(finished));
}

// Counts what is in flight, so that an object can wait for it before it goes away. One loop only.
class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Keeps the gate occupied while it lives; empty when the gate is closed.
  class Pass {
   public:
    Pass() = default;
    explicit Pass(Gate* gate) noexcept : gate_(gate) {}
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept {
      if (this != &other) {
        leave();
        gate_ = std::exchange(other.gate_, nullptr);
      }
      return *this;
    }
    ~Pass() { leave(); }
    explicit operator bool() const noexcept { return gate_ != nullptr; }

   private:
    void leave() noexcept {
      if (Gate* gate = std::exchange(gate_, nullptr)) {
        gate->leave();
      }
    }
    Gate* gate_ = nullptr;
  };

  // Takes a place; the pass is empty when the gate is closed. [loop]
  Pass enter() noexcept {
    if (closed_) {
      return Pass();
    }
    ++inside_;
    return Pass(this);
  }

  // No one enters any more; `empty` is called once, when the last one has left (at once if nobody is inside).
  void close(std::function<void()> empty) {
    closed_ = true;
    empty_ = std::move(empty);
    call_if_empty();
  }

  // How many passes are out. [loop]
  std::size_t inside() const noexcept { return inside_; }
  // Was close called? [loop]
  bool closed() const noexcept { return closed_; }

 private:
  void leave() noexcept {
    --inside_;
    call_if_empty();
  }
  void call_if_empty() noexcept {
    if (closed_ && inside_ == 0 && empty_) {
      try {
        std::exchange(empty_, {})();
      } catch (...) {
        detail::Escaped::keep();
      }
    }
  }

  std::size_t inside_ = 0;
  bool closed_ = false;
  std::function<void()> empty_;
};

// Hands a value from a callback to the coroutine that waits for it. Set exactly once, by the callback.
template <typename T>
class OneShot {
 public:
  // Resumes the coroutine that waits, before it returns. [loop]
  void set(T value) {
    value_.emplace(std::move(value));
    if (auto waiting = std::exchange(waiting_, {})) {
      waiting.resume();
    }
  }
  bool await_ready() const noexcept { return value_.has_value(); }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { waiting_ = waiting; }
  T await_resume() { return std::move(*value_); }

 private:
  std::optional<T> value_;
  std::coroutine_handle<> waiting_;
};

}  // namespace cm
