#include "plugins/broker_link/src/deadline_table.hpp"

#include <gtest/gtest.h>

namespace cm::broker_link {
namespace {

TEST(DeadlineTable, TakesOnce) {
  DeadlineTable<int> table;
  EXPECT_TRUE(table.add("a", 10, 1));
  EXPECT_FALSE(table.add("a", 20, 2));
  EXPECT_EQ(table.take("a"), 1);
  EXPECT_FALSE(table.take("a").has_value());
  EXPECT_EQ(table.next_deadline_ms(), kNoDeadline);
}

TEST(DeadlineTable, ExpiresInOrderOfDeadline) {
  DeadlineTable<int> table;
  table.add("late", 30, 3);
  table.add("early", 10, 1);
  table.add("middle", 20, 2);
  EXPECT_EQ(table.next_deadline_ms(), 10U);
  const auto expired = table.take_expired(20);
  ASSERT_EQ(expired.size(), 2U);
  EXPECT_EQ(expired[0].id, "early");
  EXPECT_EQ(expired[1].value, 2);
  EXPECT_EQ(table.size(), 1U);
  EXPECT_TRUE(table.contains("late"));
}

}  // namespace
}  // namespace cm::broker_link
