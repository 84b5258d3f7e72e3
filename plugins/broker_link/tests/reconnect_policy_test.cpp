#include "plugins/broker_link/src/reconnect_policy.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace cm::broker_link {
namespace {

constexpr std::uint64_t kSlowMs = 900'000;

// The largest delay that many random numbers give, for the attempt that comes next.
std::uint64_t largest_delay(const ReconnectPolicy& policy) {
  std::uint64_t largest = 0;
  for (std::uint64_t i = 0; i < 4'000; ++i) {
    ReconnectPolicy copy = policy;
    largest = std::max(largest, copy.lost(Lost{1006, "", 0, i * 0x9e3779b97f4a7c15ULL}).delay_ms);
  }
  return largest;
}

TEST(ReconnectPolicy, CapsGrowToThirtySecondsWithFullJitter) {
  ReconnectPolicy policy(kSlowMs);
  for (const std::uint64_t cap : {1'000, 2'000, 4'000, 8'000, 16'000, 30'000, 30'000}) {
    const std::uint64_t largest = largest_delay(policy);
    EXPECT_LE(largest, cap);
    EXPECT_GT(largest, cap * 8 / 10) << "the jitter must use the whole range";
    static_cast<void>(policy.lost(Lost{1006, "", 0, 1}));
  }
}

TEST(ReconnectPolicy, AStableConnectionStartsAnew) {
  ReconnectPolicy policy(kSlowMs);
  for (int i = 0; i < 6; ++i) {
    static_cast<void>(policy.lost(Lost{1006, "", 0, 1}));
  }
  policy.opened(0);
  static_cast<void>(policy.lost(Lost{1006, "", kStableOpenMs, 1}));
  EXPECT_EQ(policy.attempt(), 1U);
}

TEST(ReconnectPolicy, AShortConnectionDoesNot) {
  ReconnectPolicy policy(kSlowMs);
  for (int i = 0; i < 6; ++i) {
    static_cast<void>(policy.lost(Lost{1006, "", 0, 1}));
  }
  policy.opened(0);
  static_cast<void>(policy.lost(Lost{1006, "", kStableOpenMs - 1, 1}));
  EXPECT_EQ(policy.attempt(), 7U);
}

TEST(ReconnectPolicy, KickBanAndMissingFeatureAreRefusals) {
  for (const std::uint32_t code : {4001, 4002, 4010}) {
    ReconnectPolicy policy(kSlowMs);
    const Reconnect next = policy.lost(Lost{code, "", 0, 1});
    EXPECT_TRUE(next.refused) << code;
    EXPECT_EQ(next.delay_ms, kSlowMs) << code;
  }
}

TEST(ReconnectPolicy, RepeatedReplacementGivesWay) {
  ReconnectPolicy policy(kSlowMs);
  EXPECT_LT(policy.lost(Lost{1000, "session_replaced", 0, 0}).delay_ms, kReplacedMinDelayMs);
  EXPECT_GE(policy.lost(Lost{1000, "session_replaced", 2'000, 0}).delay_ms, kReplacedMinDelayMs);
  EXPECT_LT(policy.lost(Lost{1000, "session_replaced", 2'000 + kReplacedMemoryMs, 0}).delay_ms, kReplacedMinDelayMs);
}

}  // namespace
}  // namespace cm::broker_link
