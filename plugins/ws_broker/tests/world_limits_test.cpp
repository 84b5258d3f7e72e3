// What one client can make the broker do: open requests, sockets without a hello, lookups of refused sends.
#include <gtest/gtest.h>

#include <set>

#include "plugins/ws_broker/src/delivery.hpp"
#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr const char* kNoRateLimit = "rate_limit_per_min = 1000000\nrate_limit_burst = 1000000\n";

class LimitsTest : public ::testing::Test {
 protected:
  void start(const std::string& options) {
    world_ = std::make_unique<BrokerWorld>(1, options);
    ASSERT_TRUE(world_->boot());
    mesh_ = world_->create_mesh("m");
    alice_ = world_->join(mesh_, "alice");
    bob_ = world_->join(mesh_, "bob");
    a_ = world_->member_client(alice_, "a", kDaemon);
    b_ = world_->member_client(bob_, "b", kDaemon);
  }
  void burst(int count, const std::string& extra = {}) {
    for (int i = 0; i < count; ++i) {
      a_->message(bob_.pubkey(), "m" + std::to_string(i), extra);
    }
  }

  std::unique_ptr<BrokerWorld> world_;
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_, b_;
};

TEST_F(LimitsTest, FramesBeyondTheOpenRequestsWaitAndKeepTheirOrder) {
  start(std::string("open_requests_max = 2\n") + kNoRateLimit);
  burst(50);
  a_->send(R"({"type":"list_peers","_reqId":"p"})");
  std::vector<std::string> acked;
  for (int i = 0; i < 50; ++i) {
    const auto ack = a_->wait("ack");
    ASSERT_TRUE(ack.has_value()) << i;
    EXPECT_EQ(text_of(*ack, "id"), "m" + std::to_string(i));
    acked.push_back(text_of(*ack, "messageId"));
  }
  EXPECT_TRUE(a_->wait("peers_list", "_reqId", "p").has_value());
  world_->run_ms(1'000);
  EXPECT_EQ(b_->take_pushes(), acked);
}

TEST_F(LimitsTest, FloodWaitsInTheNetworkAndIsAcceptedInOrder) {
  start(std::string("open_requests_max = 2\n") + kNoRateLimit);
  constexpr std::size_t kFrameBytes = 40'000;
  constexpr std::size_t kAheadBytes = 2'000'000;  // one read of the host, and what is answered and on its way back
  burst(200, R"(,"meta":")" + std::string(kFrameBytes, 'x') + "\"");  // 8 MB at once
  for (std::size_t i = 0; i < 200; ++i) {
    const auto ack = a_->wait("ack");
    ASSERT_TRUE(ack.has_value()) << i << ": " << a_->close_code() << " " << a_->close_reason();
    EXPECT_EQ(text_of(*ack, "id"), "m" + std::to_string(i));
    EXPECT_TRUE(bool_of(*ack, "queued"));
    EXPECT_GE(a_->unread_bytes() + kAheadBytes + i * (kFrameBytes + 200), 200 * kFrameBytes)
        << "the broker took more than it can work on";
  }
  EXPECT_EQ(a_->unread_bytes(), 0u);
}

