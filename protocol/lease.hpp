// The presence lease as a pure state machine: functions of now_ms, no clock, no timer. The owner calls it and does what
// the returned action says. 30 s ping, 75 s stale, 90 s grace; one leave per lease (wire/02 section 1.3).
#pragma once

#include <cstdint>

namespace cm::protocol {

inline constexpr std::int64_t kPingIntervalMs = 30'000;
inline constexpr std::int64_t kStaleAfterMs = 75'000;
inline constexpr std::int64_t kLeaseGraceMs = 90'000;
inline constexpr std::int64_t kPresenceSweepMs = 30'000;  // rows without a ping for the grace time are disconnected
static_assert(kStaleAfterMs > 2 * kPingIntervalMs, "one lost pong must not end a connection");
static_assert(kLeaseGraceMs > kStaleAfterMs, "a half-open connection must be reattachable when it is noticed");

enum class LeaseState : std::uint8_t {
  kOnline,   // a connection is bound
  kOffline,  // no connection; the presence lives on until the grace ends
  kEvicted,  // over; nothing brings it back
};

enum class LeaseAction : std::uint8_t {
  kNone,
  kPing,       // send a WebSocket ping
  kTerminate,  // the connection is stale: drop it without a close frame, then call closed()
  kEvict,      // the grace ended: announce one leave, forget the presence
};

// The times of one lease; the defaults are those of the original. An operator may shorten them.
struct LeaseTimes {
  std::int64_t ping_interval_ms = kPingIntervalMs;
  std::int64_t stale_after_ms = kStaleAfterMs;
  std::int64_t grace_ms = kLeaseGraceMs;
};

class Lease {
 public:
  // A connection was bound at now_ms. `connection` is the owner's number of that connection, never reused.
  Lease(std::uint64_t connection, std::int64_t now_ms, const LeaseTimes& times = {});

  // A pong (or, for a client, any frame) arrived on that connection; of an older one it is ignored.
  void alive(std::uint64_t connection, std::int64_t now_ms);
  // Call every ping interval, or at deadline_ms(). kPing or kTerminate while online, kEvict once after the grace.
  LeaseAction tick(std::int64_t now_ms);
  // The connection closed. False (and nothing changes) for one that was already replaced, or when not online.
  bool closed(std::uint64_t connection, std::int64_t now_ms);
  // A new connection takes over, from online or offline. False when evicted, or when the grace is over at now_ms: the
  // caller must then evict and create a new presence.
  bool reattach(std::uint64_t connection, std::int64_t now_ms);
  // Kick, ban, replacement: ends at once. True the first time only, so that exactly one leave is announced.
  bool evict();

  LeaseState state() const noexcept { return state_; }
  std::uint64_t connection() const noexcept { return connection_; }
  std::int64_t last_alive_ms() const noexcept { return last_alive_ms_; }
  // When tick() next has something to do: the next ping, or the end of the grace. Meaningless once evicted (INT64_MAX).
  std::int64_t deadline_ms() const noexcept;

 private:
  LeaseTimes times_;
  std::uint64_t connection_;
  LeaseState state_ = LeaseState::kOnline;
  std::int64_t last_alive_ms_;
  std::int64_t next_ping_ms_;
  std::int64_t offline_since_ms_ = 0;
};

// The client's watchdog: every 30 s, terminate after 75 s without any frame, else ping.
LeaseAction client_watchdog(std::int64_t last_activity_ms, std::int64_t now_ms);

}  // namespace cm::protocol
