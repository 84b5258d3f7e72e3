// What a broker's answer to a send means for the outbox. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocol/wire_messages.hpp"

namespace cm::broker_link {

// 1.37.0 names no delay with its rate limit; its bucket refills one message per second.
inline constexpr std::uint64_t kRateLimitRetryMs = 1'000;

enum class SendOutcome : std::uint32_t { kAccepted = 1, kDuplicate = 2, kRetry = 3, kRejected = 4 };  // CM_SEND_*

// `code` is one word, static or a view into the ack.
struct SendVerdict {
  SendOutcome outcome = SendOutcome::kRetry;
  std::string_view code;
  std::uint64_t retry_after_ms = 0;
};

// Our broker tells by `code`, `retryable` and `retry_after_ms` (specification v0.9.0 section 4.5b); 1.37.0 only by the
// texts of wire/02 section 3.2. A text that nobody knows is transient: the outbox's maximum age bounds the attempts.
SendVerdict classify_ack(const protocol::AckView& ack);

// An `error` frame that answers a send by its id.
SendVerdict classify_error_code(std::string_view code);

}  // namespace cm::broker_link
