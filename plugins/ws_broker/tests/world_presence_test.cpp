// Leases, handshake deadlines, capacity, kick and ban on virtual time.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";

class PresenceTest : public ::testing::Test {
 protected:
  void start(const std::string& options = {}) {
    world_ = std::make_unique<BrokerWorld>(3, options);
    ASSERT_TRUE(world_->boot());
    mesh_ = world_->create_mesh("m");
    alice_ = world_->join(mesh_, "alice");
    bob_ = world_->join(mesh_, "bob");
    b_ = world_->member_client(bob_, "b", kDaemon);
  }
  std::size_t peers() {
    b_->send(R"({"type":"list_peers","_reqId":"p"})");
    const auto list = b_->wait("peers_list");
    return list ? list->find("peers")->as_array()->size() : 0;
  }

  std::unique_ptr<BrokerWorld> world_;
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> b_;
};

TEST_F(PresenceTest, GapOfAMinuteIsSilent) {
  start();
  auto first = world_->member_client(alice_, "a", kDaemon);
  ASSERT_TRUE(b_->wait("push", "event", "peer_joined").has_value());
  first->close();
  world_->run_ms(60'000);
  EXPECT_EQ(peers(), 2u);
  auto second = world_->member_client(alice_, "a", kDaemon);
  world_->run_ms(120'000);
  EXPECT_EQ(b_->count("peer_joined"), 0u);
  EXPECT_EQ(b_->count("peer_left"), 0u);
  EXPECT_TRUE(second->open());
}

TEST_F(PresenceTest, OneLeaveAfterNinetySeconds) {
  start();
  auto first = world_->member_client(alice_, "a", kDaemon);
  first->close();
  world_->run_ms(88'000);
  EXPECT_EQ(b_->count("peer_left"), 0u);
  world_->run_ms(5'000);
  EXPECT_EQ(b_->count("peer_left"), 1u);
  EXPECT_EQ(peers(), 1u);
  world_->run_ms(200'000);
  EXPECT_EQ(b_->count("peer_left"), 1u);
}

TEST_F(PresenceTest, SilentConnectionIsDroppedThenLeased) {
  start();
  auto dead = world_->member_client(alice_, "a", kDaemon);
  dead->vanish();
  world_->run_ms(70'000);
  EXPECT_EQ(b_->count("peer_left"), 0u);
  world_->run_ms(200'000);
  EXPECT_EQ(b_->count("peer_left"), 1u);
}

TEST_F(PresenceTest, ClockJumpEndsNoLease) {
  start();
  auto alice = world_->member_client(alice_, "a", kDaemon);
  for (const std::int64_t skew_ms : {std::int64_t{7'200'000}, std::int64_t{-7'200'000}}) {
    world_->broker().clock_skew_ms = skew_ms;
    world_->run_ms(120'000);
    EXPECT_TRUE(alice->open());
    EXPECT_EQ(b_->count("peer_left"), 0u);
  }
}

TEST_F(PresenceTest, ConnectionWithoutHelloIsClosed) {
  start();
  auto mute = world_->connect();
  world_->run_ms(9'000);
  EXPECT_TRUE(mute->open());
  world_->run_ms(3'000);
  EXPECT_EQ(mute->close_code(), 1008u);
}

TEST_F(PresenceTest, TooManyFramesBeforeTheHello) {
  start("pre_hello_frames = 5\n");
  auto noisy = world_->connect();
  for (int i = 0; i < 6; ++i) {
    noisy->send(R"({"type":"list_peers"})");
  }
  world_->run_ms(1'000);
  EXPECT_EQ(noisy->close_code(), 1008u);
}

TEST_F(PresenceTest, CapacityIsExactOverReplacementsKicksAndLeases) {
  start("max_connections_per_mesh = 3\nlease_grace_ms = 2000\n");
  const MemberInfo admin = world_->join(mesh_, "root", "admin");
  auto root = world_->member_client(admin, "r", kDaemon);
  for (int i = 0; i < 10; ++i) {  // the same session again and again
    world_->member_client(alice_, "same", kDaemon);
    world_->run_ms(10);
  }
  EXPECT_EQ(peers(), 3u);
  auto refused = world_->connect();
  refused->hello(alice_, "other", kDaemon);
  const auto error = refused->wait("error");
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(text_of(*error, "code"), "capacity");
  for (int i = 0; i < 10; ++i) {
    root->send(R"({"type":"disconnect","target":"alice","_reqId":"d"})");
    ASSERT_TRUE(root->wait("disconnect_ack").has_value());
    auto next = world_->member_client(alice_, "n" + std::to_string(i), kDaemon);
    EXPECT_TRUE(next->open());
    next->close();
    world_->run_ms(3'000);  // the lease ends
  }
  EXPECT_EQ(peers(), 2u);
}

TEST_F(PresenceTest, BannedMemberIsOutAndStaysOut) {
  start();
  const MemberInfo admin = world_->join(mesh_, "root", "admin");
  auto root = world_->member_client(admin, "r", kDaemon);
  auto alice = world_->member_client(alice_, "a", kDaemon);
  b_->send(R"({"type":"ban","target":"alice","_reqId":"x"})");
  const auto forbidden = b_->wait("error", "_reqId", "x");
  ASSERT_TRUE(forbidden.has_value());
  EXPECT_EQ(text_of(*forbidden, "message"), "only owner or admin can ban");
  root->send(R"({"type":"ban","target":"alice","_reqId":"x"})");
  ASSERT_TRUE(root->wait("ban_ack").has_value());
  world_->run_ms(200);
  EXPECT_EQ(alice->close_code(), 4002u);
  world_->crash();
  ASSERT_TRUE(world_->boot());
  auto again = world_->connect();
  again->hello(alice_, "a", kDaemon);
  const auto error = again->wait("error");
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(text_of(*error, "code"), "revoked");
  world_->run_ms(200);
  EXPECT_EQ(again->close_code(), 4002u);
}

TEST_F(PresenceTest, SecondHelloEndsTheSocket) {
  start();
  auto alice = world_->member_client(alice_, "a", kDaemon);
  alice->hello(alice_, "a", kDaemon);
  world_->run_ms(500);
  EXPECT_EQ(alice->close_code(), 1000u);
  EXPECT_EQ(alice->close_reason(), "session_replaced");
}

TEST_F(PresenceTest, StatsAreNotCountedTwice) {
  start("lease_grace_ms = 1000\n");
  for (int round = 0; round < 3; ++round) {
    auto client = world_->connect();
    client->hello(alice_, "a" + std::to_string(round), kDaemon);
    const auto ack = client->wait("hello_ack");
    ASSERT_TRUE(ack.has_value());
    double restored = 0;
    if (const JsonValue* stats = ack->find("restoredStats")) {
      restored = *stats->find("messagesIn")->as_number();
    }
    EXPECT_EQ(restored, 10.0 * round);
    // Clients go on from what was restored and report totals.
    client->send(R"({"type":"set_stats","stats":{"messagesIn":)" + std::to_string(10 * (round + 1)) + "}}");
    world_->run_ms(100);
    client->close();
    world_->run_ms(5'000);
  }
}

TEST_F(PresenceTest, BanAndItsEndAnswerInTheWordsOfTheOriginal) {
  start();
  const MemberInfo admin = world_->join(mesh_, "root", "admin");
  auto root = world_->member_client(admin, "r", kDaemon);
  const auto answer = [&](const std::string& verb, const std::string& target, const char* type) {
    root->send(R"({"type":")" + verb + R"(","target":")" + target + R"(","_reqId":"x"})");
    const auto reply = root->wait(type, "_reqId", "x");
    EXPECT_TRUE(reply.has_value()) << verb << " " << target;
    return reply.value_or(JsonValue());
  };
  EXPECT_EQ(text_of(answer("ban", "", "error"), "message"), "target required");
  EXPECT_EQ(text_of(answer("ban", "nobody", "error"), "message"), "peer \"nobody\" not found");
  EXPECT_EQ(text_of(answer("ban", "root", "error"), "message"), "cannot ban yourself");
  EXPECT_EQ(text_of(answer("unban", "", "error"), "message"), "target required");
  EXPECT_EQ(text_of(answer("unban", "alice", "error"), "message"), "no banned peer \"alice\"");
  EXPECT_EQ(text_of(answer("ban", "alice", "ban_ack"), "banned"), "alice");
  EXPECT_EQ(text_of(answer("unban", "alice", "unban_ack"), "unbanned"), "alice");
  EXPECT_EQ(text_of(answer("unban", "alice", "error"), "code"), "not_found");
}

}  // namespace
}  // namespace cm::broker::test
