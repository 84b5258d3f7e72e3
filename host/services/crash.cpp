#include "host/services/crash.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>

#include "host/services/calls.hpp"
#include "host/services/instance.hpp"

namespace cm::host {

namespace {

constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
std::array<struct sigaction, kSignals.size()> former_actions;
std::terminate_handler former_terminate = nullptr;
constinit thread_local bool line_written = false;
constinit std::atomic<int> mark_fd{-1};
constinit std::atomic<std::int64_t> mark_offset{0};
constinit std::atomic<bool> crashing{false};

// Only async-signal-safe calls from here on: write(2), and reading immortal memory.
class Line {
 public:
  void add(const char* text) noexcept {
    while (*text != '\0' && size_ < sizeof text_ - 1) {
      text_[size_++] = *text++;
    }
  }
  void write() noexcept {
    text_[size_++] = '\n';
    // There is nothing left to do when standard error is gone as well.
    static_cast<void>(!::write(STDERR_FILENO, text_, size_));
  }

 private:
  char text_[512];
  std::size_t size_ = 0;
};

const char* signal_text(int number) noexcept {
  switch (number) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGILL:
      return "SIGILL";
    case SIGABRT:
      return "SIGABRT";
    default:
      return "a signal";
  }
}

void add_place(Line& line) noexcept {
  const CurrentCall call = current_call;
  if (call.instance == nullptr) {
    line.add("outside any plugin callback");
    return;
  }
  line.add("inside plugin ");
  line.add(call.instance->name().c_str());
  line.add(" (");
  line.add(call.instance->plugin_id().c_str());
  line.add(", callback ");
  line.add(callback_name(call.kind));
  line.add(")");
}

void write_mark() noexcept {
  crashing.store(true);
  if (const int fd = mark_fd.load(); fd >= 0) {
    static_cast<void>(!::pwrite(fd, "1", 1, mark_offset.load()));
  }
}

void on_fatal_signal(int number) noexcept {
  write_mark();
  if (!line_written) {
    line_written = true;
    Line line;
    line.add("claudemesh: ");
    line.add(signal_text(number));
    line.add(": crashed ");
    add_place(line);
    line.write();
  }
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] == number) {
      sigaction(number, &former_actions[i], nullptr);
    }
  }
  // A fault happens again when this returns, now under the former action; an abort must be repeated.
  if (number == SIGABRT) {
    raise(number);
  }
}

[[noreturn]] void on_terminate() {
  line_written = true;
  Line line;
  line.add("claudemesh: an exception escaped ");
  add_place(line);
  if (const std::exception_ptr escaped = std::current_exception(); escaped != nullptr) {
    try {
      std::rethrow_exception(escaped);
    } catch (const std::exception& exception) {
      line.add(": ");
      line.add(exception.what());
    } catch (...) {
      line.add(": not a std::exception");
    }
  }
  line.write();
  if (former_terminate != nullptr) {
    former_terminate();
  }
  std::abort();
}

}  // namespace

void set_crash_mark(int fd, std::int64_t offset) noexcept {
  mark_offset.store(offset);
  mark_fd.store(fd);
  // Another thread may be dying just now, and its mark may be what the caller has written over.
  if (crashing.load()) {
    write_mark();
  }
}

void install_crash_handlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    former_terminate = std::set_terminate(on_terminate);
    struct sigaction action = {};
    action.sa_handler = on_fatal_signal;
    action.sa_flags = SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      sigaction(kSignals[i], &action, &former_actions[i]);
    }
  });
}

}  // namespace cm::host
