// A feature that stops, is restarted or dies while requests wait for it: every one gets an end, connections and the
// broker go on, and nobody can answer for it later.
#include <claudemesh/ext/broker.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>

#include <claudemesh/cpp/text.hpp>
#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr const char* kFeature =
    "rate_limit_burst = 100000\n[plugins.feature]\nuse = \"broker_test_feature\"\nbroker = \"broker\"\n"
    "store = \"store\"\n";
constexpr const char* kWebSocketAddress = "127.0.0.1:7900";
// Long before the broker would give up on a feature that is merely slow.
constexpr std::uint64_t kSoonMs = 5'000;
static_assert(kSoonMs < CM_BROKER_REPLY_TIMEOUT_MS);

std::size_t items_of(const std::optional<JsonValue>& frame) {
  const JsonValue* list = frame ? frame->find("items") : nullptr;
  return list != nullptr && list->as_array() != nullptr ? list->as_array()->size() : 0;
}

void send_word(Client& client, const std::string& target, const std::string& id, const std::string& word) {
  client.send(R"({"type":"send","id":")" + id + R"(","targetSpec":")" + target +
              R"(","priority":"next","nonce":"n","ciphertext":")" + word + R"(","client_message_id":"c)" + id + "\"}");
}

// The parameter: whether the host gets to call its `stop`.
class FeatureStopTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(world_.boot());
    mesh_ = world_.create_mesh("m");
    alice_ = world_.join(mesh_, "alice");
    bob_ = world_.join(mesh_, "bob");
    a_ = world_.member_client(alice_, "a", kDaemon);
    b_ = world_.member_client(bob_, "b", kDaemon);
  }
  sim::Instance& feature() { return *world_.broker().find("feature"); }
  void restart() {
    ASSERT_TRUE(world_.world().restart(world_.broker(), "feature", GetParam())) << world_.broker().last_error;
    ASSERT_TRUE(world_.run_until([this] { return world_.broker().running(); })) << world_.broker().last_error;
  }
  std::int64_t counter(const std::string& name) {
    return world_.broker().find("broker")->metric_values.at("broker_feature_" + name + "_total");
  }
  // One open request of each kind: a frame, with an answered one behind it; a send, with another behind it; HTTP.
  void open_requests() {
    a_->send(R"({"type":"t_never","_reqId":"r1"})");
    a_->send(R"({"type":"t_echo","_reqId":"r2"})");
    send_word(*b_, "#news", "1", "never");
    send_word(*b_, alice_.pubkey(), "2", "direct");
    sim::HttpExchange exchange;
    exchange.method = "POST";
    exchange.target = "/never";
    world_.world().http(kWebSocketAddress, exchange, [this](sim::HttpAnswer answer) { http_ = std::move(answer); });
    world_.run_ms(1'000);
    ASSERT_FALSE(a_->wait("t_echoed", {}, {}, 1).has_value()) << "replies keep the order of the requests";
    ASSERT_FALSE(b_->wait("ack", {}, {}, 1).has_value());
    ASSERT_FALSE(http_.has_value());
  }
  void expect_ends() {
    const auto error = a_->wait("error", {}, {}, kSoonMs);
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(text_of(*error, "code"), "internal");
    EXPECT_EQ(text_of(*error, "_reqId"), "r1");
    EXPECT_NE(text_of(*error, "message").find("stopped"), std::string::npos) << protocol::to_json(*error);
    const auto echoed = a_->wait("t_echoed", {}, {}, kSoonMs);
    ASSERT_TRUE(echoed.has_value());
    EXPECT_EQ(text_of(*echoed, "_reqId"), "r2");
    const auto refused = b_->wait("ack", "id", "1", kSoonMs);
    ASSERT_TRUE(refused.has_value());
    EXPECT_FALSE(bool_of(*refused, "queued"));
    EXPECT_EQ(text_of(*refused, "code"), "internal");
    EXPECT_TRUE(bool_of(*refused, "retryable")) << "the feature may come back";
    const auto accepted = b_->wait("ack", "id", "2", kSoonMs);
    ASSERT_TRUE(accepted.has_value());
    EXPECT_TRUE(bool_of(*accepted, "queued"));
    EXPECT_TRUE(a_->wait("push", "messageId", text_of(*accepted, "messageId")).has_value());
    ASSERT_TRUE(world_.run_until([this] { return http_.has_value(); }, kSoonMs));
    EXPECT_EQ(http_->status, 503u);
  }

  BrokerWorld world_{1, kFeature};
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_, b_;
  std::optional<sim::HttpAnswer> http_;
};

