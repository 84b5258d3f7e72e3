// Sends through a hook that refuses, changes, delays or forgets them.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";

class HookedBrokerTest : public ::testing::Test {
 protected:
  HookedBrokerTest() {
    EXPECT_TRUE(world_.boot());
    mesh_ = world_.create_mesh("m");
    alice_ = world_.join(mesh_, "alice");
    bob_ = world_.join(mesh_, "bob");
    a_ = world_.member_client(alice_, "a", kDaemon);
    b_ = world_.member_client(bob_, "b", kDaemon);
  }
  // The hook answers what the ciphertext says.
  void send(const std::string& id, const std::string& word, const std::string& extra = {}) {
    a_->send(R"({"type":"send","id":")" + id + R"(","targetSpec":")" + bob_.pubkey() +
             R"(","priority":"next","nonce":"n","ciphertext":")" + word + "\"" + extra + "}");
  }
  JsonValue ack(const std::string& id) { return a_->wait("ack", "id", id).value_or(JsonValue()); }

  BrokerWorld world_{1,
                     "rate_limit_burst = 100000\nhooks = [\"guard\"]\n[plugins.guard]\nuse = \"broker_test_hook\"\n"};
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_, b_;
};

TEST_F(HookedBrokerTest, RefusedMessageIsNotStored) {
  send("1", "deny");
  const JsonValue refused = ack("1");
  EXPECT_FALSE(bool_of(refused, "queued"));
  EXPECT_EQ(text_of(refused, "error"), "forbidden: not today");
  EXPECT_EQ(text_of(refused, "code"), "forbidden");
  world_.run_ms(500);
  EXPECT_TRUE(b_->take_pushes().empty());
}

TEST_F(HookedBrokerTest, ReplacementIsWhatIsStored) {
  send("1", "swap");
  EXPECT_TRUE(bool_of(ack("1"), "queued"));
  const auto push = b_->wait("push", "priority", "next");
  ASSERT_TRUE(push.has_value());
  EXPECT_EQ(text_of(*push, "ciphertext"), "swapped");
}

TEST_F(HookedBrokerTest, DelayedMessageIsNotOvertaken) {
  send("1", "later");
  send("2", "plain");
  send("3", "later");
  send("4", "plain");
  std::vector<std::string> ids;
  for (const char* id : {"1", "2", "3", "4"}) {
    ids.push_back(text_of(ack(id), "messageId"));
  }
  world_.run_ms(500);
  EXPECT_EQ(b_->take_pushes(), ids);
}

TEST_F(HookedBrokerTest, ForgottenMessageIsRefusedAtTheDeadlineAndItsIdIsFree) {
  const std::string key = R"(,"client_message_id":"cid","request_fingerprint":")" + std::string(64, 'a') + "\"";
  send("1", "never", key);
  send("2", "plain", key);  // the same send: waits for the first one's outcome
  world_.run_ms(500);
  EXPECT_FALSE(a_->wait("ack", {}, {}, 1).has_value());
  EXPECT_EQ(text_of(ack("1"), "code"), "forbidden");
  EXPECT_FALSE(bool_of(ack("2"), "queued"));
  send("3", "plain", key);
  const JsonValue accepted = ack("3");
  EXPECT_TRUE(bool_of(accepted, "queued"));
  EXPECT_FALSE(bool_of(accepted, "duplicate"));
}

TEST_F(HookedBrokerTest, ManyMessagesBehindASlowOne) {
  send("slow", "later");
  constexpr int kMany = 5'000;
  for (int i = 0; i < kMany; ++i) {
    send(std::to_string(i), "deny");  // refused one after the other, without growing the stack
  }
  world_.run_ms(2'000);
  EXPECT_TRUE(bool_of(ack("slow"), "queued"));
  EXPECT_FALSE(text_of(ack(std::to_string(kMany - 1)), "error").empty());
}

}  // namespace
}  // namespace cm::broker::test
