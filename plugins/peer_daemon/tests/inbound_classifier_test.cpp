#include "plugins/peer_daemon/src/inbound_classifier.hpp"

#include <gtest/gtest.h>

#include "protocol/encoding.hpp"

namespace cm::daemon {
namespace {

using Kind = InboundVerdict::Kind;

const std::string kSender(64, 'a');
const std::string kMember(64, 'b');
const std::string kSession(64, 'c');

std::string base64(std::string_view text) {
  return protocol::base64_encode(protocol::as_bytes(text));
}

Push push(std::string ciphertext) {
  Push result;
  result.message_id = "m";
  result.sender_pubkey = kSender;
  result.nonce = base64(std::string(24, '\0'));
  result.ciphertext = std::move(ciphertext);
  return result;
}

Receiver receiver(std::optional<std::string> opened = std::nullopt) {
  Receiver result;
  result.pubkey = kMember;
  result.member_pubkey = kMember;
  result.is_own_session = [](std::string_view key) { return key == kSession; };
  result.open = [opened](const Push&) { return opened; };
  return result;
}

TEST(InboundClassifier, OpenedBoxIsText) {
  const InboundVerdict verdict = classify_push(push("x"), receiver("hello"));
  EXPECT_EQ(verdict.kind, Kind::kStore);
  EXPECT_EQ(verdict.body, "hello");
  EXPECT_TRUE(verdict.sealed);
}

TEST(InboundClassifier, DirectMessageThatDoesNotOpenIsNeverText) {
  // Base64 of readable text, as if it were a direct message: not authenticated, not shown.
  const InboundVerdict verdict = classify_push(push(base64("send me your keys, please")), receiver());
  EXPECT_EQ(verdict.kind, Kind::kStore);
  EXPECT_FALSE(verdict.body.has_value());
}

TEST(InboundClassifier, MulticastIsPlain) {
  Push multicast = push(base64("to all"));
  multicast.sender_member_pubkey = std::string(64, 'd');
  const InboundVerdict verdict = classify_push(multicast, receiver());
  EXPECT_EQ(verdict.body, "to all");
  EXPECT_FALSE(verdict.sealed);
}

TEST(InboundClassifier, QueuedMulticastIsPlainWhenTheBrokerSaysSo) {
  Push queued = push(base64("to the group"));
  queued.target = "@dev";
  EXPECT_EQ(classify_push(queued, receiver()).body, "to the group");
  queued.target = kMember;
  EXPECT_FALSE(classify_push(queued, receiver()).body.has_value()) << "a key is a direct message";
}

TEST(InboundClassifier, TopicAndBridgeBodiesArePlain) {
  Push topic = push(base64("in a topic"));
  topic.topic = "general";
  EXPECT_EQ(classify_push(topic, receiver()).body, "in a topic");
  Push bridge = push(base64("from a bridge"));
  bridge.nonce.clear();
  EXPECT_EQ(classify_push(bridge, receiver()).body, "from a bridge");
  Push webhook = push(base64("hook"));
  webhook.sender_pubkey = "webhook:ci";
  EXPECT_EQ(classify_push(webhook, receiver()).body, "hook");
}

TEST(InboundClassifier, GarbageIsNeverShown) {
  for (const std::string& bytes : {std::string("\xff\xfe\x80random-ciphertext"), std::string("bell\x07"),
                                   std::string("esc\x1b[31m"), std::string("nul\0x", 5), std::string("del\x7f")}) {
    Push multicast = push(base64(bytes));
    multicast.sender_member_pubkey = std::string(64, 'd');
    EXPECT_FALSE(classify_push(multicast, receiver()).body.has_value());
  }
  EXPECT_EQ(decode_plain_body(base64("two\nlines\tand a tab ✓")), "two\nlines\tand a tab ✓");
  EXPECT_FALSE(decode_plain_body("not base64!").has_value());
}

TEST(InboundClassifier, OwnBroadcastsAreDropped) {
  Push echo = push(base64("mine"));
  echo.sender_member_pubkey = kMember;
  EXPECT_EQ(classify_push(echo, receiver()).kind, Kind::kDrop);
  Push of_session = push(base64("mine"));
  of_session.sender_pubkey = kSession;
  EXPECT_EQ(classify_push(of_session, receiver()).kind, Kind::kDrop);
}

TEST(InboundClassifier, MessageOfAnOwnSessionToUsIsKept) {
  Push to_self = push("sealed");
  to_self.sender_pubkey = kSession;
  to_self.sender_member_pubkey = kMember;
  const InboundVerdict verdict = classify_push(to_self, receiver("note to self"));
  EXPECT_EQ(verdict.kind, Kind::kStore);
  EXPECT_EQ(verdict.body, "note to self");
}

TEST(InboundClassifier, EchoOnTheSameConnectionIsDroppedEvenWhenItOpens) {
  Push echo = push("sealed");
  echo.sender_pubkey = kMember;
  EXPECT_EQ(classify_push(echo, receiver("x")).kind, Kind::kDrop);
}

TEST(InboundClassifier, NoticesAreNotStored) {
  Push notice = push("");
  notice.subtype = "system";
  notice.event = "peer_joined";
  notice.event_json = R"({"name":"x","pubkey":")" + kSender + "\"}";
  EXPECT_EQ(classify_push(notice, receiver()).kind, Kind::kNotice);
  notice.event_json = R"({"name":"x","pubkey":")" + kSession + "\"}";
  EXPECT_EQ(classify_push(notice, receiver()).kind, Kind::kIgnore) << "our own session";
  Receiver session = receiver();
  session.session = true;
  notice.event_json = "{}";
  EXPECT_EQ(classify_push(notice, session).kind, Kind::kIgnore) << "the member's connection reports it";
  EXPECT_EQ(notice_kind("peer_joined"), "peer_join");
  EXPECT_EQ(notice_kind("peer_left"), "peer_leave");
  EXPECT_EQ(notice_kind("peer_returned"), "system");
}

TEST(InboundClassifier, EmptyBodyIsStoredWithoutText) {
  const InboundVerdict verdict = classify_push(push(""), receiver());
  EXPECT_EQ(verdict.kind, Kind::kStore);
  EXPECT_FALSE(verdict.body.has_value());
}

}  // namespace
}  // namespace cm::daemon
