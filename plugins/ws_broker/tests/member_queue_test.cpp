#include "plugins/ws_broker/src/member_queue.hpp"

#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/model_builder.hpp"

namespace cm::broker {
namespace {

using test::key_of;
using test::message;

QueueRow row(std::int64_t seq, const std::string& client_id = {}) {
  QueueRow fresh;
  fresh.message = message(seq, key_of('b'), "alice", client_id);
  return fresh;
}

TEST(MemberQueue, KeepsTheOrderOfAcceptance) {
  MemberQueue queue;
  for (const std::int64_t seq : {3, 1, 2}) {
    EXPECT_TRUE(queue.insert(row(seq), 0));
  }
  EXPECT_FALSE(queue.insert(row(2), 0)) << "twice";
  std::vector<std::int64_t> order;
  for (const auto& [seq, waiting] : queue.waiting) {
    order.push_back(seq);
  }
  EXPECT_EQ(order, (std::vector<std::int64_t>{1, 2, 3}));
  queue.claim(queue.waiting.find(2));
  EXPECT_TRUE(queue.contains(2));
  EXPECT_FALSE(queue.insert(row(2), 0)) << "claimed rows are known too";
  queue.release(queue.claimed.find(2));
  EXPECT_EQ(std::next(queue.waiting.begin())->first, 2) << "a released row is back at its place";
}

TEST(MemberQueue, RunningClaimOfAnEarlierConnectionHoldsTheRow) {
  MemberQueue queue;
  QueueRow held = row(1);
  held.claim_until_ms = 500;
  queue.insert(std::move(held), 100);
  EXPECT_TRUE(queue.waiting.empty());
  QueueRow over = row(2);
  over.claim_until_ms = 50;
  queue.insert(std::move(over), 100);
  EXPECT_EQ(queue.waiting.size(), 1u);
}

TEST(MemberQueue, FindsByEitherIdUntilErased) {
  MemberQueue queue;
  queue.insert(row(1, "cid"), 0);
  queue.claim(queue.waiting.begin());
  EXPECT_NE(queue.find("message-1", ""), nullptr);
  EXPECT_NE(queue.find("", "cid"), nullptr);
  EXPECT_NE(queue.find("other", "cid"), nullptr);
  EXPECT_EQ(queue.find("", ""), nullptr);
  EXPECT_GT(queue.bytes(), 0u);
  queue.erase(1);
  EXPECT_EQ(queue.find("message-1", "cid"), nullptr);
  EXPECT_EQ(queue.bytes(), 0u);
  EXPECT_EQ(queue.size(), 0u);
}

}  // namespace
}  // namespace cm::broker
