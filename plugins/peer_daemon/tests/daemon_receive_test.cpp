// The way of a received message, the event stream, sessions and their scopes.
#include "plugins/peer_daemon/tests/daemon_fixture.hpp"

namespace cm::daemon {
namespace {

const std::string kToken(64, 'e');

class ReceiveTest : public DaemonTest {
 protected:
  std::vector<protocol::JsonValue> inbox(const std::string& query = "?mark_seen=false",
                                         const std::string& session = "") {
    const Answer answer = ask("GET", "/v1/inbox" + query, "", session);
    EXPECT_EQ(answer.status, 200U) << answer.body;
    return *answer.json().find("items")->as_array();
  }
  static std::string text(const protocol::JsonValue& item, std::string_view key) {
    const protocol::JsonValue* value = item.find(key);
    return value == nullptr ? "(absent)" : value->as_string() == nullptr ? "(null)" : *value->as_string();
  }
  void register_session(const protocol::KeyPair& pair, const std::string& token = kToken) {
    const Answer answer =
        ask("POST", "/v1/sessions/register",
            R"({"token":")" + token + R"(","session_id":"s-)" + token.substr(0, 4) +
                R"(","mesh":"alpha","display_name":"me","pid":1,"groups":["@dev"],"presence":)"
                R"({"session_pubkey":")" +
                pair.public_key.hex() + R"(","session_secret_key":")" + pair.secret_key.hex() + R"("}})");
    ASSERT_EQ(answer.status, 200U) << answer.body;
    ASSERT_NE(answer.body.find("\"presence_accepted\":true"), std::string::npos);
  }
};

TEST_F(ReceiveTest, MessageIsDurableBeforeItIsAcknowledgedAndAnnounced) {
  start_open();
  const auto stream = call("GET", "/v1/events");
  storage_.hold_answers = true;
  TestPush::sealed(bob_, me_.public_key, "hello me").deliver(link());
  host_.run_for_ms(20);
  EXPECT_TRUE(link().acknowledged.empty());
  EXPECT_EQ(stream->body.find("hello me"), std::string::npos);
  storage_.release();
  settle();
  EXPECT_EQ(link().acknowledged, std::vector<std::string>{"b-c1/c1"});
  EXPECT_NE(stream->body.find("event: message\n"), std::string::npos);
  EXPECT_NE(stream->body.find("\"body\":\"hello me\""), std::string::npos);
  const auto items = inbox();
  ASSERT_EQ(items.size(), 1U);
  EXPECT_EQ(text(items[0], "body"), "hello me");
  EXPECT_EQ(text(items[0], "recipient_kind"), "member");
}

TEST_F(ReceiveTest, RedeliveryIsAcknowledgedAgainButStoredOnce) {
  start_open();
  const auto stream = call("GET", "/v1/events");
  const TestPush push = TestPush::sealed(bob_, me_.public_key, "once");
  push.deliver(link());
  settle();
  push.deliver(link());
  TestPush without_id = push;  // a live push of 1.37.0 has only the broker's id
  without_id.client_message_id.clear();
  without_id.deliver(link());
  settle();
  EXPECT_EQ(link().acknowledged.size(), 3U);
  EXPECT_EQ(inbox().size(), 1U);
  EXPECT_EQ(stream->body.find("once"), stream->body.rfind("once")) << "one event";
}

TEST_F(ReceiveTest, AnotherSenderMayUseTheSameId) {
  start_open();
  TestPush::sealed(bob_, me_.public_key, "from bob").deliver(link());
  TestPush other = TestPush::sealed(pair_of(3), me_.public_key, "from carol");
  other.message_id = "b-other";
  other.deliver(link());
  settle();
  EXPECT_EQ(inbox().size(), 2U);
}

