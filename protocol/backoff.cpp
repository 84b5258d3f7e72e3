#include "protocol/backoff.hpp"

#include <algorithm>

namespace cm::protocol {
namespace {

// A number in [0, bound] from a uniform 64-bit one; the modulo bias over 2^64 is far below a millisecond.
std::int64_t uniform_to(std::int64_t bound, std::uint64_t random) {
  return static_cast<std::int64_t>(random % (static_cast<std::uint64_t>(bound) + 1));
}

}  // namespace

std::int64_t reconnect_cap_ms(std::uint32_t attempt) {
  return kReconnectCapsMs[std::min<std::size_t>(attempt, kReconnectCapsMs.size() - 1)];
}

std::int64_t reconnect_delay_ms(std::uint32_t attempt, std::uint64_t random) {
  return uniform_to(reconnect_cap_ms(attempt), random);
}

std::int64_t outbox_retry_cap_ms(std::uint32_t attempt) {
  // 500 * 2^6 is beyond the maximum already; the shift must not overflow for a row that was retried for a week.
  const std::uint32_t exponent = std::min<std::uint32_t>(attempt, 6);
  return std::min(kOutboxRetryMaxMs, kOutboxRetryBaseMs << exponent);
}

std::int64_t outbox_retry_delay_ms(std::uint32_t attempt, std::uint64_t random) {
  const std::int64_t cap = outbox_retry_cap_ms(attempt);
  return cap - uniform_to(cap / 2, random);
}

}  // namespace cm::protocol
