#include "protocol/lease.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace cm::protocol {
namespace {

TEST(Lease, PingsEveryThirtySeconds) {
  Lease lease(1, 0);
  EXPECT_EQ(lease.deadline_ms(), 30'000);
  EXPECT_EQ(lease.tick(29'999), LeaseAction::kNone);
  EXPECT_EQ(lease.tick(30'000), LeaseAction::kPing);
  EXPECT_EQ(lease.tick(30'001), LeaseAction::kNone);
  EXPECT_EQ(lease.deadline_ms(), 60'000);
}

TEST(Lease, StaleOnlyAfterMoreThanSeventyFiveSeconds) {
  Lease lease(1, 0);
  EXPECT_EQ(lease.tick(75'000), LeaseAction::kPing);
  EXPECT_EQ(lease.tick(75'001), LeaseAction::kTerminate);
  lease.alive(1, 75'001);
  EXPECT_EQ(lease.tick(76'000), LeaseAction::kNone);
}

TEST(Lease, GraceEndsInExactlyOneEviction) {
  Lease lease(1, 0);
  EXPECT_TRUE(lease.closed(1, 1'000));
  EXPECT_EQ(lease.state(), LeaseState::kOffline);
  EXPECT_EQ(lease.deadline_ms(), 91'000);
  EXPECT_EQ(lease.tick(90'999), LeaseAction::kNone);
  EXPECT_EQ(lease.tick(91'000), LeaseAction::kEvict);
  EXPECT_EQ(lease.tick(200'000), LeaseAction::kNone);
  EXPECT_FALSE(lease.evict());
  EXPECT_FALSE(lease.reattach(2, 200'000));
  EXPECT_EQ(lease.deadline_ms(), std::numeric_limits<std::int64_t>::max());
}

TEST(Lease, ReattachWithinGraceKeepsThePresence) {
  Lease lease(1, 0);
  EXPECT_TRUE(lease.closed(1, 1'000));
  EXPECT_TRUE(lease.reattach(2, 90'999));
  EXPECT_EQ(lease.state(), LeaseState::kOnline);
  EXPECT_EQ(lease.connection(), 2u);
  EXPECT_FALSE(lease.closed(1, 91'000)) << "the close of the replaced connection is ignored";
  EXPECT_EQ(lease.state(), LeaseState::kOnline);
  EXPECT_EQ(lease.tick(91'000), LeaseAction::kNone);
  lease.alive(1, 500'000);
  EXPECT_EQ(lease.last_alive_ms(), 90'999) << "a pong of the replaced connection is ignored";
}

TEST(Lease, ReattachTooLateIsRefused) {
  Lease lease(1, 0);
  lease.closed(1, 0);
  EXPECT_FALSE(lease.reattach(2, 90'000));
  EXPECT_EQ(lease.tick(90'000), LeaseAction::kEvict);
}

TEST(Lease, OnlineReattachReplaces) {
  Lease lease(1, 0);
  EXPECT_TRUE(lease.reattach(2, 10));
  EXPECT_FALSE(lease.closed(1, 20));
  EXPECT_TRUE(lease.closed(2, 30));
  EXPECT_FALSE(lease.closed(2, 40));
}

TEST(Lease, EvictIsOnce) {
  Lease lease(1, 0);
  EXPECT_TRUE(lease.evict());
  EXPECT_FALSE(lease.evict());
  EXPECT_EQ(lease.tick(500'000), LeaseAction::kNone);
}

// Property: whatever happens in whatever order, at most one leave is announced, and none before the grace unless asked.
TEST(Lease, RandomHistoriesLeaveAtMostOnce) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 500; ++round) {
    std::int64_t now = 0;
    std::uint64_t connection = 1;
    Lease lease(connection, now);
    std::int64_t closed_at = -1;
    int leaves = 0;
    for (int step = 0; step < 200; ++step) {
      now += static_cast<std::int64_t>(random() % 20'000);
      switch (random() % 6) {
        case 0:
          lease.alive(connection - random() % 2, now);
          break;
        case 1:
          if (lease.closed(connection - random() % 2, now)) {
            closed_at = now;
          }
          break;
        case 2:
          if (lease.reattach(connection + 1, now)) {
            ++connection;
            EXPECT_EQ(leaves, 0);
          }
          break;
        default:
          if (lease.tick(now) == LeaseAction::kEvict) {
            ++leaves;
            EXPECT_GE(now - closed_at, kLeaseGraceMs);
          }
          break;
      }
    }
    leaves += lease.evict() ? 1 : 0;
    EXPECT_EQ(leaves, 1);
  }
}

TEST(Lease, ClientWatchdog) {
  EXPECT_EQ(client_watchdog(0, 75'000), LeaseAction::kPing);
  EXPECT_EQ(client_watchdog(0, 75'001), LeaseAction::kTerminate);
}

}  // namespace
}  // namespace cm::protocol
