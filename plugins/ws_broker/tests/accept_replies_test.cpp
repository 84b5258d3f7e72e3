// The replies to a send, and when two sends are the same.
#include <gtest/gtest.h>

#include "plugins/ws_broker/src/accept.hpp"
#include "plugins/ws_broker/tests/model_builder.hpp"

namespace cm::broker {
namespace {

using test::key_of;
using test::TestMesh;

class RepliesTest : public ::testing::Test {
 protected:
  RepliesTest() {
    request_.ack_id = "r1";
    request_.sender = &alice_;
    request_.message = std::make_shared<Message>(*test::message(1, key_of('b'), "alice", "cid"));
    request_.fingerprint.fill(0xab);
    record_.sender_member_id = "alice";
    record_.broker_message_id = "first";
    record_.fingerprint.fill(0xab);
    record_.first_seen_at_ms = 0;
  }

  TestMesh world_;
  Member& alice_ = world_.member("alice", key_of('a'));
  SendRequest request_;
  DedupeRecord record_;
};

TEST_F(RepliesTest, Accepted) {
  EXPECT_EQ(accepted_ack(request_), R"({"type":"ack","id":"r1","messageId":"message-1","queued":true})");
}

TEST_F(RepliesTest, DuplicateGetsTheFirstAnswer) {
  EXPECT_EQ(repeated_ack(request_, record_),
            R"({"type":"ack","id":"r1","messageId":"first","queued":true,"duplicate":true,"client_message_id":"cid",)"
            R"("history_available":true,"first_seen_at":"1970-01-01T00:00:00.000Z"})");
}

TEST_F(RepliesTest, MismatchNamesTheBrokersFingerprint) {
  request_.fingerprint.fill(0xcd);
  const std::string ack = repeated_ack(request_, record_);
  EXPECT_NE(ack.find(R"("queued":false)"), std::string::npos) << ack;
  EXPECT_NE(ack.find(R"("code":"idempotency_key_reused")"), std::string::npos) << ack;
  EXPECT_NE(ack.find(R"("retryable":false)"), std::string::npos) << ack;
  EXPECT_NE(ack.find(R"("broker_fingerprint_prefix":"abababababababab")"), std::string::npos) << ack;
  EXPECT_NE(ack.find(R"("conflict":"request_fingerprint_mismatch"})"), std::string::npos) << ack;
  EXPECT_EQ(ack.find("first"), std::string::npos) << ack;
}

TEST_F(RepliesTest, AnotherMemberLearnsNothing) {
  record_.sender_member_id = "bob";
  const std::string ack = repeated_ack(request_, record_);
  EXPECT_NE(ack.find(R"("code":"idempotency_key_reused")"), std::string::npos) << ack;
  for (const char* secret : {"first", "abab", "1970", "history", "conflict"}) {
    EXPECT_EQ(ack.find(secret), std::string::npos) << secret << " in " << ack;
  }
}

TEST_F(RepliesTest, RefusalKeepsTheTextOfTheOriginal) {
  const Refusal refusal{"rate_limit: max 60 msg/min (burst 10) — slow down", "rate_limited", "rate_limit", true, 950};
  const std::string ack = refused_ack("r1", refusal, "");
  EXPECT_EQ(ack, R"({"type":"ack","id":"r1","messageId":"","queued":false,)"
                 R"("error":"rate_limit: max 60 msg/min (burst 10) — slow down","code":"rate_limited",)"
                 R"("retryable":true,"retry_after_ms":950})");
}

TEST_F(RepliesTest, SurrogateCoversTargetPriorityNonceAndCiphertext) {
  const Message base = *request_.message;
  const protocol::Fingerprint expected = surrogate_fingerprint(base);
  EXPECT_EQ(surrogate_fingerprint(base), expected);
  Message changed = base;
  changed.ciphertext += "x";
  EXPECT_NE(surrogate_fingerprint(changed), expected);
  changed = base;
  changed.priority = protocol::Priority::kNow;
  EXPECT_NE(surrogate_fingerprint(changed), expected);
  changed = base;
  changed.nonce = base.nonce + base.ciphertext.substr(0, 1);
  changed.ciphertext = base.ciphertext.substr(1);
  EXPECT_NE(surrogate_fingerprint(changed), expected) << "the border between the parts counts";
}

}  // namespace
}  // namespace cm::broker
