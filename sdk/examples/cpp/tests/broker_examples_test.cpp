// The examples that extend the broker, in the real one: a request type, and a way of delivery.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

TEST(PingAllExample, AdminsReachEverybodyElse) {
  BrokerWorld world(1, "[plugins.ping_all]\nuse = \"ping_all\"\nbroker = \"broker\"\n");
  ASSERT_TRUE(world.boot());
  const MeshInfo mesh = world.create_mesh("m");
  const MemberInfo admin = world.join(mesh, "alice", "admin");
  const MemberInfo bob = world.join(mesh, "bob");
  const auto a = world.member_client(admin, "a");
  const auto b = world.member_client(bob, "b");
  a->send(R"({"type":"ping_all","_reqId":"r"})");
  const auto result = a->wait("ping_all_result");
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(text_of(*result, "_reqId"), "r");
  EXPECT_TRUE(b->wait("push", "event", "ping").has_value());
  b->send(R"({"type":"ping_all"})");
  EXPECT_TRUE(b->wait("error", "code", "forbidden").has_value());
  EXPECT_EQ(a->count("ping"), 0u);
}

// Bob has no connection; the message goes to `path` of the broker's own port. What he gets when he connects.
std::vector<std::string> pushes_after_way(const std::string& path) {
  BrokerWorld world(1,
                    "[plugins.receiver]\nuse = \"broker_test_feature\"\nbroker = \"broker\"\nstore = \"store\"\n"
                    "[plugins.webhook_way]\nuse = \"webhook_way\"\nbroker = \"broker\"\n"
                    "url = \"http://127.0.0.1:7900" +
                        path + "\"\n");
  EXPECT_TRUE(world.boot());
  const MeshInfo mesh = world.create_mesh("m");
  const MemberInfo alice = world.join(mesh, "alice");
  const MemberInfo bob = world.join(mesh, "bob");
  const auto a = world.member_client(alice, "a");
  a->message(bob.pubkey(), "1");
  EXPECT_TRUE(a->wait("ack", "id", "1").has_value());
  world.run_ms(5'000);
  const auto b = world.member_client(bob, "b");
  world.run_ms(2'000);
  return b->take_pushes();
}

TEST(WebhookWayExample, WhatTheReceiverTookIsDelivered) {
  EXPECT_TRUE(pushes_after_way("/hook/bob/inbox").empty());
}

TEST(WebhookWayExample, WhatItRefusedStaysForAConnection) {
  EXPECT_EQ(pushes_after_way("/nowhere").size(), 1u);
}

}  // namespace
}  // namespace cm::broker::test
