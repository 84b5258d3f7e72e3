#include "protocol/backoff.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace cm::protocol {
namespace {

TEST(Backoff, ReconnectCapsAreThoseOfTheTable) {
  const std::int64_t expected[] = {1'000, 2'000, 4'000, 8'000, 16'000, 30'000, 30'000};
  for (std::uint32_t attempt = 0; attempt < 7; ++attempt) {
    EXPECT_EQ(reconnect_cap_ms(attempt), expected[attempt]);
  }
  EXPECT_EQ(reconnect_cap_ms(std::numeric_limits<std::uint32_t>::max()), 30'000);
}

TEST(Backoff, JitterCoversItsRangeAndNeverLeavesIt) {
  std::mt19937_64 random(1);
  for (std::uint32_t attempt = 0; attempt < 10; ++attempt) {
    std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
    std::int64_t highest = 0;
    for (int i = 0; i < 2'000; ++i) {
      const std::int64_t delay = reconnect_delay_ms(attempt, random());
      EXPECT_GE(delay, 0);
      EXPECT_LE(delay, reconnect_cap_ms(attempt));
      lowest = std::min(lowest, delay);
      highest = std::max(highest, delay);
      const std::int64_t retry = outbox_retry_delay_ms(attempt, random());
      EXPECT_GE(retry, outbox_retry_cap_ms(attempt) / 2);
      EXPECT_LE(retry, outbox_retry_cap_ms(attempt));
    }
    EXPECT_LT(lowest, reconnect_cap_ms(attempt) / 10);
    EXPECT_GT(highest, reconnect_cap_ms(attempt) * 9 / 10);
  }
}

TEST(Backoff, OutboxCaps) {
  EXPECT_EQ(outbox_retry_cap_ms(0), 500);
  EXPECT_EQ(outbox_retry_cap_ms(1), 1'000);
  EXPECT_EQ(outbox_retry_cap_ms(5), 16'000);
  EXPECT_EQ(outbox_retry_cap_ms(6), 30'000);
  EXPECT_EQ(outbox_retry_cap_ms(std::numeric_limits<std::uint32_t>::max()), 30'000);
}

}  // namespace
}  // namespace cm::protocol
