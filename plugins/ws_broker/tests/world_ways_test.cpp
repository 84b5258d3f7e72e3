// Ways of delivery: members without a connection, through the test feature's way.
#include <gtest/gtest.h>

#include <algorithm>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr const char* kWay =
    "rate_limit_burst = 100000\n[plugins.feature]\nuse = \"broker_test_feature\"\nbroker = \"broker\"\n"
    "store = \"store\"\nway = true\n";

class WayTest : public ::testing::Test {
 protected:
  WayTest() {
    EXPECT_TRUE(world_.boot());
    mesh_ = world_.create_mesh("m");
    alice_ = world_.join(mesh_, "alice");
    bob_ = world_.join(mesh_, "bob");
    a_ = world_.member_client(alice_, "a", kDaemon);
  }
  std::string send(const std::string& word) {
    const std::string id = std::to_string(++sent_);
    a_->send(R"({"type":"send","id":")" + id + R"(","targetSpec":")" + bob_.pubkey() +
             R"(","priority":"next","nonce":"n","ciphertext":")" + word + "\"}");
    return text_of(a_->wait("ack", "id", id).value_or(JsonValue()), "messageId");
  }
  std::vector<std::string> ask(const std::string& type, const std::string& answer) {
    a_->send(R"({"type":")" + type + "\"}");
    std::vector<std::string> items;
    const auto frame = a_->wait(answer);
    const JsonValue* list = frame ? frame->find("items") : nullptr;
    EXPECT_NE(list, nullptr) << answer;
    if (list == nullptr) {
      return items;
    }
    for (const JsonValue& item : *list->as_array()) {
      items.push_back(*item.as_string());
    }
    return items;
  }
  std::vector<std::string> offers() { return ask("t_offers", "t_offered"); }
  bool wait_offers(std::size_t count, std::uint64_t timeout_ms) {
    for (std::uint64_t waited_ms = 0; waited_ms < timeout_ms; waited_ms += 1'000) {
      if (offers().size() >= count) {
        return true;
      }
      world_.run_ms(1'000);
    }
    return offers().size() >= count;
  }
  std::vector<std::string> bobs_pushes() {
    const auto b = world_.member_client(bob_, "b", kDaemon);
    world_.run_ms(2'000);
    return b->take_pushes();
  }

  BrokerWorld world_{1, kWay};
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_;
  int sent_ = 0;
};

TEST_F(WayTest, ConfirmedIsDelivered) {
  ASSERT_FALSE(send("hello").empty());
  ASSERT_TRUE(wait_offers(1, 5'000));
  world_.run_ms(1'000);
  EXPECT_TRUE(bobs_pushes().empty());
  EXPECT_EQ(offers().size(), 1u);
}

TEST_F(WayTest, TakenAloneIsNotDelivered) {
  const std::string id = send("keep");
  ASSERT_TRUE(wait_offers(1, 5'000));
  EXPECT_EQ(bobs_pushes(), std::vector<std::string>{id});
  const auto notes = ask("t_notes", "t_noted");
  EXPECT_EQ(std::count(notes.begin(), notes.end(), "withdrawn"), 1) << "the recipient has connected";
}

TEST_F(WayTest, UnconfirmedIsOfferedAgainWithTheSameBytes) {
  send("keep");
  ASSERT_TRUE(wait_offers(2, 120'000));
  const auto seen = offers();
  EXPECT_EQ(seen[0].substr(0, 2), "1 ");
  EXPECT_EQ(seen[1].substr(0, 2), "2 ");
  EXPECT_EQ(seen[0].substr(2), seen[1].substr(2));
}

TEST_F(WayTest, CrashBetweenTakenAndConfirmedRepeatsTheOffer) {
  const std::string id = send("keep");
  ASSERT_TRUE(wait_offers(1, 5'000));
  const std::string before = offers().front();
  world_.crash();
  ASSERT_TRUE(world_.boot());
  a_ = world_.member_client(alice_, "a2", kDaemon);
  ASSERT_TRUE(wait_offers(1, 5'000));
  EXPECT_EQ(offers().front(), before);
  EXPECT_EQ(bobs_pushes(), std::vector<std::string>{id});
}

TEST_F(WayTest, AFailureIsRepeatedAfterAPause) {
  send("flaky");
  ASSERT_TRUE(wait_offers(1, 5'000));
  world_.run_ms(3'000);
  EXPECT_EQ(offers().size(), 1u);
  ASSERT_TRUE(wait_offers(2, 10'000));
  world_.run_ms(1'000);
  EXPECT_TRUE(bobs_pushes().empty());
}

TEST_F(WayTest, ARejectedMessageStaysForAConnection) {
  const std::string rejected = send("reject");
  send("hello");
  ASSERT_TRUE(wait_offers(2, 5'000));
  world_.run_ms(60'000);
  EXPECT_EQ(offers().size(), 2u);
  EXPECT_EQ(bobs_pushes(), std::vector<std::string>{rejected});
}

TEST_F(WayTest, ARefusalEndsTheOffersUntilTheMemberIsReachable) {
  send("refuse");
  ASSERT_TRUE(wait_offers(1, 5'000));
  send("hello");
  world_.run_ms(60'000);
  EXPECT_EQ(offers().size(), 1u);
  a_->send(R"({"type":"t_reachable","member":")" + bob_.id + "\"}");
  ASSERT_TRUE(wait_offers(3, 5'000));
  world_.run_ms(1'000);
  EXPECT_TRUE(bobs_pushes().empty());
}

TEST_F(WayTest, LaterIsAskedAgain) {
  send("later");
  ASSERT_TRUE(wait_offers(2, 60'000));
}

TEST_F(WayTest, ConnectedMembersAreNotOffered) {
  const auto b = world_.member_client(bob_, "b", kDaemon);
  send("hello");
  world_.run_ms(5'000);
  EXPECT_TRUE(offers().empty());
  EXPECT_EQ(b->take_pushes().size(), 1u);
}

TEST_F(WayTest, ALongBacklogIsDeliveredInOrder) {
  std::vector<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(send("hello"));
  }
  ASSERT_TRUE(wait_offers(100, 60'000));
  const auto seen = offers();
  EXPECT_EQ(seen.size(), ids.size());
  for (std::size_t i = 0; i < std::min(seen.size(), ids.size()); ++i) {
    EXPECT_NE(seen[i].find(ids[i]), std::string::npos) << i;
  }
  world_.run_ms(1'000);
  EXPECT_TRUE(bobs_pushes().empty());
}

}  // namespace
}  // namespace cm::broker::test