TEST_P(FeatureStopTest, OpenRequestsEndAndTheNextInstanceServes) {
  open_requests();
  restart();
  expect_ends();
  EXPECT_EQ(counter("abandoned"), 3);
  EXPECT_EQ(counter("timeouts"), 0);
  EXPECT_EQ(counter("faults"), 0);
  a_->send(R"({"type":"t_echo","_reqId":"r3"})");
  EXPECT_EQ(text_of(a_->wait("t_echoed").value_or(JsonValue()), "_reqId"), "r3");
  send_word(*b_, "#news", "1", "hello");  // the id of the refused one is free
  EXPECT_TRUE(bool_of(b_->wait("ack", "id", "1").value_or(JsonValue()), "queued"));
  EXPECT_TRUE(a_->wait("push", "topic", "news").has_value());
  EXPECT_EQ(world_.ask("POST", "/hook/x/s", "{}").status, 200u);
  EXPECT_EQ(counter("abandoned"), 3);
}

TEST_P(FeatureStopTest, NobodyAnswersForItLater) {
  open_requests();
  const cm_handle before = feature().self();
  restart();
  expect_ends();
  const auto* table =
      static_cast<const cm_broker_messages_v1*>(world_.broker().find("broker")->extension(CM_BROKER_MESSAGES_ID));
  void* broker = world_.broker().find("broker")->raw();
  cm_broker_audience nobody = {};
  nobody.size = sizeof(nobody);
  constexpr cm_handle kHandlesMax = 32;  // more than there were
  for (cm_handle request = 1; request <= kHandlesMax; ++request) {
    for (const cm_handle caller : {before, feature().self()}) {
      EXPECT_EQ(table->reply(broker, caller, request, to_pview(R"({"type":"t_stale"})")), CM_GONE);
      EXPECT_EQ(table->error(broker, caller, request, to_pview("internal"), to_pview("stale")), CM_GONE);
      EXPECT_EQ(table->route(broker, caller, request, &nobody), CM_GONE);
      EXPECT_EQ(table->http_respond(broker, caller, request, 200, nullptr, 0, cm_bytes_pview{}), CM_GONE);
    }
  }
  EXPECT_EQ(counter("faults"), static_cast<std::int64_t>(kHandlesMax) * 2 * 4) << "each is counted";
  EXPECT_FALSE(a_->wait("t_stale", {}, {}, 1'000).has_value());
  EXPECT_FALSE(a_->wait("error", {}, {}, 1).has_value());
  EXPECT_FALSE(b_->wait("ack", {}, {}, 1).has_value());
  a_->send(R"({"type":"t_echo"})");
  EXPECT_TRUE(a_->wait("t_echoed").has_value());
}

TEST_P(FeatureStopTest, WithoutASuccessorTheBrokerIsAsWithoutTheFeature) {
  open_requests();
  if (GetParam()) {
    feature().stop();
  }
  feature().silence();
  feature().destroy();
  expect_ends();
  a_->send(R"({"type":"t_echo"})");
  a_->send(R"({"type":"mesh_info","_reqId":"r9"})");
  const auto info = a_->wait("mesh_info_result", "_reqId", "r9");
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->find("topics"), nullptr);
  EXPECT_FALSE(a_->wait("t_echoed", {}, {}, 100).has_value());
  send_word(*b_, "#news", "3", "hello");
  EXPECT_EQ(text_of(b_->wait("ack", "id", "3").value_or(JsonValue()), "code"), "not_found");
  EXPECT_EQ(world_.ask("POST", "/never").status, 404u);
  EXPECT_EQ(counter("abandoned"), 3);
}

TEST_P(FeatureStopTest, TheClientMayHaveLeftBefore) {
  open_requests();
  a_->vanish();
  world_.run_ms(100);
  restart();
  EXPECT_TRUE(b_->wait("ack", "id", "2", kSoonMs).has_value());
  EXPECT_EQ(counter("abandoned"), 3);
  a_ = world_.member_client(alice_, "a2", kDaemon);
  a_->send(R"({"type":"t_echo"})");
  EXPECT_TRUE(a_->wait("t_echoed").has_value());
}

INSTANTIATE_TEST_SUITE_P(Ends, FeatureStopTest, ::testing::Bool(),
                         [](const auto& chosen) { return chosen.param ? "WithStop" : "WithoutStop"; });

TEST(FeatureStopAtEveryStep, TheSendEndsAndItsRowIsThereOrNot) {
  std::set<bool> seen;
  for (int steps = 0; steps <= 24; ++steps) {
    SCOPED_TRACE(steps);
    BrokerWorld world(7, kFeature);
    ASSERT_TRUE(world.boot());
    const MeshInfo mesh = world.create_mesh("m");
    const MemberInfo alice = world.join(mesh, "alice");
    const MemberInfo bob = world.join(mesh, "bob");
    const auto a = world.member_client(alice, "a", kDaemon);
    const auto b = world.member_client(bob, "b", kDaemon);
    send_word(*a, "#news", "1", "slow");  // the feature answers after 200 ms
    world.run_ms(195);
    for (int step = 0; step < steps; ++step) {
      world.world().step();
    }
    ASSERT_TRUE(world.world().restart(world.broker(), "feature"));
    const auto ack = a->wait("ack", "id", "1", kSoonMs);
    ASSERT_TRUE(ack.has_value()) << "the send has no end";
    ASSERT_TRUE(world.run_until([&] { return world.broker().running(); }));
    world.run_ms(500);
    const bool stored = bool_of(*ack, "queued");
    EXPECT_EQ(b->take_pushes().size(), stored ? 1u : 0u);
    a->send(R"({"type":"t_rows"})");
    EXPECT_EQ(items_of(a->wait("t_rowed")), stored ? 1u : 0u);
    seen.insert(stored);
  }
  EXPECT_EQ(seen.size(), 2u) << "the steps must cover both outcomes";
}

TEST(FeatureStopCrash, TheProcessDiesWithOpenRequests) {
  BrokerWorld world(3, kFeature);
  ASSERT_TRUE(world.boot());
  const MeshInfo mesh = world.create_mesh("m");
  const MemberInfo alice = world.join(mesh, "alice");
  auto a = world.member_client(alice, "a", kDaemon);
  a->send(R"({"type":"t_never"})");
  a->message("#news", "1", R"(,"client_message_id":"cid")");
  a->send(R"({"type":"t_slow","ms":"60000"})");
  world.run_ms(100);
  world.crash();
  ASSERT_TRUE(world.boot());
  a = world.member_client(alice, "a2", kDaemon);
  a->message("#news", "1", R"(,"client_message_id":"cid")");
  EXPECT_TRUE(bool_of(a->wait("ack", "id", "1").value_or(JsonValue()), "queued"));
  a->send(R"({"type":"t_rows"})");
  EXPECT_EQ(items_of(a->wait("t_rowed")), 1u) << "accepted once, whatever was on its way at the crash";
  EXPECT_FALSE(a->wait("t_slowly", {}, {}, 70'000).has_value());
}

}  // namespace
}  // namespace cm::broker::test
