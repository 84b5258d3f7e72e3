// Messages to names of members that are not online, and the status of messages that no broker has.
#include "plugins/peer_daemon/src/known_peers.hpp"
#include "plugins/peer_daemon/tests/daemon_fixture.hpp"

namespace cm::daemon {
namespace {

const std::string kCarol = pair_of(3).public_key.hex();
const std::string kSession = pair_of(4).public_key.hex();

std::string row(const std::string& name, const std::string& key, const std::string& member) {
  return R"({"pubkey":")" + key + R"(","memberPubkey":")" + member + R"(","displayName":")" + name +
         R"(","peerRole":")" + (key == member ? "control-plane" : "session") + "\"}";
}

std::string list_of(const std::vector<std::string>& rows) {
  std::string all;
  for (const std::string& one : rows) {
    all += (all.empty() ? "" : ",") + one;
  }
  return R"({"type":"peers_list","peers":[)" + all + "]}";
}

class NamesTest : public DaemonTest {
 protected:
  // The broker names `rows` when the link opens; then it is away.
  void learn(const std::vector<std::string>& rows) {
    start_open();
    settle();
    ASSERT_FALSE(link().requests.empty()) << "the daemon asks who is there";
    link().reply_last(list_of(rows));
    settle();
  }
  void lose_the_broker() {
    link().state(CM_LINK_RECONNECTING);
    host_.run_for_ms(static_cast<std::uint64_t>(kPeersStaleMs) + 1);  // the list at hand is not trusted any more
  }
  std::string target_of(const std::string& id) {
    return storage_.value("SELECT target_spec FROM outbox WHERE client_message_id = '" + id + "'");
  }
};

TEST_F(NamesTest, ANameWorksWithoutTheBroker) {
  learn({row("Bob", bob_key_, bob_key_), row("Carol", kCarol, kCarol)});
  lose_the_broker();
  EXPECT_EQ(send("bob", "hello", "c1").status, 202U);
  EXPECT_EQ(target_of("c1"), bob_key_);
  EXPECT_EQ(send(kCarol.substr(0, 20), "hello", "c2").status, 202U) << "and so does the beginning of a key";
  EXPECT_EQ(target_of("c2"), kCarol);
  EXPECT_EQ(send("dave", "hello", "c3").status, 502U);
  EXPECT_EQ(status_of("c3"), "(no row)");
}

TEST_F(NamesTest, ANameWorksAfterARestartWithoutABroker) {
  learn({row("Bob", bob_key_, bob_key_)});
  crash();
  ASSERT_EQ(start_daemon(), CM_OK) << daemon_->error;
  const auto answer = call("POST", "/v1/send", send_body("Bob", "hello", "c1"));
  host_.run_for_ms(100);
  EXPECT_FALSE(answer->done) << "the broker may know who is online as soon as the link is open";
  link().state(CM_LINK_RECONNECTING);
  host_.run_for_ms(5);
  EXPECT_EQ(answer->status, 202U) << answer->body;
  EXPECT_EQ(target_of("c1"), bob_key_);
}

TEST_F(NamesTest, ANameOfAnOfflineMemberWorksWhileTheBrokerAnswers) {
  learn({row("Bob", bob_key_, bob_key_)});
  host_.run_for_ms(static_cast<std::uint64_t>(kPeersFreshMs) + 1);
  const auto answer = call("POST", "/v1/send", send_body("Bob", "hello", "c1"));
  host_.run_for_ms(1);
  link().reply_last(list_of({}));
  ASSERT_TRUE(host_.run_until([&] { return answer->done; }, 100));
  EXPECT_EQ(answer->status, 202U);
  EXPECT_EQ(target_of("c1"), bob_key_);
}

TEST_F(NamesTest, WhoIsOnlineGoesFirst) {
  learn({row("Bob", bob_key_, bob_key_)});
  host_.run_for_ms(static_cast<std::uint64_t>(kPeersFreshMs) + 1);
  const auto answer = call("POST", "/v1/send", send_body("Bob", "hello", "c1"));
  host_.run_for_ms(1);
  link().reply_last(list_of({row("bob", kCarol, kCarol)}));
  ASSERT_TRUE(host_.run_until([&] { return answer->done; }, 100));
  EXPECT_EQ(target_of("c1"), kCarol);
}

TEST_F(NamesTest, SeveralMembersOfOneNameAreRefusedWithTheirKeys) {
  learn({row("Bob", bob_key_, bob_key_), row("bob", kCarol, kCarol)});
  lose_the_broker();
  const Answer answer = send("BOB", "hello", "c1");
  EXPECT_EQ(answer.status, 502U);
  EXPECT_EQ(answer.text("error"), "route_failed");
  EXPECT_NE(answer.text("detail").find("bob " + kCarol.substr(0, 16)), std::string::npos) << answer.body;
  EXPECT_NE(answer.text("detail").find("Bob " + bob_key_.substr(0, 16)), std::string::npos) << answer.body;
  EXPECT_EQ(status_of("c1"), "(no row)");
}

TEST_F(NamesTest, SessionsAndOurselvesAreNotKept) {
  learn({row("worker", kSession, bob_key_), row("me", me_.public_key.hex(), me_.public_key.hex())});
  lose_the_broker();
  EXPECT_EQ(send("worker", "hello", "c1").status, 502U) << "a session's message must not reach the whole member";
  EXPECT_EQ(send("me", "hello", "c2").status, 502U);
  EXPECT_EQ(storage_.value("SELECT count(*) FROM known_peer"), "0");
}

TEST_F(NamesTest, SendersAndListsThatOthersAskedForAreRemembered) {
  learn({});
  TestPush push = TestPush::sealed(bob_, me_.public_key, "hi");
  push.sender_member_pubkey = bob_key_;
  push.sender_name = "Bob";
  push.deliver(link());
  const auto peers = call("GET", "/v1/peers");
  host_.run_for_ms(1);
  link().reply_last(list_of({row("Carol", kCarol, kCarol)}));
  settle();
  EXPECT_TRUE(peers->done);
  lose_the_broker();
  EXPECT_EQ(send("Bob", "hello", "c1").status, 202U);
  EXPECT_EQ(send("Carol", "hello", "c2").status, 202U);
  EXPECT_EQ(target_of("c1") + target_of("c2"), bob_key_ + kCarol);
}

// A queued message of 1.37.0 names no sender.
TEST_F(NamesTest, AMessageOfAMemberWhoIsOfflineShowsTheNameAfterARestart) {
  learn({row("Bob", bob_key_, bob_key_)});
  crash();
  start_open();
  TestPush push = TestPush::sealed(bob_, me_.public_key, "hi");
  push.sender_name.clear();
  push.deliver(link());
  settle();
  EXPECT_EQ(storage_.value("SELECT sender_name FROM inbox"), "Bob");
}

TEST_F(NamesTest, AMessageOfAnUnknownMemberShowsTheBeginningOfTheKey) {
  learn({row("Carol", kCarol, kCarol)});
  TestPush push = TestPush::sealed(bob_, me_.public_key, "hi");
  push.sender_name.clear();
  push.deliver(link());
  settle();
  EXPECT_EQ(storage_.value("SELECT sender_name FROM inbox"), bob_key_.substr(0, 8));
}

TEST_F(NamesTest, WhoeverJoinsLaterIsLearntButNotOneByOne) {
  learn({});
  TestPush joined;
  joined.subtype = "system";
  joined.event = "peer_joined";
  joined.event_json = "{}";
  joined.deliver(link());
  joined.deliver(link());
  EXPECT_TRUE(link().requests.empty());
  host_.run_for_ms(kLearnDelayMs + 1);
  ASSERT_EQ(link().requests.size(), 1U);
  link().reply_last(list_of({row("Bob", bob_key_, bob_key_)}));
  joined.deliver(link());
  host_.run_for_ms(kLearnIntervalMs - 1'000);
  EXPECT_TRUE(link().requests.empty());
  host_.run_for_ms(2'000);
  ASSERT_EQ(link().requests.size(), 1U);
  link().reply_last(list_of({}));
  lose_the_broker();
  EXPECT_EQ(send("Bob", "hello", "c1").status, 202U);
}

TEST_F(NamesTest, NamesThatNobodyWasSeenUnderForLongAreForgotten) {
  learn({row("Bob", bob_key_, bob_key_)});
  storage_.query("UPDATE known_peer SET last_seen_at = 0");
  host_.run_for_ms(kPruneMs + 1);
  EXPECT_EQ(storage_.value("SELECT count(*) FROM known_peer"), "0");
}

TEST(KnownPeers, OneMemberWithSeveralNamesIsOne) {
  const ParsedTarget target = parse_target("bob");
  const std::vector<KnownPeer> twice = {{kCarol, "Bob", 2}, {kCarol, "bob", 1}};
  EXPECT_EQ(*resolve_known(target, twice), kCarol);
  EXPECT_EQ(resolve_known(target, {}).error().code, ErrorCode::kGone);
  EXPECT_EQ(resolve_known(target, {{kCarol, "bob", 2}, {kSession, "bob", 1}}).error().code, ErrorCode::kInvalid);
}

// --- the status of a message by the sender's id --------------------------------------------------------------------

TEST_F(NamesTest, StatusOfAMessageThatWaitsInTheOutbox) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  send(bob_key_, "hello", "8e11200a-0000-4000-8000-000000000001");
  for (const char* id : {"8e11200a", "8e11200a-0000-4000-8000-000000000001"}) {
    const Answer answer = ask("GET", "/v1/messages/" + std::string(id) + "/status");
    EXPECT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(answer.text("messageId"), "8e11200a-0000-4000-8000-000000000001");
    EXPECT_EQ(answer.text("outbox"), "pending");
    EXPECT_EQ(answer.text("targetSpec"), bob_key_);
  }
}

TEST_F(NamesTest, StatusOfAnAcceptedMessageIsTheBrokers) {
  learn({});
  send(bob_key_, "hello", "8e11200a-0000-4000-8000-000000000001");
  settle();
  link().result("8e11200a-0000-4000-8000-000000000001", CM_SEND_ACCEPTED, "", "BrokerMessage1");
  settle();
  const auto answer = call("GET", "/v1/messages/8e11200a/status");
  host_.run_for_ms(1);
  ASSERT_FALSE(link().requests.empty());
  EXPECT_EQ(link().requests.back().json, R"({"type":"message_status","messageId":"BrokerMessage1"})");
  link().reply_last(R"({"type":"message_status_result","messageId":"BrokerMessage1","delivered":true})");
  ASSERT_TRUE(host_.run_until([&] { return answer->done; }, 100));
  EXPECT_EQ(answer->body, R"({"messageId":"BrokerMessage1","delivered":true,"mesh":"alpha"})");
}

TEST_F(NamesTest, StatusOfAnAmbiguousBeginningIsRefused) {
  write_config({"alpha"});
  ASSERT_EQ(start_daemon(), CM_OK);
  send(bob_key_, "hello", "order-2026");
  send(bob_key_, "hello", "order-2026-2");
  EXPECT_EQ(ask("GET", "/v1/messages/order-20/status").text("error"), "ambiguous_prefix");
  EXPECT_EQ(ask("GET", "/v1/messages/order-2026/status").text("messageId"), "order-2026") << "a whole id is exact";
  EXPECT_EQ(ask("GET", "/v1/messages/order-1999/status").status, 400U) << "no broker has such ids";
}

}  // namespace
}  // namespace cm::daemon
