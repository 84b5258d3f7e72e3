// Goal: a burst passes, a flood does not, and what was dropped is told once.
#include "host/services/log_limiter.hpp"

#include <gtest/gtest.h>

namespace cm::host {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

TEST(LogLimiter, ABurstPassesAndThenTheRateHolds) {
  LogLimiter limiter(2);
  int admitted = 0;
  for (int i = 0; i < 100; ++i) {
    admitted += limiter.admit(kSecondNs, 10) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 20);
  EXPECT_EQ(limiter.dropped(), 80u);
  admitted = 0;
  for (int i = 0; i < 100; ++i) {
    admitted += limiter.admit(2 * kSecondNs, 10) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 10);
}

TEST(LogLimiter, DroppedLinesAreToldOnce) {
  LogLimiter limiter(1);
  EXPECT_TRUE(limiter.admit(kSecondNs, 1));
  EXPECT_EQ(limiter.take_untold(), 0u);
  EXPECT_FALSE(limiter.admit(kSecondNs, 1));
  EXPECT_FALSE(limiter.admit(kSecondNs, 1));
  EXPECT_EQ(limiter.take_untold(), 2u);
  EXPECT_EQ(limiter.take_untold(), 0u);
  EXPECT_EQ(limiter.dropped(), 2u);
}

TEST(LogLimiter, ZeroIsNoLimit) {
  LogLimiter limiter(1);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(limiter.admit(kSecondNs, 0));
  }
}

}  // namespace
}  // namespace cm::host
