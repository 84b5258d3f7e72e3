#include "plugins/ws_broker/src/dedupe_cache.hpp"

#include <gtest/gtest.h>

namespace cm::broker {
namespace {

TEST(LruMap, ForgetsWhatWasUsedLongestAgo) {
  LruMap<int> map(2);
  map.put("a", 1);
  map.put("b", 2);
  ASSERT_NE(map.find("a"), nullptr);  // now b is the oldest
  map.put("c", 3);
  EXPECT_EQ(map.find("b"), nullptr);
  ASSERT_NE(map.find("a"), nullptr);
  EXPECT_EQ(*map.find("c"), 3);
  EXPECT_EQ(map.size(), 2u);
}

TEST(LruMap, PutReplaces) {
  LruMap<std::string> map(2);
  map.put("a", "one");
  map.put("a", "two");
  EXPECT_EQ(*map.find("a"), "two");
  EXPECT_EQ(map.size(), 1u);
}

TEST(LruMap, KeysMayHoldZeroBytes) {
  LruMap<int> map(4);
  map.put(std::string("m\0x", 3), 1);
  map.put(std::string("m\0y", 3), 2);
  EXPECT_EQ(*map.find(std::string_view("m\0y", 3)), 2);
}

}  // namespace
}  // namespace cm::broker
