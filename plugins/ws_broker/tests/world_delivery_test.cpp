// Store and forward, claims and their growth, acknowledgements, order, clients that never acknowledge.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr const char* kSdk = R"(,"channel":"sdk")";
constexpr std::int64_t kClaimMs = 30'000;
constexpr std::int64_t kSlackMs = 10'000;  // of the sweeps

class DeliveryTest : public ::testing::Test {
 protected:
  DeliveryTest() {
    EXPECT_TRUE(world_.boot());
    mesh_ = world_.create_mesh("m");
    alice_ = world_.join(mesh_, "alice");
    bob_ = world_.join(mesh_, "bob");
    a_ = world_.member_client(alice_, "a", kDaemon);
  }
  std::string send(const std::string& target, const std::string& extra = {}) {
    const std::string id = "s" + std::to_string(++sent_);
    a_->message(target, id, extra);
    const auto ack = a_->wait("ack", "id", id);
    EXPECT_TRUE(ack && bool_of(*ack, "queued")) << (ack ? protocol::to_json(*ack) : "no ack");
    return ack ? text_of(*ack, "messageId") : std::string();
  }

  BrokerWorld world_{7, "rate_limit_burst = 10000\n"};
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_;
  int sent_ = 0;
};

TEST_F(DeliveryTest, OfflineMemberGetsEverythingInOrder) {
  std::vector<std::string> ids;
  for (int i = 0; i < 600; ++i) {  // more than two pages of the store
    ids.push_back(send(i % 3 == 0 ? "*" : bob_.pubkey()));
  }
  auto bob = world_.member_client(bob_, "b", kDaemon);
  world_.run_ms(5'000);
  EXPECT_EQ(bob->take_pushes(), ids);
}

TEST_F(DeliveryTest, WhatIsSentWhileTheBacklogLoadsComesBehindIt) {
  std::vector<std::string> ids;
  for (int i = 0; i < 300; ++i) {
    ids.push_back(send(bob_.pubkey()));
  }
  auto bob = world_.connect();
  bob->hello(bob_, "b", kDaemon);
  for (int i = 0; i < 20; ++i) {
    ids.push_back(send(bob_.pubkey()));
  }
  world_.run_ms(5'000);
  EXPECT_EQ(bob->take_pushes(), ids);
}

TEST_F(DeliveryTest, UnacknowledgedIsPushedAgainWithGrowingPauses) {
  auto bob = world_.member_client(bob_, "b", kDaemon);
  const std::string id = send(bob_.pubkey());
  world_.run_ms(1'000);
  EXPECT_EQ(bob->take_pushes(), std::vector<std::string>{id});
  std::int64_t pause_ms = kClaimMs;
  std::int64_t pushed_at_ms = world_.unix_ms() - 1'000;
  for (int round = 0; round < 4; ++round) {
    const auto again = bob->wait("push", "messageId", id, 4 * static_cast<std::uint64_t>(pause_ms));
    ASSERT_TRUE(again.has_value()) << "round " << round;
    const std::int64_t passed_ms = world_.unix_ms() - pushed_at_ms;
    EXPECT_GE(passed_ms, pause_ms - 1'000) << "round " << round;
    EXPECT_LE(passed_ms, pause_ms + kSlackMs) << "round " << round;
    pushed_at_ms = world_.unix_ms();
    pause_ms *= 2;
  }
  bob->client_ack(id);
  world_.run_ms(2 * 3'600'000);
  EXPECT_TRUE(bob->take_pushes().empty());
}

TEST_F(DeliveryTest, LostConnectionFreesTheClaimAtOnce) {
  auto bob = world_.member_client(bob_, "b", kDaemon);
  const std::string id = send(bob_.pubkey());
  world_.run_ms(500);
  EXPECT_EQ(bob->take_pushes().size(), 1u);
  bob->close();
  world_.run_ms(500);
  auto again = world_.member_client(bob_, "b", kDaemon);
  world_.run_ms(500);
  EXPECT_EQ(again->take_pushes(), std::vector<std::string>{id});
}

TEST_F(DeliveryTest, RestartedClientGetsWhatItsDeadConnectionHolds) {
  auto dead = world_.member_client(bob_, "b1", kDaemon);
  const std::string first = send(bob_.pubkey());
  world_.run_ms(500);
  dead->vanish();
  const std::string second = send(bob_.pubkey());
  auto bob = world_.member_client(bob_, "b2", kDaemon);
  const std::string third = send(bob_.pubkey());
  world_.run_ms(1'000);
  EXPECT_EQ(bob->take_pushes(), (std::vector<std::string>{first, second, third}));
}

TEST_F(DeliveryTest, ClientThatNeverAcknowledgesIsNotSpammed) {
  auto bob = world_.member_client(bob_, "b", kSdk);
  const std::string first = send(bob_.pubkey());
  world_.run_ms(10 * kClaimMs);
  EXPECT_EQ(bob->take_pushes(), std::vector<std::string>{first}) << "no repetition by itself";
  const std::string second = send(bob_.pubkey());
  world_.run_ms(1'000);
  EXPECT_EQ(bob->take_pushes(), (std::vector<std::string>{first, second})) << "as 1.37.0: with the next drain";
  auto sibling = world_.member_client(bob_, "b2", kSdk);
  world_.run_ms(1'000);
  EXPECT_TRUE(sibling->take_pushes().empty()) << "both are claimed";
}

TEST_F(DeliveryTest, MulticastNeedsTheAcknowledgementOfClientsThatGiveOne) {
  auto daemon = world_.member_client(bob_, "b", kDaemon);
  const std::string id = send("*");
  world_.run_ms(500);
  EXPECT_EQ(daemon->take_pushes(), std::vector<std::string>{id});
  world_.run_ms(kClaimMs + kSlackMs);
  EXPECT_EQ(daemon->take_pushes(), std::vector<std::string>{id});
  daemon->client_ack(id);
  world_.run_ms(10 * kClaimMs);
  EXPECT_TRUE(daemon->take_pushes().empty());
}

TEST_F(DeliveryTest, MulticastToClientsThatNeverAcknowledgeIsLiveOnly) {
  auto sdk = world_.member_client(bob_, "b", kSdk);
  const std::string id = send("*");
  world_.run_ms(500);
  EXPECT_EQ(sdk->take_pushes(), std::vector<std::string>{id});
  sdk->close();
  world_.run_ms(500);
  auto again = world_.member_client(bob_, "b2", kSdk);
  world_.run_ms(10 * kClaimMs);
  EXPECT_TRUE(again->take_pushes().empty());
}

TEST_F(DeliveryTest, OnlyTheRecipientCanConfirm) {
  const MemberInfo carol = world_.join(mesh_, "carol");
  auto c = world_.member_client(carol, "c", kDaemon);
  auto bob = world_.member_client(bob_, "b", kDaemon);
  const std::string id = send(bob_.pubkey());
  world_.run_ms(500);
  EXPECT_EQ(bob->take_pushes().size(), 1u);
  c->client_ack(id);
  a_->client_ack(id);
  world_.run_ms(kClaimMs + kSlackMs);
  EXPECT_EQ(bob->take_pushes().size(), 1u) << "still not confirmed";
}

TEST_F(DeliveryTest, DndHoldsUntilIdle) {
  auto bob = world_.member_client(bob_, "b", kDaemon);
  bob->send(R"({"type":"set_status","status":"dnd"})");
  world_.run_ms(200);
  const std::string held = send(bob_.pubkey());
  world_.run_ms(kClaimMs);
  EXPECT_TRUE(bob->take_pushes().empty());
  bob->send(R"({"type":"set_status","status":"idle"})");
  world_.run_ms(200);
  EXPECT_EQ(bob->take_pushes(), std::vector<std::string>{held});
}

TEST_F(DeliveryTest, WorkingBecomesIdleAfterAMinute) {
  auto bob = world_.member_client(bob_, "b", kDaemon);
  bob->send(R"({"type":"set_status","status":"working"})");
  world_.run_ms(200);
  const std::string held = send(bob_.pubkey());
  world_.run_ms(50'000);
  EXPECT_TRUE(bob->take_pushes().empty());
  world_.run_ms(40'000);
  EXPECT_EQ(bob->take_pushes(), std::vector<std::string>{held});
}

TEST_F(DeliveryTest, HiddenMemberGetsTheMulticastWhenItShowsItself) {
  auto bob = world_.member_client(bob_, "b", kDaemon);
  bob->send(R"({"type":"set_visible","visible":false,"_reqId":"v"})");
  ASSERT_TRUE(bob->wait("ack", "id", "v").has_value());
  const std::string id = send("*");
  world_.run_ms(1'000);
  EXPECT_TRUE(bob->take_pushes().empty());
  bob->send(R"({"type":"set_visible","visible":true})");
  world_.run_ms(1'000);
  EXPECT_EQ(bob->take_pushes(), std::vector<std::string>{id});
}

TEST_F(DeliveryTest, UndeliveredIsDroppedAfterAWeek) {
  const std::string old = send(bob_.pubkey());
  world_.run_ms(7ull * 86'400'000 + 3'700'000);
  auto late = world_.member_client(alice_, "a9", kDaemon);
  a_ = std::move(late);
  const std::string fresh = send(bob_.pubkey());
  auto bob = world_.member_client(bob_, "b", kDaemon);
  world_.run_ms(1'000);
  EXPECT_EQ(bob->take_pushes(), std::vector<std::string>{fresh}) << old;
}

}  // namespace
}  // namespace cm::broker::test
