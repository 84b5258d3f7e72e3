#include "protocol/lease.hpp"

#include <limits>

namespace cm::protocol {

Lease::Lease(std::uint64_t connection, std::int64_t now_ms, const LeaseTimes& times)
    : times_(times), connection_(connection), last_alive_ms_(now_ms), next_ping_ms_(now_ms + times.ping_interval_ms) {}

void Lease::alive(std::uint64_t connection, std::int64_t now_ms) {
  // A clock that steps back must not make a live connection look older than it is.
  if (state_ == LeaseState::kOnline && connection == connection_ && now_ms > last_alive_ms_) {
    last_alive_ms_ = now_ms;
  }
}

LeaseAction Lease::tick(std::int64_t now_ms) {
  if (state_ == LeaseState::kEvicted) {
    return LeaseAction::kNone;
  }
  if (state_ == LeaseState::kOffline) {
    if (now_ms - offline_since_ms_ < times_.grace_ms) {
      return LeaseAction::kNone;
    }
    state_ = LeaseState::kEvicted;
    return LeaseAction::kEvict;
  }
  if (now_ms - last_alive_ms_ > times_.stale_after_ms) {
    return LeaseAction::kTerminate;
  }
  if (now_ms < next_ping_ms_) {
    return LeaseAction::kNone;
  }
  next_ping_ms_ = now_ms + times_.ping_interval_ms;
  return LeaseAction::kPing;
}

bool Lease::closed(std::uint64_t connection, std::int64_t now_ms) {
  if (state_ != LeaseState::kOnline || connection != connection_) {
    return false;
  }
  state_ = LeaseState::kOffline;
  offline_since_ms_ = now_ms;
  return true;
}

bool Lease::reattach(std::uint64_t connection, std::int64_t now_ms) {
  const bool grace_over = state_ == LeaseState::kOffline && now_ms - offline_since_ms_ >= times_.grace_ms;
  if (state_ == LeaseState::kEvicted || grace_over) {
    return false;
  }
  connection_ = connection;
  state_ = LeaseState::kOnline;
  last_alive_ms_ = now_ms;
  next_ping_ms_ = now_ms + times_.ping_interval_ms;
  return true;
}

bool Lease::evict() {
  if (state_ == LeaseState::kEvicted) {
    return false;
  }
  state_ = LeaseState::kEvicted;
  return true;
}

std::int64_t Lease::deadline_ms() const noexcept {
  switch (state_) {
    case LeaseState::kOnline:
      return next_ping_ms_;
    case LeaseState::kOffline:
      return offline_since_ms_ + times_.grace_ms;
    case LeaseState::kEvicted:
      break;
  }
  return std::numeric_limits<std::int64_t>::max();
}

LeaseAction client_watchdog(std::int64_t last_activity_ms, std::int64_t now_ms) {
  return now_ms - last_activity_ms > kStaleAfterMs ? LeaseAction::kTerminate : LeaseAction::kPing;
}

}  // namespace cm::protocol
