#include "protocol/rate.hpp"

#include <gtest/gtest.h>

#include <random>

namespace cm::protocol {
namespace {

TEST(TokenBucket, BurstThenOnePerSecond) {
  TokenBucket bucket({}, 0);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(bucket.take(0));
  }
  EXPECT_FALSE(bucket.take(0));
  EXPECT_EQ(bucket.retry_after_ms(0), 1'000);
  EXPECT_FALSE(bucket.take(999));
  EXPECT_TRUE(bucket.take(1'000));
  EXPECT_FALSE(bucket.take(1'000));
  EXPECT_NEAR(bucket.tokens(1'500), 0.5, 1e-9);
  EXPECT_EQ(bucket.retry_after_ms(1'500), 500);
  EXPECT_DOUBLE_EQ(bucket.tokens(10'000'000), 10);
}

TEST(TokenBucket, RefusalConsumesNothingAndTheClockMayStepBack) {
  TokenBucket bucket({1, 60}, 10'000);
  EXPECT_TRUE(bucket.take(10'000));
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(bucket.take(10'500));
  }
  EXPECT_TRUE(bucket.take(11'000));
  EXPECT_FALSE(bucket.take(0));
  EXPECT_FALSE(bucket.take(11'999)) << "a step back must not count the same second twice";
  EXPECT_TRUE(bucket.take(12'000));
}

// Property: over any window, no more than capacity plus refill is granted.
TEST(TokenBucket, NeverGrantsMoreThanItsRate) {
  std::mt19937_64 random(4);
  TokenBucket bucket({}, 0);
  std::int64_t now = 0;
  double granted = 0;
  for (int i = 0; i < 20'000; ++i) {
    now += static_cast<std::int64_t>(random() % 700);
    granted += bucket.take(now) ? 1 : 0;
    EXPECT_LE(granted, 10 + static_cast<double>(now) / 1'000 + 1e-6);
  }
  EXPECT_GT(granted, 0.5 * static_cast<double>(now) / 1'000);
}

TEST(TokenBucket, NoRefillHasAFiniteAnswer) {
  TokenBucket bucket({1, 0}, 0);
  EXPECT_TRUE(bucket.take(0));
  EXPECT_FALSE(bucket.take(1'000'000));
  EXPECT_EQ(bucket.retry_after_ms(0), kRateIdleSweepMs);
}

TEST(KeyedBuckets, KeysAreIndependentAndIdleOnesAreSwept) {
  KeyedBuckets buckets({1, 60});
  EXPECT_TRUE(buckets.take("a", 0));
  EXPECT_FALSE(buckets.take("a", 0));
  EXPECT_TRUE(buckets.take("b", 0));
  EXPECT_EQ(buckets.retry_after_ms("a", 0), 1'000);
  EXPECT_EQ(buckets.retry_after_ms("nobody", 0), 0);
  EXPECT_TRUE(buckets.take("b", 500'000));
  EXPECT_EQ(buckets.sweep(600'001), 1u);
  EXPECT_EQ(buckets.size(), 1u);
  EXPECT_EQ(buckets.sweep(1'100'001), 1u);
}

TEST(KeyedBuckets, MemoryIsBounded) {
  KeyedBuckets buckets({1, 60}, 3);
  for (const char* key : {"a", "b", "c", "a", "d"}) {
    buckets.take(key, 0);
  }
  EXPECT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets.dropped(), 1u);
  EXPECT_FALSE(buckets.take("a", 0)) << "the one used last is kept";
  EXPECT_TRUE(buckets.take("b", 0)) << "the one idle longest was dropped";
}

TEST(IdempotentLimiter, ARetryIsFree) {
  IdempotentLimiter limiter({2, 60'000, 10});
  EXPECT_EQ(limiter.consume("m", "a", 0), BudgetOutcome::kConsumed);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(limiter.consume("m", "a", 1), BudgetOutcome::kRepeated);
  }
  EXPECT_EQ(limiter.consume("m", "b", 2), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.consume("m", "c", 3), BudgetOutcome::kDenied);
  EXPECT_EQ(limiter.consume("m", "a", 4), BudgetOutcome::kRepeated) << "also when the budget is spent";
  EXPECT_EQ(limiter.consume("other", "c", 3), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.retry_after_ms(59'000), 1'000);
}

TEST(IdempotentLimiter, ANewWindowCountsAnew) {
  IdempotentLimiter limiter({1, 60'000, 10});
  EXPECT_EQ(limiter.consume("m", "a", 59'999), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.consume("m", "a", 60'000), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.consume("m", "b", 60'000), BudgetOutcome::kDenied);
  EXPECT_EQ(limiter.consume("m", "b", 59'000), BudgetOutcome::kDenied) << "a clock that steps back opens no new window";
}

TEST(IdempotentLimiter, WithoutAnIdEachAttemptCounts) {
  IdempotentLimiter limiter({2, 60'000, 10});
  EXPECT_EQ(limiter.consume("m", "", 0), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.consume("m", "", 0), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.consume("m", "", 0), BudgetOutcome::kDenied);
}

TEST(IdempotentLimiter, MemoryIsBounded) {
  IdempotentLimiter limiter({5, 60'000, 2});
  for (int i = 0; i < 1'000; ++i) {
    limiter.consume("m1", std::to_string(i), 0);
  }
  EXPECT_EQ(limiter.id_count(), 5u);
  EXPECT_EQ(limiter.consume("m2", "x", 0), BudgetOutcome::kConsumed);
  EXPECT_EQ(limiter.consume("m3", "x", 0), BudgetOutcome::kFull);
  EXPECT_EQ(limiter.consume("m3", "x", 60'000), BudgetOutcome::kConsumed) << "windows that are over make room";
  EXPECT_EQ(limiter.mesh_count(), 1u);
  EXPECT_EQ(limiter.sweep(120'000), 1u);
}

}  // namespace
}  // namespace cm::protocol
