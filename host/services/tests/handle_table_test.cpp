// Goal: a handle names one object or nothing, whatever is done to it. Method: use, remove, reuse, forge.
#include "host/services/handle_table.hpp"

#include <gtest/gtest.h>

#include <random>

namespace cm::host {
namespace {

TEST(HandleTable, FindsWhatWasInsertedAndForgetsWhatWasRemoved) {
  HandleTable<int> table(4);
  const cm_handle handle = table.insert(std::make_unique<int>(7));
  ASSERT_NE(handle, CM_NO_HANDLE);
  ASSERT_NE(table.find(handle), nullptr);
  EXPECT_EQ(*table.find(handle), 7);
  EXPECT_EQ(*table.remove(handle), 7);
  EXPECT_EQ(table.find(handle), nullptr);
  EXPECT_EQ(table.remove(handle), nullptr);
  EXPECT_TRUE(table.empty());
}

TEST(HandleTable, AReusedSlotDoesNotAnswerToTheOldHandle) {
  HandleTable<int> table(1);
  const cm_handle first = table.insert(std::make_unique<int>(1));
  table.remove(first);
  const cm_handle second = table.insert(std::make_unique<int>(2));
  EXPECT_EQ(handle_index(first), handle_index(second));
  EXPECT_NE(first, second);
  EXPECT_EQ(table.find(first), nullptr);
  EXPECT_EQ(*table.find(second), 2);
}

TEST(HandleTable, RefusesMoreThanItsCapacity) {
  HandleTable<int> table(2);
  EXPECT_NE(table.insert(std::make_unique<int>(1)), CM_NO_HANDLE);
  EXPECT_NE(table.insert(std::make_unique<int>(2)), CM_NO_HANDLE);
  EXPECT_EQ(table.insert(std::make_unique<int>(3)), CM_NO_HANDLE);
  EXPECT_FALSE(table.next_handle().has_value());
  EXPECT_EQ(table.size(), 2u);
}

TEST(HandleTable, NextHandleIsTheOneThatInsertGives) {
  HandleTable<int> table(8, 77);
  for (int round = 0; round < 20; ++round) {
    const auto promised = table.next_handle();
    ASSERT_TRUE(promised.has_value());
    EXPECT_EQ(table.insert(std::make_unique<int>(round)), *promised);
    if (round % 3 != 0) {
      table.remove(*promised);
    }
  }
}

TEST(HandleTable, ForgedHandlesFindNothingOrAnObjectOfTheTable) {
  HandleTable<int> table(16);
  std::vector<cm_handle> alive;
  for (int i = 0; i < 16; ++i) {
    alive.push_back(table.insert(std::make_unique<int>(i)));
  }
  table.remove(alive[3]);
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const cm_handle forged = random();
    const int* found = table.find(forged);
    EXPECT_EQ(found != nullptr, forged != alive[3] && std::find(alive.begin(), alive.end(), forged) != alive.end());
  }
  EXPECT_EQ(table.find(CM_NO_HANDLE), nullptr);
}

}  // namespace
}  // namespace cm::host
