#include "plugins/broker_link/src/ack_classifier.hpp"

#include <gtest/gtest.h>

namespace cm::broker_link {
namespace {

protocol::AckView negative(std::string_view error) {
  protocol::AckView ack;
  ack.error = error;
  return ack;
}

TEST(AckClassifier, QueuedIsAccepted) {
  protocol::AckView ack;
  ack.queued = true;
  EXPECT_EQ(classify_ack(ack).outcome, SendOutcome::kAccepted);
}

TEST(AckClassifier, QueuedDuplicateIsDuplicate) {
  protocol::AckView ack;
  ack.queued = true;
  ack.duplicate = true;
  EXPECT_EQ(classify_ack(ack).outcome, SendOutcome::kDuplicate);
}

TEST(AckClassifier, DuplicateFlagWithoutErrorIsDuplicate) {
  protocol::AckView ack;
  ack.duplicate = true;
  EXPECT_EQ(classify_ack(ack).outcome, SendOutcome::kDuplicate);
}

TEST(AckClassifier, RateLimitOf1370WaitsASecond) {
  const SendVerdict verdict = classify_ack(negative("rate_limit: max 60 msg/min (burst 10) — slow down"));
  EXPECT_EQ(verdict.outcome, SendOutcome::kRetry);
  EXPECT_EQ(verdict.code, "rate_limited");
  EXPECT_GE(verdict.retry_after_ms, 1'000U);
}

TEST(AckClassifier, PayloadTooLargeOf1370IsRejected) {
  const SendVerdict verdict = classify_ack(negative("payload too large: 70000 bytes > MAX_MESSAGE_BYTES=65536"));
  EXPECT_EQ(verdict.outcome, SendOutcome::kRejected);
  EXPECT_EQ(verdict.code, "payload_too_large");
}

TEST(AckClassifier, AbsentPeerOf1370IsRetried) {
  const SendVerdict verdict =
      classify_ack(negative("no connected peer for target (not online, or targetSpec is your own key)"));
  EXPECT_EQ(verdict.outcome, SendOutcome::kRetry);
  EXPECT_EQ(verdict.code, "no_recipient");
}

TEST(AckClassifier, GrantsOf1370Reject) {
  EXPECT_EQ(classify_ack(negative("blocked by recipient grants (sender lacks dm capability)")).outcome,
            SendOutcome::kRejected);
}

TEST(AckClassifier, UnknownTextIsRetried) {
  EXPECT_EQ(classify_ack(negative("the moon is full")).outcome, SendOutcome::kRetry);
  EXPECT_EQ(classify_ack(protocol::AckView()).outcome, SendOutcome::kRetry);
}

TEST(AckClassifier, CodeWinsOverText) {
  protocol::AckView ack = negative("rate_limit: whatever");
  ack.code = "idempotency_key_reused";
  EXPECT_EQ(classify_ack(ack).outcome, SendOutcome::kRejected);
}

TEST(AckClassifier, RetryableFlagWinsOverTheTable) {
  protocol::AckView ack;
  ack.code = "forbidden";
  ack.retryable = true;
  ack.retry_after_ms = 7'000;
  const SendVerdict verdict = classify_ack(ack);
  EXPECT_EQ(verdict.outcome, SendOutcome::kRetry);
  EXPECT_EQ(verdict.retry_after_ms, 7'000U);
}

TEST(AckClassifier, RejectionCarriesNoDelay) {
  protocol::AckView ack;
  ack.code = "rate_limited";
  ack.retryable = false;
  const SendVerdict verdict = classify_ack(ack);
  EXPECT_EQ(verdict.outcome, SendOutcome::kRejected);
  EXPECT_EQ(verdict.retry_after_ms, 0U);
}

}  // namespace
}  // namespace cm::broker_link
