#include "plugins/peer_daemon/src/lane_queue.hpp"

#include <gtest/gtest.h>

#include "protocol/backoff.hpp"

namespace cm::daemon {
namespace {

QueuedRow row(std::int64_t seq, std::string target = "t", std::int64_t when_ms = 0) {
  QueuedRow queued;
  queued.seq = seq;
  queued.client_message_id = "c" + std::to_string(seq);
  queued.target = std::move(target);
  queued.enqueued_at_ms = when_ms;
  queued.next_attempt_ms = when_ms;
  return queued;
}

std::vector<std::int64_t> seqs(const std::vector<QueuedRow*>& rows) {
  std::vector<std::int64_t> result;
  for (const QueuedRow* queued : rows) {
    result.push_back(queued->seq);
  }
  return result;
}

using Seqs = std::vector<std::int64_t>;

TEST(LaneQueue, LeavesInOrderWithinTheWindow) {
  LaneQueue queue(2);
  for (const std::int64_t seq : {3, 1, 2}) {
    queue.add(row(seq));
  }
  EXPECT_EQ(seqs(queue.take(0)), (Seqs{1, 2}));
  EXPECT_EQ(seqs(queue.take(0)), Seqs{}) << "the window is full";
  queue.finish(1, true);
  EXPECT_EQ(seqs(queue.take(0)), Seqs{3});
}

TEST(LaneQueue, ARowWhoseClockWasAheadIsNotOvertaken) {
  LaneQueue queue(8);
  queue.add(row(1, "t", 90'000));
  queue.add(row(2));
  EXPECT_EQ(seqs(queue.take(0)), (Seqs{1, 2}));
}

TEST(LaneQueue, AFailureThatPassesKeepsTheOrder) {
  LaneQueue queue(8);
  queue.add(row(1));
  queue.add(row(2, "another target"));
  ASSERT_EQ(queue.take(0).size(), 2U);
  const RetryPlan plan = queue.retry(1, RetryCause::kOther, 0, 0, 1);
  queue.give_back(2);
  queue.add(row(3));
  EXPECT_EQ(seqs(queue.take(0)), Seqs{}) << "nothing may overtake the first";
  EXPECT_EQ(queue.next_wake_ms(0), plan.next_attempt_ms);
  EXPECT_EQ(seqs(queue.take(plan.next_attempt_ms)), (Seqs{1, 2, 3}));
}

TEST(LaneQueue, ARowThatAlwaysFailsIsSetAside) {
  LaneQueue queue(8);
  queue.add(row(1));
  std::int64_t now_ms = 0;
  for (std::uint32_t attempt = 1; attempt <= kOrderedAttemptsMax; ++attempt) {
    ASSERT_EQ(seqs(queue.take(now_ms)), Seqs{1}) << attempt;
    const RetryPlan plan = queue.retry(1, RetryCause::kOther, 0, now_ms, 1);
    now_ms = attempt < kOrderedAttemptsMax ? plan.next_attempt_ms : now_ms;
  }
  queue.add(row(2));
  EXPECT_EQ(seqs(queue.take(now_ms)), Seqs{2}) << "the first waits alone by now";
}

TEST(LaneQueue, ClosedLinkGivesThemBackInOrderWithoutDelay) {
  LaneQueue queue(8);
  queue.add(row(1));
  queue.add(row(2));
  ASSERT_EQ(queue.take(0).size(), 2U);
  EXPECT_EQ(queue.retry(2, RetryCause::kClosed, 0, 0, 1).attempts, 0U);
  queue.retry(1, RetryCause::kClosed, 0, 0, 1);
  EXPECT_EQ(seqs(queue.take(0)), (Seqs{1, 2}));
}

TEST(LaneQueue, BackOffGrowsToThirtySecondsWithJitter) {
  LaneQueue queue(8);
  queue.add(row(1));
  std::int64_t now_ms = 0;
  for (std::uint32_t attempt = 1; attempt < 12; ++attempt) {
    ASSERT_EQ(queue.take(now_ms).size(), 1U);
    const RetryPlan plan = queue.retry(1, RetryCause::kOther, 0, now_ms, 0x123456789abcdefULL * attempt);
    const std::int64_t cap_ms = std::min<std::int64_t>(30'000, 500LL << attempt);
    EXPECT_LE(plan.next_attempt_ms - now_ms, cap_ms);
    EXPECT_GE(plan.next_attempt_ms - now_ms, cap_ms / 2);
    EXPECT_EQ(plan.attempts, attempt);
    now_ms = plan.next_attempt_ms;
  }
}

TEST(LaneQueue, RateLimitPausesTheLaneAndShrinksItsWindow) {
  LaneQueue queue(8);
  for (std::int64_t seq = 1; seq <= 8; ++seq) {
    queue.add(row(seq));
  }
  ASSERT_EQ(queue.take(0).size(), 8U);
  queue.finish(1, true);
  for (std::int64_t seq = 2; seq <= 8; ++seq) {
    queue.retry(seq, RetryCause::kRateLimited, 1'500, 0, 1);
  }
  EXPECT_EQ(seqs(queue.take(1'499)), Seqs{});
  EXPECT_EQ(queue.next_wake_ms(0), 1'500);
  EXPECT_EQ(seqs(queue.take(1'500)), Seqs{2}) << "one at a time, still in order";
  queue.finish(2, true);
  EXPECT_GT(queue.window(), 1U) << "grows again with success";
}

TEST(LaneQueue, AbsentRecipientHoldsOnlyItsOwnMessages) {
  LaneQueue queue(8);
  queue.add(row(1, "away"));
  queue.add(row(2, "away"));
  queue.add(row(3, "here"));
  ASSERT_EQ(queue.take(0).size(), 3U);
  queue.retry(1, RetryCause::kNoRecipient, 0, 0, 0);
  queue.retry(2, RetryCause::kNoRecipient, 0, 0, 0);
  queue.finish(3, true);
  EXPECT_EQ(seqs(queue.take(0)), Seqs{});
  const std::int64_t wake_ms = queue.next_wake_ms(0);
  ASSERT_NE(wake_ms, kNever);
  EXPECT_EQ(seqs(queue.take(wake_ms)), Seqs{1}) << "the oldest knocks, the other waits behind it";
  queue.finish(1, true);
  EXPECT_EQ(seqs(queue.take(wake_ms)), Seqs{2});
}

TEST(LaneQueue, APeerThatComesBackIsServedAtOnce) {
  LaneQueue queue(8);
  queue.add(row(1, "away"));
  queue.take(0);
  queue.retry(1, RetryCause::kNoRecipient, 0, 0, 0);
  EXPECT_EQ(seqs(queue.take(1)), Seqs{});
  queue.forget_absences();
  EXPECT_EQ(seqs(queue.take(1)), Seqs{1});
}

TEST(LaneQueue, ExpiresWhatIsTooOldButNotWhatIsUnderWay) {
  LaneQueue queue(1);
  queue.add(row(1));
  queue.add(row(2));
  queue.add(row(3, "t", 500));
  ASSERT_EQ(seqs(queue.take(0)), Seqs{1});
  const std::vector<QueuedRow> expired = queue.take_expired(1'000, 1'000);
  ASSERT_EQ(expired.size(), 1U);
  EXPECT_EQ(expired[0].seq, 2);
  EXPECT_EQ(queue.size(), 2U);
}

TEST(LaneQueue, RemovesOnlyWhatIsNotInFlight) {
  LaneQueue queue(1);
  queue.add(row(1));
  queue.add(row(2));
  queue.take(0);
  EXPECT_FALSE(queue.remove("c1").has_value());
  EXPECT_TRUE(queue.is_inflight("c1"));
  EXPECT_TRUE(queue.remove("c2").has_value());
  EXPECT_FALSE(queue.remove("c2").has_value());
}

}  // namespace
}  // namespace cm::daemon
