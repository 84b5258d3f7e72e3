// The pure rules of delivery: who may get a row, who first, how long a claim lasts, what a queued push looks like.
#include <gtest/gtest.h>

#include "plugins/ws_broker/src/delivery.hpp"
#include "plugins/ws_broker/tests/model_builder.hpp"

namespace cm::broker {
namespace {

using test::key_of;
using test::message;
using test::TestMesh;

class DeliveryRulesTest : public ::testing::Test {
 protected:
  static QueueRow row(const std::string& target, bool multicast, const std::string& key = {}) {
    QueueRow fresh;
    fresh.message = message(1, target);
    fresh.multicast = multicast;
    fresh.key = key;
    return fresh;
  }

  TestMesh world_;
  Member& alice_ = world_.member("alice", key_of('a'));
  Member& bob_ = world_.member("bob", key_of('b'));
};

TEST_F(DeliveryRulesTest, KeyedRowIsForThatSessionOnly) {
  Presence& session = world_.presence(bob_, key_of('5'), "1");
  Presence& daemon = world_.presence(bob_, "", "2");
  const QueueRow keyed = row(key_of('5'), false, key_of('5'));
  EXPECT_TRUE(may_receive(session, keyed));
  EXPECT_FALSE(may_receive(daemon, keyed));
  const QueueRow any = row(bob_.pubkey, false);
  EXPECT_TRUE(may_receive(session, any));
  EXPECT_TRUE(may_receive(daemon, any));
}

TEST_F(DeliveryRulesTest, SenderDoesNotGetItsOwnMessage) {
  Presence& sender = world_.presence(alice_, "", "1");
  Presence& other = world_.presence(alice_, "", "2");
  QueueRow own = row(alice_.pubkey, false);
  auto fresh = std::make_shared<Message>(*own.message);
  fresh->sender_presence = sender.number;
  own.message = fresh;
  EXPECT_FALSE(may_receive(sender, own));
  EXPECT_TRUE(may_receive(other, own)) << "another connection of the member";
  fresh->sender_presence = 0;  // read back from the store
  EXPECT_FALSE(may_receive(other, own)) << "the sending key must not be echoed after a restart";
}

TEST_F(DeliveryRulesTest, SessionDoesNotGetItsOwnMessageUnderAnotherPresence) {
  Presence& session = world_.presence(alice_, key_of('5'), "1");
  Presence& sibling = world_.presence(alice_, key_of('6'), "2");
  Presence& daemon = world_.presence(alice_, "", "3");
  QueueRow own = row(alice_.pubkey, false);
  auto fresh = std::make_shared<Message>(*own.message);
  fresh->sender_pubkey = session.session_key;
  fresh->sender_presence = daemon.number + 1;  // it was replaced since
  own.message = fresh;
  EXPECT_FALSE(may_receive(session, own));
  EXPECT_TRUE(may_receive(sibling, own));
  EXPECT_TRUE(may_receive(daemon, own));
}

TEST_F(DeliveryRulesTest, MulticastSkipsSiblingsOfTheSenderAndHiddenPresences) {
  Presence& sibling = world_.presence(alice_, key_of('5'), "1");
  Presence& peer = world_.presence(bob_, "", "2");
  const QueueRow all = row("*", true);
  EXPECT_FALSE(may_receive(sibling, all));
  EXPECT_TRUE(may_receive(peer, all));
  peer.visible = false;
  EXPECT_FALSE(may_receive(peer, all));
}

TEST_F(DeliveryRulesTest, RedeliveryToAGroupDoesNotWidenTheAudience) {
  Presence& member = world_.presence(bob_, "", "1");
  Presence& outsider = world_.presence(bob_, key_of('6'), "2");
  member.groups.push_back({"dev", std::nullopt});
  const QueueRow group = row("@dev", true);
  EXPECT_TRUE(may_receive(member, group));
  EXPECT_FALSE(may_receive(outsider, group));
  bob_.default_groups.push_back({"dev", std::nullopt});
  EXPECT_TRUE(may_receive(outsider, group)) << "the member as a whole belongs to it";
}

TEST_F(DeliveryRulesTest, ClientsThatAcknowledgeComeFirst) {
  Presence& cold = world_.presence(bob_, "", "1");
  Presence& session = world_.presence(bob_, key_of('5'), "2");
  session.acknowledges = true;
  const MessagePtr to_member = message(1, bob_.pubkey);
  EXPECT_TRUE(suits_better(session, cold, *to_member));
  EXPECT_FALSE(suits_better(cold, session, *to_member));
  cold.acknowledges = true;
  EXPECT_TRUE(suits_better(cold, session, *to_member)) << "the one that is addressed by its own key";
}

TEST(ClaimDuration, DoublesUpToTheBound) {
  EXPECT_EQ(claim_duration_ms(0, 30'000, 3'600'000), 30'000);
  EXPECT_EQ(claim_duration_ms(1, 30'000, 3'600'000), 60'000);
  EXPECT_EQ(claim_duration_ms(6, 30'000, 3'600'000), 1'920'000);
  EXPECT_EQ(claim_duration_ms(7, 30'000, 3'600'000), 3'600'000);
  EXPECT_EQ(claim_duration_ms(4'000'000'000u, 30'000, 3'600'000), 3'600'000);
}

TEST(QueuedPush, HasTheFieldsOfTheQueueOnly) {
  std::string out;
  auto direct = std::make_shared<Message>(*message(1, key_of('b'), "alice", "cid"));
  direct->request_fingerprint = "ab";
  direct->created_at_ms = 7;
  write_queued_push(out, *direct);
  EXPECT_EQ(out, R"({"type":"push","messageId":"message-1","meshId":"mesh","senderPubkey":")" + key_of('a') +
                     R"(","priority":"next","nonce":"nonce","ciphertext":"ciphertext","createdAt":)"
                     R"("1970-01-01T00:00:00.007Z","client_message_id":"cid","request_fingerprint":"ab"})");
}

TEST(QueuedPush, MulticastTellsItsTarget) {
  std::string out;
  write_queued_push(out, *message(1, "@dev"));
  EXPECT_NE(out.find(R"("targetSpec":"@dev")"), std::string::npos) << out;
}

}  // namespace
}  // namespace cm::broker
