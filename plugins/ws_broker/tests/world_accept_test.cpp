// The way of a send through the real broker: accept, idempotency, limits, order of the acks.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";

class AcceptTest : public ::testing::Test {
 protected:
  void start(const std::string& options = {}) {
    world_ = std::make_unique<BrokerWorld>(1, options);
    ASSERT_TRUE(world_->boot());
    mesh_ = world_->create_mesh("m");
    alice_ = world_->join(mesh_, "alice");
    bob_ = world_->join(mesh_, "bob");
    a_ = world_->member_client(alice_, "a", kDaemon);
    b_ = world_->member_client(bob_, "b", kDaemon);
  }
  JsonValue send(Client& client, const std::string& target, const std::string& id, const std::string& extra = {}) {
    client.message(target, id, extra);
    auto ack = client.wait("ack", "id", id);
    EXPECT_TRUE(ack.has_value()) << id;
    return ack.value_or(JsonValue());
  }

  std::unique_ptr<BrokerWorld> world_;
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_, b_;
};

TEST_F(AcceptTest, AckThenPushThenStatus) {
  start();
  const JsonValue ack = send(*a_, bob_.pubkey(), "1");
  EXPECT_TRUE(bool_of(ack, "queued"));
  const std::string id = text_of(ack, "messageId");
  const auto push = b_->wait("push", "messageId", id);
  ASSERT_TRUE(push.has_value());
  EXPECT_EQ(text_of(*push, "senderPubkey"), alice_.pubkey());
  b_->client_ack(id);
  world_->run_ms(100);
  a_->send(R"({"type":"message_status","messageId":")" + id + R"(","_reqId":"s"})");
  const auto status = a_->wait("message_status_result", "_reqId", "s");
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(bool_of(*status, "delivered"));
}

TEST_F(AcceptTest, RepetitionGetsTheFirstIdAlsoAfterARestart) {
  start();
  const std::string key = R"(,"client_message_id":"cid","request_fingerprint":")" + std::string(64, 'a') + "\"";
  const std::string other = R"(,"client_message_id":"cid","request_fingerprint":")" + std::string(64, 'b') + "\"";
  const std::string id = text_of(send(*a_, bob_.pubkey(), "1", key), "messageId");
  const JsonValue again = send(*a_, bob_.pubkey(), "2", key);
  EXPECT_EQ(text_of(again, "messageId"), id);
  EXPECT_TRUE(bool_of(again, "duplicate"));
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "3", other), "code"), "idempotency_key_reused");

  world_->crash();
  ASSERT_TRUE(world_->boot());
  a_ = world_->member_client(alice_, "a2", kDaemon);
  const JsonValue after = send(*a_, bob_.pubkey(), "4", key);
  EXPECT_EQ(text_of(after, "messageId"), id);
  EXPECT_TRUE(bool_of(after, "duplicate"));
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "5", other), "code"), "idempotency_key_reused");
}

TEST_F(AcceptTest, IdOfAnotherMemberTellsNothing) {
  start();
  const std::string key = R"(,"client_message_id":"cid","request_fingerprint":")" + std::string(64, 'a') + "\"";
  const std::string id = text_of(send(*a_, bob_.pubkey(), "1", key), "messageId");
  const JsonValue stolen = send(*b_, alice_.pubkey(), "2", key);
  EXPECT_FALSE(bool_of(stolen, "queued"));
  EXPECT_EQ(text_of(stolen, "code"), "idempotency_key_reused");
  const std::string text = protocol::to_json(stolen);
  EXPECT_EQ(text.find(id), std::string::npos);
  EXPECT_EQ(text.find("aaaa"), std::string::npos) << text;
  EXPECT_EQ(text.find("first_seen"), std::string::npos) << text;
}

TEST_F(AcceptTest, SameIdTwiceInFlightIsOneMessage) {
  start();
  const std::string key = R"(,"client_message_id":"cid")";
  a_->message(bob_.pubkey(), "1", key);
  a_->message(bob_.pubkey(), "2", key);
  const auto first = a_->wait("ack", "id", "1");
  const auto second = a_->wait("ack", "id", "2");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(text_of(*first, "messageId"), text_of(*second, "messageId"));
  EXPECT_FALSE(bool_of(*first, "duplicate"));
  EXPECT_TRUE(bool_of(*second, "duplicate"));
  world_->run_ms(1'000);
  EXPECT_EQ(b_->take_pushes().size(), 1u);
}

TEST_F(AcceptTest, RepetitionIsAnsweredWhenTheLimitIsReached) {
  start("rate_limit_burst = 2\nrate_limit_per_min = 1\n");
  const std::string key = R"(,"client_message_id":"cid")";
  const std::string id = text_of(send(*a_, bob_.pubkey(), "1", key), "messageId");
  send(*a_, bob_.pubkey(), "2");
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "3"), "error"), "rate_limit: max 1 msg/min (burst 2) — slow down");
  world_->crash();  // forgets the ids in memory: the table has to answer, and the bucket is full again
  ASSERT_TRUE(world_->boot());
  a_ = world_->member_client(alice_, "a2", kDaemon);
  send(*a_, bob_.pubkey(), "4");
  send(*a_, bob_.pubkey(), "5");
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "6"), "code"), "rate_limited");
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "7", key), "messageId"), id);
}

TEST_F(AcceptTest, RepetitionIsAnsweredWhenTheRecipientIsGone) {
  start();
  const MemberInfo admin = world_->join(mesh_, "root", "admin");
  const std::string key = R"(,"client_message_id":"cid")";
  const std::string id = text_of(send(*a_, bob_.pubkey(), "1", key), "messageId");
  auto root = world_->member_client(admin, "r");
  root->send(R"({"type":"ban","target":")" + bob_.pubkey() + R"(","_reqId":"b"})");
  ASSERT_TRUE(root->wait("ban_ack").has_value());
  EXPECT_EQ(b_->close_code(), 0u);
  world_->run_ms(1'000);
  EXPECT_EQ(b_->close_code(), 4002u);
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "2"), "code"), "no_recipient");
  EXPECT_EQ(text_of(send(*a_, bob_.pubkey(), "3", key), "messageId"), id);
}

TEST_F(AcceptTest, AcksAndRepliesKeepTheOrderOfTheRequests) {
  start();
  for (int i = 0; i < 5; ++i) {
    a_->message(bob_.pubkey(), "m" + std::to_string(i));
    a_->send(R"({"type":"list_peers","_reqId":"p)" + std::to_string(i) + "\"}");
  }
  world_->run_ms(1'000);
  // Each reply is there, and what was asked later is not in front.
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(a_->wait("ack", "id", "m" + std::to_string(i)).has_value());
    EXPECT_TRUE(a_->wait("peers_list", "_reqId", "p" + std::to_string(i)).has_value());
  }
}

TEST_F(AcceptTest, AuditChainHolds) {
  start();
  send(*a_, bob_.pubkey(), "1");
  send(*a_, "*", "2");
  a_->send(R"({"type":"audit_verify","_reqId":"v"})");
  const auto verdict = a_->wait("audit_verify_result");
  ASSERT_TRUE(verdict.has_value());
  EXPECT_TRUE(bool_of(*verdict, "valid"));
  a_->send(R"({"type":"audit_query","eventType":"message_sent","_reqId":"q"})");
  const auto page = a_->wait("audit_result");
  ASSERT_TRUE(page.has_value());
  const auto* entries = page->find("entries")->as_array();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ(text_of(*(*entries)[0].find("payload"), "targetSpec"), "*") << "newest first";
}

}  // namespace
}  // namespace cm::broker::test