// A full disk: nothing is acknowledged, nothing is lost, and what comes later does not overtake.
TEST_F(ReceiveTest, WhatCannotBeStoredWaitsInOrderAndIsNotAcknowledged) {
  start_open();
  storage_.commit_status = CM_IO;
  TestPush::sealed(bob_, me_.public_key, "first").deliver(link());
  settle();
  EXPECT_TRUE(link().acknowledged.empty());
  storage_.commit_status = CM_OK;
  TestPush second = TestPush::sealed(bob_, me_.public_key, "second");
  second.message_id = "b-second";
  second.client_message_id = "c-second";
  second.deliver(link());
  settle();
  EXPECT_TRUE(link().acknowledged.empty()) << "the second waits behind the first";
  host_.run_for_ms(1'100);
  EXPECT_EQ(link().acknowledged.size(), 2U);
  const auto rows = inbox();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(*rows.front().find("body")->as_string(), "second") << "newest first";
}

TEST_F(ReceiveTest, UndecryptableBytesAreNeverText) {
  start_open();
  const auto stream = call("GET", "/v1/events");
  TestPush wrong = TestPush::sealed(bob_, pair_of(9).public_key, "not for me");
  wrong.deliver(link());
  TestPush plain;
  plain.message_id = "m2";
  plain.client_message_id = "c2";
  plain.sender_pubkey = bob_key_;
  plain.nonce = wrong.nonce;
  plain.ciphertext = protocol::base64_encode(protocol::as_bytes("forged as a direct message"));
  plain.deliver(link());
  settle();
  const auto items = inbox();
  ASSERT_EQ(items.size(), 2U);
  for (const auto& item : items) {
    EXPECT_EQ(text(item, "body"), "(null)");
  }
  EXPECT_EQ(stream->body.find("forged"), std::string::npos);
  EXPECT_EQ(link().acknowledged.size(), 2U);
}

TEST_F(ReceiveTest, OwnBroadcastIsAcknowledgedAndForgotten) {
  start_open();
  TestPush own;
  own.sender_pubkey = pair_of(7).public_key.hex();
  own.sender_member_pubkey = me_.public_key.hex();
  own.nonce = "AAAA";
  own.ciphertext = protocol::base64_encode(protocol::as_bytes("to all"));
  own.deliver(link());
  settle();
  EXPECT_EQ(link().acknowledged.size(), 1U) << "or it would come again every 30 s";
  EXPECT_TRUE(inbox().empty());
}

TEST_F(ReceiveTest, BroadcastToMemberAndSessionsIsOneMessageForTheReader) {
  start_open();
  const protocol::KeyPair session = pair_of(5);
  register_session(session);
  const auto user_stream = call("GET", "/v1/events");
  const auto session_stream = call("GET", "/v1/events", "", kToken);
  TestPush broadcast;
  broadcast.sender_pubkey = bob_key_;
  broadcast.sender_member_pubkey = bob_key_;
  broadcast.nonce = "AAAA";
  broadcast.ciphertext = protocol::base64_encode(protocol::as_bytes("attention"));
  broadcast.deliver(link("alpha", CM_LINK_SESSION));
  broadcast.deliver(link());
  settle();
  EXPECT_EQ(storage_.value("SELECT COUNT(*) FROM inbox"), "2") << "one row per recipient";
  EXPECT_EQ(inbox().size(), 1U);
  EXPECT_EQ(inbox("?mark_seen=false", kToken).size(), 1U);
  for (const auto& stream : {user_stream, session_stream}) {
    EXPECT_NE(stream->body.find("attention"), std::string::npos);
    EXPECT_EQ(stream->body.find("attention"), stream->body.rfind("attention"));
  }
}

TEST_F(ReceiveTest, SessionSeesItsOwnRowsAndTheMembers) {
  start_open();
  const protocol::KeyPair first = pair_of(5);
  const protocol::KeyPair second = pair_of(6);
  const std::string other_token(64, 'f');
  register_session(first);
  register_session(second, other_token);
  const auto stream_of_second = call("GET", "/v1/events", "", other_token);
  auto* link_of_first = static_cast<FakeTransport::Link*>(nullptr);
  for (const auto& candidate : transport_.links) {
    link_of_first = candidate->session_pubkey == first.public_key.hex() ? candidate.get() : link_of_first;
  }
  ASSERT_NE(link_of_first, nullptr);
  EXPECT_EQ(link_of_first->groups_json, R"([{"name":"dev"}])") << "groups are forwarded";
  TestPush::sealed(bob_, first.public_key, "for the first", "c1").deliver(*link_of_first);
  TestPush::sealed(bob_, me_.public_key, "for the member", "c2").deliver(link());
  settle();
  EXPECT_EQ(inbox("?mark_seen=false", kToken).size(), 2U);
  const auto seen_by_second = inbox("?mark_seen=false", other_token);
  ASSERT_EQ(seen_by_second.size(), 1U);
  EXPECT_EQ(text(seen_by_second[0], "body"), "for the member");
  EXPECT_EQ(stream_of_second->body.find("for the first"), std::string::npos);
  EXPECT_NE(stream_of_second->body.find("for the member"), std::string::npos);
  const std::string id = text(inbox("?mark_seen=false", kToken)[1], "id");
  const std::string foreign = text(inbox("?mark_seen=false", kToken)[1], "body") == "for the first"
                                  ? id
                                  : text(inbox("?mark_seen=false", kToken)[0], "id");
  EXPECT_EQ(ask("DELETE", "/v1/inbox/" + foreign, "", other_token).status, 404U) << "not its row";
  EXPECT_EQ(ask("DELETE", "/v1/inbox/" + foreign, "", kToken).status, 200U);
}

TEST_F(ReceiveTest, UnknownSessionTokenSeesNothing) {
  start_open();
  TestPush::sealed(bob_, me_.public_key, "private").deliver(link());
  settle();
  const std::string wrong(64, '0');
  EXPECT_EQ(ask("GET", "/v1/inbox", "", wrong).status, 401U);
  EXPECT_EQ(ask("GET", "/v1/events", "", wrong).status, 401U);
  EXPECT_EQ(ask("GET", "/v1/sessions/me", "", wrong).status, 401U);
}

// The program of an ended session must not go on as the member without knowing.
TEST_F(ReceiveTest, UnknownSessionTokenActsAsNobody) {
  start_open();
  const std::string wrong(64, '0');
  const std::size_t asked = link().requests.size();
  const std::vector<std::pair<std::string, std::string>> routes = {
      {"POST", "/v1/send"},  {"DELETE", "/v1/inbox"},        {"POST", "/v1/inbox/seen"},
      {"GET", "/v1/outbox"}, {"POST", "/v1/outbox/requeue"}, {"GET", "/v1/peers"},
      {"POST", "/v1/state"}, {"POST", "/v1/memory"},         {"POST", "/v1/profile"}};
  for (const auto& [method, path] : routes) {
    const Answer refused = ask(method, path, send_body(bob_key_, "hi", "c1"), wrong);
    EXPECT_EQ(refused.status, 401U) << path;
    EXPECT_NE(refused.text("detail").find("register the session again"), std::string::npos) << refused.body;
  }
  EXPECT_EQ(status_of("c1"), "(no row)");
  EXPECT_EQ(link().requests.size(), asked);
  for (const char* path : {"/v1/version", "/v1/health", "/v1/sessions"}) {
    EXPECT_EQ(ask("GET", path, "", wrong).status, 200U) << path;
  }
  EXPECT_EQ(ask("POST", "/v1/meshes/reload", "", wrong).status, 200U);
  testing::FakeRequest empty;
  empty.method = "GET";
  empty.target = "/v1/outbox";
  empty.headers = {{"Authorization", "ClaudeMesh-Session"}};
  EXPECT_EQ(host_.http("unix:" + home_ + "/daemon/daemon.sock", empty)->status, 401U)
      << "an empty token is a wrong one";
  EXPECT_EQ(send(bob_key_, "hi", "c1").status, 202U) << "without a token: the member";
}

TEST_F(ReceiveTest, ReadStateIsStampedOnce) {
  start_open();
  TestPush::sealed(bob_, me_.public_key, "read me").deliver(link());
  settle();
  EXPECT_EQ(inbox("?unread_only=true&mark_seen=false").size(), 1U);
  const Answer listed = ask("GET", "/v1/inbox");
  EXPECT_EQ(*listed.json().find("marked_seen")->as_number(), 1);
  EXPECT_EQ(text(listed.json().find("items")->as_array()->front(), "seen_at"), "(null)") << "as it was before";
  EXPECT_TRUE(inbox("?unread_only=true&mark_seen=false").empty());
  EXPECT_EQ(*ask("GET", "/v1/inbox").json().find("marked_seen")->as_number(), 0);
  EXPECT_EQ(ask("GET", "/v1/inbox?since=nonsense").status, 400U);
  EXPECT_EQ(ask("POST", "/v1/inbox/seen", "{}").text("error"), "missing 'ids' (string[])");
}

TEST_F(ReceiveTest, AFullDiskDoesNotHideTheInbox) {
  start_open();
  TestPush::sealed(bob_, me_.public_key, "read me").deliver(link());
  settle();
  storage_.commit_status = CM_IO;
  const Answer listed = ask("GET", "/v1/inbox");
  EXPECT_EQ(listed.status, 200U) << listed.body;
  EXPECT_EQ(listed.json().find("items")->as_array()->size(), 1U);
  EXPECT_EQ(*listed.json().find("marked_seen")->as_number(), 0);
  storage_.commit_status = CM_OK;
  EXPECT_EQ(*ask("GET", "/v1/inbox").json().find("marked_seen")->as_number(), 1) << "the mark comes later";
}

TEST_F(ReceiveTest, OldMessagesAreRemoved) {
  start_open();
  TestPush::sealed(bob_, me_.public_key, "old").deliver(link());
  settle();
  host_.run_for_ms(29ULL * 24 * 3'600'000);
  EXPECT_EQ(storage_.value("SELECT COUNT(*) FROM inbox"), "1");
  host_.run_for_ms(2ULL * 24 * 3'600'000);
  EXPECT_EQ(storage_.value("SELECT COUNT(*) FROM inbox"), "0");
}

TEST_F(ReceiveTest, AJumpOfTheClockRemovesNothing) {
  start_open();
  TestPush::sealed(bob_, me_.public_key, "keep me").deliver(link());
  settle();
  constexpr std::int64_t kYearMs = 365LL * 24 * 3'600'000;
  host_.unix_ms_at_zero += kYearMs;
  host_.run_for_ms(kPruneMs + 1'000);
  EXPECT_EQ(inbox().size(), 1U);
}

// More comes than waits for a broken disk: as soon as it works the broker is asked for the rest, on a new connection.
TEST_F(ReceiveTest, WhatFoundNoRoomIsFetchedWhenThereIsSome) {
  start_open();
  storage_.commit_status = CM_IO;
  TestPush push = TestPush::sealed(bob_, me_.public_key, "hello");
  const auto deliver = [&](std::size_t number) {
    push.message_id = "b" + std::to_string(number);
    push.client_message_id = "c" + std::to_string(number);
    push.deliver(link());
  };
  std::size_t sent = 0;
  for (; sent < kWaitingMessagesMax + 10; ++sent) {
    deliver(sent);
  }
  host_.run_for_ms(20);
  const std::size_t links = transport_.links.size();
  storage_.commit_status = CM_OK;
  deliver(sent);  // younger than what was left out: it must not overtake
  host_.run_for_ms(2'000);
  EXPECT_EQ(transport_.links.front()->acknowledged.size(), kWaitingMessagesMax + 1) << "one was being stored";
  EXPECT_TRUE(transport_.links.front()->closed);
  ASSERT_EQ(transport_.links.size(), links + 1);
  link().state(CM_LINK_OPEN);
  deliver(kWaitingMessagesMax + 1);
  settle();
  EXPECT_EQ(link().acknowledged, std::vector<std::string>{"b8193/c8193"});
  EXPECT_EQ(send(bob_key_, "still here", "s1").status, 202U);
  settle();
  EXPECT_EQ(link().sent.size(), 1U) << "the outbox uses the new connection";
}

TEST_F(ReceiveTest, StreamHasIdsKeepaliveAndNotices) {
  start_open();
  const auto stream = call("GET", "/v1/events");
  EXPECT_TRUE(stream->streaming);
  EXPECT_TRUE(stream->body.starts_with(": connected\n"));
  link().state(CM_LINK_RECONNECTING);
  EXPECT_NE(stream->body.find("id: 1\nevent: broker_status\ndata: {\"ts\":\""), std::string::npos) << stream->body;
  host_.run_for_ms(15'001);
  EXPECT_NE(stream->body.find(": keepalive\n\n"), std::string::npos);
  TestPush left;
  left.subtype = "system";
  left.sender_pubkey = "system";
  left.event = "peer_left";
  left.event_json = R"({"name":"bob","pubkey":"x"})";
  left.deliver(link());
  EXPECT_NE(stream->body.find("id: 2\nevent: peer_leave\n"), std::string::npos) << stream->body;
  EXPECT_NE(stream->body.find(R"("mesh":"alpha","event":"peer_left","name":"bob","pubkey":"x")"), std::string::npos);
  host_.disconnect(stream);
  link().state(CM_LINK_OPEN);  // nobody listens any more
  EXPECT_EQ(*ask("GET", "/v1/health").json().find("event_streams")->as_number(), 0);
}

TEST_F(ReceiveTest, SlowReaderIsToldAndDropped) {
  start_open();
  const auto slow = call("GET", "/v1/events");
  const auto quick = call("GET", "/v1/events");
  slow->blocked = true;
  const std::string big(40'000, 'x');
  for (int i = 0; i < 120; ++i) {
    TestPush::sealed(bob_, me_.public_key, big, "c" + std::to_string(i)).deliver(link());
    host_.run_for_ms(1);
  }
  EXPECT_FALSE(slow->done) << "it may still take its last event";
  host_.drained(slow);
  EXPECT_TRUE(slow->done);
  EXPECT_NE(slow->body.find("event: dropped\ndata: {\"reason\":\"slow_reader\",\"lost\":"), std::string::npos);
  EXPECT_FALSE(quick->done);
  EXPECT_EQ(inbox("?mark_seen=false&limit=1000").size(), 120U) << "nothing is lost in the inbox";
}

TEST_F(ReceiveTest, SessionSendsAsItselfAndNeverAsSomebodyElse) {
  start_open();
  const protocol::KeyPair session = pair_of(5);
  register_session(session);
  EXPECT_EQ(send(bob_key_, "from the session", "c1", kToken).status, 202U);
  settle();
  EXPECT_TRUE(link().sent.empty()) << "the session's link is not open: the message waits";
  FakeTransport::Link& own = link("alpha", CM_LINK_SESSION);
  own.state(CM_LINK_OPEN);
  settle();
  ASSERT_EQ(own.sent.size(), 1U);
  EXPECT_EQ(*protocol::decrypt_from(own.sent[0].nonce, own.sent[0].ciphertext, session.public_key, bob_.secret_key),
            "from the session");
  EXPECT_TRUE(link().sent.empty());
}

TEST_F(ReceiveTest, SessionsShowNoSecretAndComeAndGo) {
  start_open();
  const protocol::KeyPair session = pair_of(5);
  register_session(session);
  const std::string everything = ask("GET", "/v1/sessions").body + ask("GET", "/v1/sessions/me", "", kToken).body;
  EXPECT_NE(everything.find(session.public_key.hex()), std::string::npos);
  EXPECT_EQ(everything.find(session.secret_key.hex()), std::string::npos);
  EXPECT_EQ(everything.find(kToken), std::string::npos);
  EXPECT_EQ(ask("DELETE", "/v1/sessions/" + kToken).status, 200U);
  EXPECT_EQ(transport_.find("id-alpha", CM_LINK_SESSION), nullptr);
  EXPECT_EQ(ask("DELETE", "/v1/sessions/" + kToken).status, 404U);
  EXPECT_EQ(ask("DELETE", "/v1/sessions/zz").text("error"), "invalid token");
}

}  // namespace
}  // namespace cm::daemon
