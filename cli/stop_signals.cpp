#include "cli/stop_signals.hpp"

#include <signal.h>

namespace cm::cli {

namespace {

std::atomic<bool> requested{false};

void on_signal(int) {
  requested.store(true);
}

}  // namespace

void stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

std::atomic<bool>& stop_requested() {
  return requested;
}

}  // namespace cm::cli
