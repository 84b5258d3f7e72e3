// The simulated network keeps the order inside a connection, holds bytes during a partition, and lets a crash be
// noticed or not.
#include "sdk/simhost/network.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cm::sim {
namespace {

class RecordingEnd final : public SocketEnd {
 public:
  void deliver_open() override { opened = true; }
  void deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) override {
    for (auto& [kind, text] : messages) {
      received.push_back(std::move(text));
    }
  }
  void deliver_pong() override { ++pongs; }
  void deliver_closed(std::uint32_t code, const std::string& reason, bool clean) override {
    ++closes;
    close_code = code;
    close_reason = reason;
    close_clean = clean;
  }
  bool opened = false;
  int pongs = 0;
  int closes = 0;
  std::uint32_t close_code = 0;
  std::string close_reason;
  bool close_clean = false;
  std::vector<std::string> received;
};

// Accepts every upgrade and answers every request with its target.
class AcceptingListener final : public ListenerEnd {
 public:
  void deliver_request(HttpExchange exchange, const NodeName&, std::function<void(HttpAnswer)> answer,
                       std::shared_ptr<Connection> upgrade) override {
    if (upgrade != nullptr) {
      upgrade->attach(1, &end);
      upgrade->opened();
      connection = std::move(upgrade);
      return;
    }
    HttpAnswer result;
    result.reached = true;
    result.status = 200;
    result.body = exchange.target;
    answer(result);
  }
  RecordingEnd end;
  std::shared_ptr<Connection> connection;
};

class NetworkTest : public ::testing::Test {
 protected:
  void connect() {
    ASSERT_FALSE(network.listen("server", "127.0.0.1:80", &listener).empty());
    connection = network.connect("client", "127.0.0.1:80", HttpExchange{}, &client);
    run();
    ASSERT_TRUE(client.opened);
  }
  void run() {
    while (scheduler.step()) {
    }
  }

  Scheduler scheduler;
  Network network{scheduler, Random(5)};
  AcceptingListener listener;
  RecordingEnd client;
  std::shared_ptr<Connection> connection;
};

TEST_F(NetworkTest, KeepsTheOrderOfAConnection) {
  connect();
  std::vector<std::string> sent;
  for (int i = 0; i < 200; ++i) {
    sent.push_back(std::to_string(i));
    connection->send(0, 1, sent.back());
  }
  run();
  EXPECT_EQ(listener.end.received, sent);
}

TEST_F(NetworkTest, EndThatReadsNothingLeavesEverythingInTheNetwork) {
  connect();
  ASSERT_TRUE(listener.connection->pause(1, true));
  std::vector<std::string> sent;
  for (int i = 0; i < 40; ++i) {
    sent.push_back(std::string(20'000, static_cast<char>('a' + i % 26)));
    connection->send(0, 1, sent.back());
  }
  listener.connection->ping(1);
  connection->close(0, 1000, "bye");
  run();
  EXPECT_TRUE(listener.end.received.empty());
  EXPECT_EQ(listener.end.pongs, 0);
  EXPECT_EQ(listener.end.closes, 0);
  EXPECT_EQ(connection->waiting_bytes(1), 800'000u + 3);
  ASSERT_TRUE(listener.connection->pause(1, false));
  run();
  EXPECT_EQ(listener.end.received, sent);
  EXPECT_EQ(listener.end.closes, 1);
  EXPECT_EQ(connection->waiting_bytes(1), 0u);
}

TEST_F(NetworkTest, HoldsBytesDuringAPartition) {
  connect();
  network.partition("client", "server");
  connection->send(0, 1, "late");
  run();
  EXPECT_TRUE(listener.end.received.empty());
  network.heal("server", "client");
  run();
  EXPECT_EQ(listener.end.received, std::vector<std::string>{"late"});
}

TEST_F(NetworkTest, ClosesWithCodeAndReasonOnBothSides) {
  connect();
  connection->close(0, 4001, "kicked");
  run();
  EXPECT_EQ(listener.end.close_code, 4001u);
  EXPECT_EQ(listener.end.close_reason, "kicked");
  EXPECT_TRUE(listener.end.close_clean);
  EXPECT_EQ(client.closes, 1);
}

TEST_F(NetworkTest, ASilentCrashIsNotNoticed) {
  connect();
  connection->abandon(1, true);
  run();
  EXPECT_EQ(client.closes, 0);
}

TEST_F(NetworkTest, ALoudCrashIsAReset) {
  connect();
  connection->abandon(1, false);
  run();
  EXPECT_EQ(client.closes, 1);
  EXPECT_EQ(client.close_code, 1006u);
  EXPECT_FALSE(client.close_clean);
}

TEST_F(NetworkTest, RefusesWhereNobodyListens) {
  const auto refused = network.connect("client", "127.0.0.1:81", HttpExchange{}, &client);
  run();
  EXPECT_EQ(client.closes, 1);
  bool answered = false;
  network.request("client", "127.0.0.1:81", HttpExchange{}, [&](const HttpAnswer& answer) {
    answered = true;
    EXPECT_FALSE(answer.reached);
  });
  run();
  EXPECT_TRUE(answered);
}

TEST_F(NetworkTest, TheSameSeedGivesTheSameTimes) {
  const auto arrival_us = [](std::uint64_t seed) {
    Scheduler own_scheduler;
    Network own_network(own_scheduler, Random(seed));
    own_network.request("a", "nowhere", HttpExchange{}, [](const HttpAnswer&) {});
    while (own_scheduler.step()) {
    }
    return own_scheduler.now_us();
  };
  EXPECT_EQ(arrival_us(9), arrival_us(9));
  EXPECT_NE(arrival_us(9), arrival_us(10));
}

}  // namespace
}  // namespace cm::sim