TEST_F(LimitsTest, WhatWasSentBeforeTheCloseIsExecuted) {
  start(std::string("open_requests_max = 1\n") + kNoRateLimit);
  burst(20);
  a_->close();
  world_->run_ms(2'000);
  EXPECT_EQ(b_->take_pushes().size(), 20u);
}

class UnknownAcksTest : public LimitsTest {
 protected:
  // Bob has more rows than his queue holds, so that the store has to look for what he acknowledges and is not there.
  void start_with_full_queue(const std::string& options) {
    start(std::string("member_queue_rows = 16\n") + kNoRateLimit + options);
    b_->close();
    world_->run_ms(100);
    burst(300);  // more than one page of the store
    for (int i = 0; i < 300; ++i) {
      const auto ack = a_->wait("ack");
      ASSERT_TRUE(ack.has_value()) << i;
      stored_.push_back(text_of(*ack, "messageId"));
    }
    b_ = world_->member_client(bob_, "b2", kDaemon);
    world_->run_ms(100);
  }
  void acknowledge_unknown(int count) {
    for (int i = 0; i < count; ++i) {
      b_->client_ack("unknown" + std::to_string(i));
    }
  }
  void fill_disk(bool full) { world_->broker().disk().faults.full = full; }
  // An acknowledgement that finds nothing needs no room on the disk: one that does stands before it and waits.
  void stall_writes() {
    fill_disk(true);
    const std::vector<std::string> pushed = b_->take_pushes();
    ASSERT_FALSE(pushed.empty());
    b_->client_ack(pushed.front());
    world_->run_ms(100);
  }

  std::vector<std::string> stored_;  // the ids of Bob's rows
};

TEST_F(UnknownAcksTest, CountAsOpenRequestsUntilTheStoreHasLooked) {
  start_with_full_queue("open_requests_max = 8\n");
  stall_writes();
  acknowledge_unknown(50);
  b_->send(R"({"type":"list_peers","_reqId":"p"})");
  a_->send(R"({"type":"list_peers","_reqId":"p"})");
  EXPECT_TRUE(a_->wait("peers_list", "_reqId", "p").has_value()) << "others are served";
  EXPECT_FALSE(b_->wait("peers_list", "_reqId", "p").has_value())
      << "behind acknowledgements that the store did not take";
  fill_disk(false);
  EXPECT_TRUE(b_->wait("peers_list", "_reqId", "p").has_value());
}

TEST_F(UnknownAcksTest, DoNotHoldUpAReply) {
  start_with_full_queue("");
  stall_writes();
  acknowledge_unknown(50);
  b_->send(R"({"type":"list_peers","_reqId":"p"})");
  EXPECT_TRUE(b_->wait("peers_list", "_reqId", "p").has_value());
}

TEST_F(UnknownAcksTest, FloodOnASlowStoreIsNotReadAndNotTakenForDead) {
  start_with_full_queue("open_requests_max = 8\nping_interval_ms = 200\nstale_after_ms = 700\nlease_grace_ms = 800\n");
  ASSERT_TRUE(world_->run_until([&] { return a_->count("peer_left") == 1; })) << "of Bob's first connection";
  stall_writes();
  acknowledge_unknown(50);
  const std::string padding = R"(,"meta":")" + std::string(40'000, 'x') + "\"";
  for (int i = 0; i < 100; ++i) {
    b_->message(alice_.pubkey(), "f" + std::to_string(i), padding);
  }
  world_->run_ms(5'000);  // many times what a silent client has
  EXPECT_TRUE(b_->open()) << b_->close_code() << " " << b_->close_reason();
  EXPECT_GT(b_->unread_bytes(), 3'500'000u);
  EXPECT_EQ(a_->count("peer_left"), 1u);
  fill_disk(false);
  std::vector<std::string> accepted;
  for (int i = 0; i < 100; ++i) {
    const auto ack = b_->wait("ack");
    ASSERT_TRUE(ack.has_value()) << i << ": " << b_->close_code() << " " << b_->close_reason();
    EXPECT_EQ(text_of(*ack, "id"), "f" + std::to_string(i));
    accepted.push_back(text_of(*ack, "messageId"));
  }
  std::vector<std::string> pushed;
  EXPECT_TRUE(world_->run_until(
      [&] {
        for (const std::string& id : a_->take_pushes()) {
          pushed.push_back(id);
          a_->client_ack(id);
        }
        return pushed.size() >= accepted.size();
      },
      10'000));
  EXPECT_EQ(pushed, accepted);
  world_->run_ms(3'000);
  EXPECT_TRUE(b_->open()) << "its pongs are read again";
}

TEST_F(UnknownAcksTest, BeyondTheBoundAreDroppedAndTheirRowsComeAgain) {
  start_with_full_queue("open_requests_max = 8192\nclaim_lease_ms = 1000\n");
  stall_writes();
  const auto dropped = [this] {
    return world_->broker().find("broker")->metric_values["broker_drops_total{reason=\"client_ack\"}"];
  };
  acknowledge_unknown(static_cast<int>(Delivery::kOpenAcksMax));
  world_->run_ms(500);
  EXPECT_EQ(dropped(), 0);
  for (const std::string& id : stored_) {
    b_->client_ack(id);  // most of these rows are not in memory, and nobody may ask the store for them now
  }
  b_->send(R"({"type":"list_peers","_reqId":"p"})");
  ASSERT_TRUE(b_->wait("peers_list", "_reqId", "p").has_value()) << "it is served nevertheless";
  const std::int64_t dropped_at_first = dropped();
  EXPECT_GT(dropped_at_first, 20);
  fill_disk(false);
  // What was dropped is pushed until it is acknowledged.
  std::set<std::string> pushed;
  world_->run_until(
      [&] {
        for (const std::string& id : b_->take_pushes()) {
          pushed.insert(id);
          b_->client_ack(id);
        }
        return false;
      },
      30'000);
  EXPECT_GE(static_cast<std::int64_t>(pushed.size()), dropped_at_first);
  b_->close();
  world_->run_ms(100);
  b_ = world_->member_client(bob_, "b3", kDaemon);
  world_->run_ms(2'000);
  EXPECT_TRUE(b_->take_pushes().empty()) << "everything was delivered";
  EXPECT_EQ(world_->broker().find("broker")->metric_values["broker_queue_depth{}"], 0);
}

TEST_F(LimitsTest, SocketWithoutAHelloHoldsItsPlaceUntilItIsGone) {
  start("max_pending_connections = 2\nhello_timeout_ms = 1000\n");
  auto first = world_->connect();
  auto second = world_->connect();
  first->vanish();  // they will not answer the close frame of the time-out
  second->vanish();
  world_->run_ms(2'000);
  const auto admitted = [&] {
    auto third = std::make_unique<Client>(*world_, "");
    return world_->run_until([&] { return third->open(); }, 500);
  };
  EXPECT_FALSE(admitted()) << "both sockets are still there";
  world_->run_ms(6'000);  // the host gives up on the close handshake
  EXPECT_TRUE(admitted());
}

TEST_F(LimitsTest, PresenceThatSaysTooMuchOfItselfIsNotPassedOn) {
  start("");
  const std::string large(60'000, 'x');
  for (int i = 0; i < 256; ++i) {
    a_->send(R"({"type":"join_group","name":")" + std::to_string(i) + large + "\"}");
  }
  for (const char* field : {"avatar", "title", "bio"}) {
    a_->send(R"({"type":"set_profile","_reqId":")" + std::string(field) + R"(",")" + field + R"(":")" + large + "\"}");
  }
  a_->send(R"({"type":"set_summary","summary":")" + large + "\"}");
  a_->send(R"({"type":"set_stats","stats":{"x":")" + large + "\"}}");
  const auto refused = a_->wait("error", "_reqId", "bio");
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(text_of(*refused, "code"), "too_large");
  a_->send(R"({"type":"join_group","name":"small"})");
  a_->send(R"({"type":"list_peers","_reqId":"own"})");
  ASSERT_TRUE(a_->wait("peers_list", "_reqId", "own").has_value()) << "it is served nevertheless";
  b_->send(R"({"type":"list_peers","_reqId":"p"})");
  const auto peers = b_->wait("peers_list", "_reqId", "p");
  ASSERT_TRUE(peers.has_value());
  const std::string text = protocol::to_json(*peers);
  EXPECT_LT(text.size(), 140'000u);
  EXPECT_NE(text.find(R"("name":"small")"), std::string::npos) << "what is short still fits";
}

TEST_F(LimitsTest, AcceptedHelloFreesThePlace) {
  start("max_pending_connections = 1\n");
  auto more = world_->member_client(alice_, "a2", kDaemon);
  EXPECT_TRUE(world_->connect()->open());
}

TEST_F(LimitsTest, FloodOfRefusedSendsIsNotLookedUpAndARepetitionGetsItsAnswerLater) {
  start("rate_limit_per_min = 1\nrate_limit_burst = 1\n");
  const auto cid = [](const std::string& id) { return R"(,"client_message_id":")" + id + "\""; };
  a_->message(bob_.pubkey(), "1", cid("accepted"));
  const auto first = a_->wait("ack", "id", "1");
  ASSERT_TRUE(first.has_value());
  world_->crash();  // the ids in memory are gone: the table has to answer
  ASSERT_TRUE(world_->boot());
  a_ = world_->member_client(alice_, "a2", kDaemon);
  for (int i = 0; i < 100; ++i) {
    a_->message(bob_.pubkey(), "f" + std::to_string(i), cid("flood" + std::to_string(i)));
  }
  a_->message(bob_.pubkey(), "2", cid("accepted"));
  const auto slowed = a_->wait("ack", "id", "2");
  ASSERT_TRUE(slowed.has_value());
  EXPECT_EQ(text_of(*slowed, "code"), "rate_limited");
  EXPECT_TRUE(bool_of(*slowed, "retryable"));
  world_->run_ms(2'000);
  a_->message(bob_.pubkey(), "3", cid("accepted"));
  const auto repeated = a_->wait("ack", "id", "3");
  ASSERT_TRUE(repeated.has_value());
  EXPECT_EQ(text_of(*repeated, "messageId"), text_of(*first, "messageId"));
}

}  // namespace
}  // namespace cm::broker::test
