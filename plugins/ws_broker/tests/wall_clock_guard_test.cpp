#include "plugins/ws_broker/src/wall_clock_guard.hpp"

#include <gtest/gtest.h>

namespace cm::broker {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kDayMs = 24 * kHourMs;
constexpr std::int64_t kWallMs = 1'750'000'000'000;

class WallClockGuardTest : public ::testing::Test {
 protected:
  // The clock of the start has held for an hour when the times of the tests begin.
  WallClockGuardTest() {
    guard_.start(kWallMs - kHourMs, -kHourMs);
    EXPECT_EQ(at(0), ClockVerdict::kTrusted);
  }
  // `ahead_ms`: how wrong the wall clock is.
  ClockVerdict at(std::int64_t monotonic_ms, std::int64_t ahead_ms = 0) {
    return guard_.check(kWallMs + monotonic_ms + ahead_ms, monotonic_ms);
  }
  WallClockGuard guard_;
};

TEST(WallClockGuardStart, ClockOfTheStartHasToHold) {
  WallClockGuard guard;
  guard.start(kWallMs, 0);
  EXPECT_EQ(guard.check(kWallMs + 60'000, 60'000), ClockVerdict::kWaiting);
  EXPECT_EQ(guard.check(kWallMs + kHourMs - 1, kHourMs - 1), ClockVerdict::kWaiting);
  EXPECT_EQ(guard.check(kWallMs + kHourMs, kHourMs), ClockVerdict::kTrusted);
}

TEST(WallClockGuardStart, WrongClockThatIsCorrectedHasToHoldAnew) {
  WallClockGuard guard;
  guard.start(kWallMs + 3 * kDayMs, 0);
  EXPECT_EQ(guard.ahead_ms(kWallMs + 60'000, 60'000), -3 * kDayMs);
  EXPECT_EQ(guard.check(kWallMs + 60'000, 60'000), ClockVerdict::kJumped);
  EXPECT_EQ(guard.check(kWallMs + kHourMs, kHourMs), ClockVerdict::kWaiting);
  EXPECT_EQ(guard.check(kWallMs + kHourMs + 60'000, kHourMs + 60'000), ClockVerdict::kTrusted);
}

TEST_F(WallClockGuardTest, SmallCorrectionsAreTrustedAndAddUp) {
  EXPECT_EQ(at(kHourMs), ClockVerdict::kTrusted);
  EXPECT_EQ(at(2 * kHourMs, kHourMs), ClockVerdict::kTrusted);
  EXPECT_EQ(at(3 * kHourMs, 2 * kHourMs), ClockVerdict::kTrusted)
      << "compared with the last reading, not with the start";
}

TEST_F(WallClockGuardTest, JumpIsTrustedOnlyAfterItHeldForAnHour) {
  EXPECT_EQ(at(kHourMs, 3 * kDayMs), ClockVerdict::kJumped);
  EXPECT_EQ(at(kHourMs + 1, 3 * kDayMs), ClockVerdict::kWaiting);
  EXPECT_EQ(at(2 * kHourMs - 1, 3 * kDayMs), ClockVerdict::kWaiting);
  EXPECT_EQ(at(2 * kHourMs, 3 * kDayMs), ClockVerdict::kTrusted);
  EXPECT_EQ(at(2 * kHourMs + 1), ClockVerdict::kJumped) << "the way back is a jump as well";
}

TEST_F(WallClockGuardTest, ClockThatComesBackWasWrong) {
  EXPECT_EQ(at(kHourMs, -kDayMs), ClockVerdict::kJumped);
  EXPECT_EQ(at(kHourMs + 1), ClockVerdict::kTrusted);
  EXPECT_EQ(at(3 * kHourMs, -kDayMs), ClockVerdict::kJumped) << "the hour begins anew";
}

TEST_F(WallClockGuardTest, ClockThatKeepsJumpingIsNeverTrusted) {
  for (std::int64_t hour = 1; hour < 10; ++hour) {
    EXPECT_EQ(at(hour * kHourMs, hour * kDayMs), ClockVerdict::kJumped);
  }
}

}  // namespace
}  // namespace cm::broker
