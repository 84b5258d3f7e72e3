#include "plugins/broker_link/src/ack_classifier.hpp"

#include <algorithm>
#include <array>

namespace cm::broker_link {
namespace {

struct KnownCode {
  std::string_view code;
  SendOutcome outcome;
  std::uint64_t retry_after_ms;
};

constexpr std::array kKnownCodes = {
    KnownCode{protocol::kAckIdempotencyKeyReused, SendOutcome::kRejected, 0},
    KnownCode{protocol::kAckRateLimited, SendOutcome::kRetry, kRateLimitRetryMs},
    KnownCode{"rate_limit", SendOutcome::kRetry, kRateLimitRetryMs},
    KnownCode{protocol::kAckPayloadTooLarge, SendOutcome::kRejected, 0},
    // The recipient may come back; the outbox's maximum age ends the waiting.
    KnownCode{protocol::kAckNoRecipient, SendOutcome::kRetry, 0},
    KnownCode{protocol::kAckBlocked, SendOutcome::kRejected, 0},
    KnownCode{protocol::kAckInvalid, SendOutcome::kRejected, 0},
    KnownCode{protocol::kAckNotFound, SendOutcome::kRejected, 0},
    KnownCode{protocol::kAckForbidden, SendOutcome::kRejected, 0},
    KnownCode{protocol::kAckStorage, SendOutcome::kRetry, 0},
};

// The beginnings of the error texts of 1.37.0.
struct KnownText {
  std::string_view prefix;
  std::string_view code;
};
constexpr std::array kKnownTexts = {
    KnownText{"rate_limit", protocol::kAckRateLimited},
    KnownText{"payload too large", protocol::kAckPayloadTooLarge},
    KnownText{"no connected peer", protocol::kAckNoRecipient},
    KnownText{"blocked by recipient grants", protocol::kAckBlocked},
};

SendVerdict apply_overrides(SendVerdict verdict, const protocol::AckView& ack) {
  if (ack.retryable.has_value()) {
    verdict.outcome = *ack.retryable ? SendOutcome::kRetry : SendOutcome::kRejected;
  }
  if (ack.retry_after_ms.has_value() && *ack.retry_after_ms > 0) {
    verdict.retry_after_ms = static_cast<std::uint64_t>(*ack.retry_after_ms);
  }
  if (verdict.outcome != SendOutcome::kRetry) {
    verdict.retry_after_ms = 0;
  }
  return verdict;
}

std::string_view code_of_text(std::string_view text) {
  const auto* known = std::find_if(kKnownTexts.begin(), kKnownTexts.end(),
                                   [text](const KnownText& entry) { return text.starts_with(entry.prefix); });
  return known == kKnownTexts.end() ? std::string_view() : known->code;
}

}  // namespace

SendVerdict classify_error_code(std::string_view code) {
  const auto* known = std::find_if(kKnownCodes.begin(), kKnownCodes.end(),
                                   [code](const KnownCode& entry) { return entry.code == code; });
  if (known == kKnownCodes.end()) {
    return SendVerdict{SendOutcome::kRetry, code, 0};
  }
  return SendVerdict{known->outcome, known->code, known->retry_after_ms};
}

SendVerdict classify_ack(const protocol::AckView& ack) {
  const bool duplicate = ack.duplicate.value_or(false);
  if (ack.queued || (duplicate && !ack.code.has_value() && !ack.error.has_value())) {
    return SendVerdict{duplicate ? SendOutcome::kDuplicate : SendOutcome::kAccepted, {}, 0};
  }
  if (ack.code.has_value() && !ack.code->empty()) {
    return apply_overrides(classify_error_code(*ack.code), ack);
  }
  const std::string_view code = code_of_text(ack.error.value_or(std::string_view()));
  const SendVerdict verdict = code.empty() ? SendVerdict{SendOutcome::kRetry, "unknown", 0} : classify_error_code(code);
  return apply_overrides(verdict, ack);
}

}  // namespace cm::broker_link
