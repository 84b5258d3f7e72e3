#include "plugins/broker_link/src/reconnect_policy.hpp"

#include <algorithm>

#include "protocol/backoff.hpp"
#include "protocol/close_codes.hpp"

namespace cm::broker_link {

std::uint64_t ReconnectPolicy::replaced_min_delay_ms(const Lost& lost) {
  if (lost.code != 1000 || lost.reason != protocol::kReasonSessionReplaced) {
    return 0;
  }
  const bool repeated = was_replaced_ && lost.now_ms - replaced_ms_ < kReplacedMemoryMs;
  was_replaced_ = true;
  replaced_ms_ = lost.now_ms;
  return repeated ? kReplacedMinDelayMs : 0;
}

Reconnect ReconnectPolicy::lost(const Lost& lost) {
  if (open_ && lost.now_ms - opened_ms_ >= kStableOpenMs) {
    attempt_ = 0;
  }
  open_ = false;
  const std::uint64_t minimum_ms = replaced_min_delay_ms(lost);
  if (protocol::is_terminal_close(static_cast<std::uint16_t>(lost.code)) ||
      lost.code == static_cast<std::uint32_t>(protocol::CloseCode::kFeatureUnavailable)) {
    return Reconnect{true, refused_retry_ms_};
  }
  if (lost.code == static_cast<std::uint32_t>(protocol::CloseCode::kPolicy)) {
    attempt_ = std::max(attempt_, kRefusedHelloAttempt);
  }
  const auto delay_ms = static_cast<std::uint64_t>(protocol::reconnect_delay_ms(attempt_, lost.random));
  ++attempt_;
  return Reconnect{false, std::max(delay_ms, minimum_ms)};
}

}  // namespace cm::broker_link
