#include "host/net/detail/default_trust.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace cm::net::detail {

ReadySignal::ReadySignal() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void ReadySignal::set() const noexcept {
  const std::uint64_t one = 1;
  // It cannot fail: the counter is far from its end, and nobody reads it.
  [[maybe_unused]] const ssize_t written = ::write(fd(), &one, sizeof one);
}

DefaultTrust& DefaultTrust::get() {
  static DefaultTrust trust;
  return trust;
}

DefaultTrust::DefaultTrust() {
  // Makes OpenSSL register its clean-up before ours, which then runs first and finds OpenSSL whole.
  static_cast<void>(TlsClientContext::create({true, false, {}}));
}

DefaultTrust::~DefaultTrust() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void DefaultTrust::prepare() {
  const std::lock_guard lock(mutex_);
  if (reading_ || (outcome_ && outcome_->ok())) {
    return;
  }
  if (thread_.joinable()) {
    thread_.join();  // it has said its outcome, so it ends
  }
  outcome_.reset();
  reading_ = true;
  // Signals are for the threads that know them.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { read(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void DefaultTrust::read() {
  Context context = TlsClientContext::create({});
  std::vector<std::shared_ptr<ReadySignal>> waiting;
  {
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(context);
    reading_ = false;
    waiting = std::exchange(waiting_, {});
    done_.notify_all();
  }
  for (const auto& signal : waiting) {
    signal->set();
  }
}

std::optional<DefaultTrust::Context> DefaultTrust::ask(const std::shared_ptr<ReadySignal>& signal) {
  const std::lock_guard lock(mutex_);
  if (!outcome_) {
    waiting_.push_back(signal);
  }
  return outcome_;
}

DefaultTrust::Context DefaultTrust::wait() {
  prepare();
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return outcome_.has_value(); });
  return *outcome_;
}

}  // namespace cm::net::detail
