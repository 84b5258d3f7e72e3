#include "protocol/target.hpp"

#include <gtest/gtest.h>

namespace cm::protocol {
namespace {

TEST(Target, Classification) {
  const std::string key(64, 'a');
  EXPECT_EQ(classify_target(key).kind, TargetKind::kKey);
  EXPECT_EQ(classify_target(key).value, key);
  EXPECT_EQ(classify_target("*").kind, TargetKind::kBroadcast);
  EXPECT_EQ(classify_target("@all").kind, TargetKind::kBroadcast);
  EXPECT_EQ(classify_target("@all2").kind, TargetKind::kGroup);
  EXPECT_EQ(classify_target("@all2").value, "all2");
  EXPECT_EQ(classify_target("#t1").kind, TargetKind::kTopic);
  EXPECT_EQ(classify_target("#t1").value, "t1");
  EXPECT_EQ(classify_target(std::string(64, 'A')).kind, TargetKind::kName);
  EXPECT_EQ(classify_target(std::string(63, 'a')).kind, TargetKind::kName);
  EXPECT_EQ(classify_target("").kind, TargetKind::kName);
  EXPECT_EQ(classify_target("@").value, "");
  EXPECT_TRUE(classify_target(key).is_direct());
  EXPECT_TRUE(classify_target("alice").is_direct());
  EXPECT_TRUE(classify_target("#t").is_multicast());
}

TEST(Target, Words) {
  for (const Priority priority : {Priority::kNow, Priority::kNext, Priority::kLow}) {
    EXPECT_EQ(parse_priority(to_string(priority)), priority);
  }
  EXPECT_FALSE(parse_priority("Now"));
  EXPECT_FALSE(parse_priority(""));
  for (const DestinationKind kind : {DestinationKind::kTopic, DestinationKind::kDm, DestinationKind::kQueue}) {
    EXPECT_EQ(parse_destination_kind(to_string(kind)), kind);
  }
  EXPECT_FALSE(parse_destination_kind("group"));
}

}  // namespace
}  // namespace cm::protocol
