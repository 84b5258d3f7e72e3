// Goal: a ticket is answered once, by its own instance, before its deadline. Also topics and thread-less waits.
#include "host/services/tickets.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "host/services/events.hpp"
#include "host/services/instance.hpp"
#include "host/services/services.hpp"

namespace cm::host {
namespace {

class NoSink final : public LogSink {
 public:
  void write(const std::string&) override {}
  void flush() override {}
};

class Tickets : public testing::Test {
 protected:
  Tickets()
      : services_(std::make_unique<NoSink>(), LogFormat::kText, LogLevel::kInfo, 1), loop_(0, "loop-0", nullptr) {}

  static std::chrono::steady_clock::time_point in_ms(int ms) {
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  }

  Services services_;
  LoopThread loop_;
  Instance one_{InstanceOptions{"one", "org.one", {}, {}, LogLevel::kInfo}, services_, loop_};
  Instance two_{InstanceOptions{"two", "org.two", {}, {}, LogLevel::kInfo}, services_, loop_};
  TicketBook book_;
  std::atomic<bool> give_up_{false};
};

TEST_F(Tickets, TheAnswerOfAnotherThreadArrives) {
  const cm_handle ticket = book_.issue(one_);
  std::thread other([&] { EXPECT_EQ(book_.complete(one_, ticket, CM_IO, "no route"), CM_OK); });
  const auto answer = book_.wait(ticket, in_ms(10'000), give_up_);
  other.join();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, CM_IO);
  EXPECT_EQ(answer->text, "no route");
  EXPECT_EQ(book_.complete(one_, ticket, CM_OK, ""), CM_GONE);
}

TEST_F(Tickets, OnlyTheOwnerAnswersAndOnlyOnce) {
  const cm_handle ticket = book_.issue(one_);
  EXPECT_EQ(book_.complete(two_, ticket, CM_OK, ""), CM_GONE);
  EXPECT_EQ(book_.complete(one_, ticket, CM_DEFER, ""), CM_INVALID);
  EXPECT_EQ(book_.complete(one_, ticket, CM_OK, ""), CM_OK);
  EXPECT_EQ(book_.complete(one_, ticket, CM_IO, ""), CM_GONE);
  EXPECT_EQ(book_.wait(ticket, in_ms(0), give_up_)->status, CM_OK);
}

TEST_F(Tickets, ADeadlineMakesTheTicketStale) {
  const cm_handle ticket = book_.issue(one_);
  EXPECT_FALSE(book_.wait(ticket, in_ms(1), give_up_).has_value());
  EXPECT_EQ(book_.complete(one_, ticket, CM_OK, ""), CM_GONE);
}

TEST_F(Tickets, GivingUpEndsTheWait) {
  const cm_handle ticket = book_.issue(one_);
  std::thread other([this] {
    give_up_ = true;
    book_.wake();
  });
  EXPECT_FALSE(book_.wait(ticket, in_ms(60'000), give_up_).has_value());
  other.join();
}

TEST(Topics, ExactOrPrefix) {
  EXPECT_TRUE(topic_matches("a.b", "a.b"));
  EXPECT_FALSE(topic_matches("a.b", "a.b.c"));
  EXPECT_TRUE(topic_matches("a.*", "a.b.c"));
  EXPECT_FALSE(topic_matches("a.*", "b.c"));
  EXPECT_TRUE(topic_matches("*", "anything"));
}

}  // namespace
}  // namespace cm::host
