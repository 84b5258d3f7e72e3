#include "plugins/ws_broker/src/status.hpp"

#include <gtest/gtest.h>

namespace cm::broker {
namespace {

TEST(Status, WordsRoundTrip) {
  for (const Activity activity : {Activity::kIdle, Activity::kWorking, Activity::kDnd}) {
    EXPECT_EQ(parse_status(to_string(activity)), activity);
  }
  EXPECT_FALSE(parse_status("sleeping").has_value());
  EXPECT_FALSE(parse_status("").has_value());
}

TEST(Status, AnotherStatusAlwaysWins) {
  ActivityState state{Activity::kWorking, StatusSource::kHook, 1'000};
  write_status(state, Activity::kDnd, StatusSource::kManual, 2'000, 30'000);
  EXPECT_EQ(state.status, Activity::kDnd);
  EXPECT_EQ(state.source, StatusSource::kManual);
  EXPECT_EQ(state.updated_ms, 2'000);
}

TEST(Status, WeakerSourceOfTheSameStatusOnlyRefreshesAFreshSignal) {
  ActivityState state{Activity::kWorking, StatusSource::kHook, 1'000};
  write_status(state, Activity::kWorking, StatusSource::kManual, 31'000, 30'000);
  EXPECT_EQ(state.source, StatusSource::kHook);
  EXPECT_EQ(state.updated_ms, 31'000);
  write_status(state, Activity::kWorking, StatusSource::kManual, 61'001, 30'000);
  EXPECT_EQ(state.source, StatusSource::kManual) << "the stored signal was older than the fresh window";
}

TEST(Status, OnlyWorkingExpires) {
  ActivityState working{Activity::kWorking, StatusSource::kManual, 0};
  EXPECT_FALSE(expire_status(working, 60'000, 60'000));
  EXPECT_TRUE(expire_status(working, 60'001, 60'000));
  EXPECT_EQ(working.status, Activity::kIdle);
  ActivityState dnd{Activity::kDnd, StatusSource::kManual, 0};
  EXPECT_FALSE(expire_status(dnd, 1'000'000'000, 60'000));
}

TEST(Status, GatesByPriority) {
  for (const Activity busy : {Activity::kWorking, Activity::kDnd}) {
    const ActivityState state{busy, StatusSource::kManual, 0};
    EXPECT_TRUE(takes(state, protocol::Priority::kNow));
    EXPECT_FALSE(takes(state, protocol::Priority::kNext));
    EXPECT_FALSE(takes(state, protocol::Priority::kLow));
  }
  EXPECT_TRUE(takes(ActivityState(), protocol::Priority::kLow));
}

}  // namespace
}  // namespace cm::broker
