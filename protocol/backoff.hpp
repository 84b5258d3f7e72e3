// Retry delays: pure functions of the attempt and a random number.
#pragma once

#include <array>
#include <cstdint>

namespace cm::protocol {

// Reconnect caps by attempt (wire/02 section 1.5); later attempts stay at the last one.
inline constexpr std::array<std::int64_t, 6> kReconnectCapsMs = {1'000, 2'000, 4'000, 8'000, 16'000, 30'000};
inline constexpr std::int64_t kOutboxRetryBaseMs = 500;
inline constexpr std::int64_t kOutboxRetryMaxMs = 30'000;

std::int64_t reconnect_cap_ms(std::uint32_t attempt);
// Full jitter: uniform in [0, cap]. `random` is any uniform 64-bit number. Attempt 0 is the first reconnect.
std::int64_t reconnect_delay_ms(std::uint32_t attempt, std::uint64_t random);
// min(30000, 500 * 2^attempt), without jitter, as the original's outbox does.
std::int64_t outbox_retry_cap_ms(std::uint32_t attempt);
// Equal jitter: uniform in [cap / 2, cap]; a retry that never comes at once, and never all together.
std::int64_t outbox_retry_delay_ms(std::uint32_t attempt, std::uint64_t random);

}  // namespace cm::protocol
