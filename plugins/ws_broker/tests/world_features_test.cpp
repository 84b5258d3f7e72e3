// Features of other plugins: requests, targets with storage of their own, pushes, notices, paths.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr const char* kFeature =
    "rate_limit_burst = 100000\n[plugins.feature]\nuse = \"broker_test_feature\"\nbroker = \"broker\"\n"
    "store = \"store\"\n";

std::vector<std::string> items_of(const std::optional<JsonValue>& frame) {
  std::vector<std::string> items;
  const JsonValue* list = frame ? frame->find("items") : nullptr;
  if (list != nullptr && list->as_array() != nullptr) {
    for (const JsonValue& item : *list->as_array()) {
      items.push_back(*item.as_string());
    }
  }
  return items;
}

class FeatureTest : public ::testing::Test {
 protected:
  FeatureTest() { EXPECT_TRUE(world_.boot()); }
  void two_members() {
    mesh_ = world_.create_mesh("m");
    alice_ = world_.join(mesh_, "alice");
    bob_ = world_.join(mesh_, "bob");
    a_ = world_.member_client(alice_, "a", kDaemon);
  }
  void send(const std::string& id, const std::string& target, const std::string& word) {
    a_->send(R"({"type":"send","id":")" + id + R"(","targetSpec":")" + target +
             R"(","priority":"next","nonce":"n","ciphertext":")" + word + R"(","client_message_id":"c)" + id + "\"}");
  }
  JsonValue ack(const std::string& id) { return a_->wait("ack", "id", id, 60'000).value_or(JsonValue()); }
  std::vector<std::string> rows() {
    a_->send(R"({"type":"t_rows"})");
    return items_of(a_->wait("t_rowed"));
  }
  std::vector<std::string> notes() {
    a_->send(R"({"type":"t_notes"})");
    return items_of(a_->wait("t_noted"));
  }

  BrokerWorld world_{1, kFeature};
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_;
};

TEST_F(FeatureTest, ServesATypeAndEchoesTheRequestId) {
  two_members();
  a_->send(R"({"type":"t_echo","_reqId":"r1"})");
  const auto reply = a_->wait("t_echoed");
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(text_of(*reply, "name"), "alice");
  EXPECT_EQ(text_of(*reply, "_reqId"), "r1");
}

TEST_F(FeatureTest, UnknownTypesAreStillIgnored) {
  two_members();
  a_->send(R"({"type":"t_nobody","_reqId":"r1"})");
  a_->send(R"({"type":"t_echo"})");
  EXPECT_TRUE(a_->wait("t_echoed").has_value());
  EXPECT_FALSE(a_->wait("error", {}, {}, 100).has_value());
}

TEST_F(FeatureTest, RepliesKeepTheOrderOfTheRequests) {
  two_members();
  a_->send(R"({"type":"t_slow","ms":"2000"})");
  a_->send(R"({"type":"t_echo"})");
  EXPECT_FALSE(a_->wait("t_echoed", {}, {}, 1'500).has_value());
  EXPECT_TRUE(a_->wait("t_slowly").has_value());
  EXPECT_TRUE(a_->wait("t_echoed").has_value());
}

TEST_F(FeatureTest, SilenceEndsAfterThirtySeconds) {
  two_members();
  a_->send(R"({"type":"t_never","_reqId":"r1"})");
  EXPECT_FALSE(a_->wait("error", {}, {}, 29'000).has_value());
  const auto error = a_->wait("error", {}, {}, 3'000);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(text_of(*error, "code"), "internal");
  EXPECT_EQ(text_of(*error, "_reqId"), "r1");
}

TEST_F(FeatureTest, TheSecondAnswerIsRefused) {
  two_members();
  a_->send(R"({"type":"t_twice"})");
  EXPECT_TRUE(a_->wait("t_first").has_value());
  EXPECT_FALSE(a_->wait("t_second", {}, {}, 200).has_value());
}

TEST_F(FeatureTest, AClientThatLeftIsNoTrouble) {
  two_members();
  a_->send(R"({"type":"t_slow","ms":"1000"})");
  world_.run_ms(100);
  a_->close();
  world_.run_ms(3'000);
  a_ = world_.member_client(alice_, "a2", kDaemon);
  a_->send(R"({"type":"t_echo"})");
  EXPECT_TRUE(a_->wait("t_echoed").has_value());
}

TEST_F(FeatureTest, SeesOnlyTheMeshThatItAsksAbout) {
  two_members();
  const MeshInfo other = world_.create_mesh("other");
  const MemberInfo carol = world_.join(other, "carol");
  const auto b = world_.member_client(bob_, "b", kDaemon);
  const auto c = world_.member_client(carol, "c", kDaemon);
  a_->send(R"({"type":"t_count"})");
  EXPECT_EQ(text_of(a_->wait("t_counted").value_or(JsonValue()), "count"), "2");
  a_->send(R"({"type":"t_announce"})");
  EXPECT_EQ(text_of(a_->wait("t_announcing").value_or(JsonValue()), "count"), "1");
  EXPECT_TRUE(b->wait("t_announced").has_value());
  EXPECT_FALSE(c->wait("t_announced", {}, {}, 500).has_value());
}

TEST_F(FeatureTest, ContributesToMeshInfoWithoutReplacing) {
  two_members();
  a_->send(R"({"type":"mesh_info","_reqId":"r1"})");
  const auto info = a_->wait("mesh_info_result");
  ASSERT_TRUE(info.has_value());
  EXPECT_NE(info->find("topics"), nullptr);
  EXPECT_EQ(text_of(*info, "mesh"), mesh_.id);
  EXPECT_EQ(text_of(*info, "_reqId"), "r1");
}

TEST_F(FeatureTest, ServesAPathOfTheBrokersPort) {
  const sim::HttpAnswer answer = world_.ask("POST", "/hook/a%20b/s", "{}");
  EXPECT_EQ(answer.status, 200u);
  EXPECT_EQ(answer.body, "mesh=a b");
  EXPECT_EQ(world_.ask("GET", "/hook/a/s").status, 405u);
  EXPECT_EQ(world_.ask("GET", "/elsewhere").status, 404u);
  EXPECT_EQ(world_.ask("GET", "/health").status, 200u);
}

TEST_F(FeatureTest, IsToldOfMeshesMembersAndPresences) {
  two_members();
  const auto b = world_.member_client(bob_, "b", kDaemon);
  b->close();
  world_.run_ms(120'000);  // the time of grace
  const std::vector<std::string> told = notes();
  const std::vector<std::string> expected = {"mesh m",       "member alice", "member bob",
                                             "joined alice", "joined bob",   "left bob"};
  EXPECT_EQ(told, expected);
}

// --- targets ---

TEST_F(FeatureTest, MessageAndRowOfTheFeatureAreStoredTogether) {
  two_members();
  const auto b = world_.member_client(bob_, "b", kDaemon);
  send("1", "#news", "hello");
  const JsonValue accepted = ack("1");
  EXPECT_TRUE(bool_of(accepted, "queued")) << protocol::to_json(accepted);
  const auto push = b->wait("push", "topic", "news");
  ASSERT_TRUE(push.has_value());
  EXPECT_EQ(text_of(*push, "messageId"), text_of(accepted, "messageId"));
  EXPECT_EQ(rows(), std::vector<std::string>{text_of(accepted, "messageId")});
  EXPECT_TRUE(a_->wait("push", "topic", "news").has_value()) << "the sender was listed";
}

TEST_F(FeatureTest, OfflineMembersGetItLater) {
  two_members();
  send("1", "#news", "hello");
  const std::string id = text_of(ack("1"), "messageId");
  ASSERT_FALSE(id.empty());
  const auto b = world_.member_client(bob_, "b", kDaemon);
  EXPECT_TRUE(b->wait("push", "messageId", id).has_value());
}

TEST_F(FeatureTest, AFailingWorkRefusesOnlyItsMessage) {
  two_members();
  send("1", bob_.pubkey(), "before");
  send("2", "#news", "deny");
  send("3", bob_.pubkey(), "after");
  EXPECT_TRUE(bool_of(ack("1"), "queued"));
  const JsonValue refused = ack("2");
  EXPECT_FALSE(bool_of(refused, "queued"));
  EXPECT_EQ(text_of(refused, "code"), "forbidden");
  EXPECT_FALSE(bool_of(refused, "retryable"));
  EXPECT_TRUE(bool_of(ack("3"), "queued"));
  send("4", "#news", "fail");
  EXPECT_TRUE(bool_of(ack("4"), "retryable"));
  EXPECT_TRUE(rows().empty());
  send("2", "#news", "hello");  // its id is free
  EXPECT_TRUE(bool_of(ack("2"), "queued"));
  const std::vector<std::string> told = notes();
  EXPECT_EQ(std::count(told.begin(), told.end(), "not stored"), 2);
  EXPECT_EQ(std::count(told.begin(), told.end(), "stored"), 1);
  EXPECT_EQ(world_.ask("GET", "/health/ready").status, 200u) << "the store is well";
}

TEST_F(FeatureTest, RefusalAndSilenceOfTheFeature) {
  two_members();
  send("1", "#news", "error");
  EXPECT_EQ(text_of(ack("1"), "code"), "forbidden");
  send("2", "#news", "never");
  const JsonValue late = ack("2");
  EXPECT_EQ(text_of(late, "code"), "internal");
  EXPECT_TRUE(bool_of(late, "retryable"));
}

TEST_F(FeatureTest, ASlowTargetIsNotOvertaken) {
  two_members();
  const auto b = world_.member_client(bob_, "b", kDaemon);
  send("1", "#news", "slow");
  send("2", bob_.pubkey(), "direct");
  send("3", "#news", "hello");
  std::vector<std::string> ids;
  for (const char* id : {"1", "2", "3"}) {
    ids.push_back(text_of(ack(id), "messageId"));
  }
  world_.run_ms(500);
  EXPECT_EQ(b->take_pushes(), ids);
}

TEST_F(FeatureTest, ARepetitionWritesNothingMore) {
  two_members();
  send("1", "#news", "hello");
  const std::string id = text_of(ack("1"), "messageId");
  world_.crash();
  ASSERT_TRUE(world_.boot());  // the cache of ids is empty now
  a_ = world_.member_client(alice_, "a2", kDaemon);
  send("1", "#news", "hello");
  const JsonValue again = ack("1");
  EXPECT_EQ(text_of(again, "messageId"), id);
  EXPECT_TRUE(bool_of(again, "duplicate"));
  EXPECT_EQ(rows(), std::vector<std::string>{id});
}

TEST(FeatureCrash, BothOrNeitherAtEveryStep) {
  std::set<bool> seen;
  for (std::uint64_t steps = 1; steps <= 120; steps += 3) {
    SCOPED_TRACE(steps);
    BrokerWorld world(7, kFeature);
    ASSERT_TRUE(world.boot());
    const MeshInfo mesh = world.create_mesh("m");
    const MemberInfo alice = world.join(mesh, "alice");
    const MemberInfo bob = world.join(mesh, "bob");
    auto a = world.member_client(alice, "a", kDaemon);
    world.broker().crash_after_steps(steps);
    a->message("#news", "1", R"(,"client_message_id":"cid")");
    world.run_ms(1'000);
    const bool acked = a->wait("ack", "id", "1", 1).has_value();
    if (world.alive()) {
      world.crash();
    }
    ASSERT_TRUE(world.boot());
    const auto b = world.member_client(bob, "b", kDaemon);
    world.run_ms(1'000);
    const std::vector<std::string> pushed = b->take_pushes();
    b->send(R"({"type":"t_rows"})");
    EXPECT_EQ(items_of(b->wait("t_rowed")), pushed);
    EXPECT_TRUE(!acked || !pushed.empty());
    seen.insert(!pushed.empty());
  }
  EXPECT_EQ(seen.size(), 2u) << "the steps must cover both outcomes";
}

}  // namespace
}  // namespace cm::broker::test
