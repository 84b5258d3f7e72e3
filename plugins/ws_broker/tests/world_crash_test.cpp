// The broker dies at every step of accepting and delivering: what was acknowledged is there afterwards, once per id.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr int kMessages = 4;

std::string key(int number) {
  return R"(,"client_message_id":"cid-)" + std::to_string(number) + "\"";
}

// How many runs died before, while and after the acks were given: the steps must cover all three.
struct Coverage {
  int none = 0;
  int some = 0;
  int all = 0;
  void count(std::size_t acked) { ++(acked == 0 ? none : acked < static_cast<std::size_t>(kMessages) ? some : all); }
};

// One run: sends, dies after `steps` host calls and disk operations, boots, sends again, delivers.
void run_with_crash(std::uint64_t seed, std::uint64_t steps, bool recipient_online, Coverage& coverage) {
  SCOPED_TRACE("seed " + std::to_string(seed) + ", steps " + std::to_string(steps));
  BrokerWorld world(seed, "rate_limit_burst = 10000\n");
  ASSERT_TRUE(world.boot());
  const MeshInfo mesh = world.create_mesh("m");
  const MemberInfo alice = world.join(mesh, "alice");
  const MemberInfo bob = world.join(mesh, "bob");
  auto a = world.member_client(alice, "a", kDaemon);
  std::unique_ptr<Client> b = recipient_online ? world.member_client(bob, "b", kDaemon) : nullptr;
  world.broker().crash_after_steps(steps);
  for (int i = 0; i < kMessages; ++i) {
    a->message(i == 2 ? "*" : bob.pubkey(), "f" + std::to_string(i), key(i));
  }
  world.run_ms(2'000);
  std::map<int, std::string> acked;
  for (int i = 0; i < kMessages; ++i) {
    if (const auto ack = a->wait("ack", "id", "f" + std::to_string(i), 1)) {
      EXPECT_TRUE(bool_of(*ack, "queued")) << protocol::to_json(*ack);
      acked[i] = text_of(*ack, "messageId");
    }
  }
  coverage.count(acked.size());
  std::vector<std::string> pushed_before;
  if (b != nullptr) {
    pushed_before = b->take_pushes();
  }
  if (world.alive()) {
    world.crash();
  }
  world.run_ms(100);
  ASSERT_TRUE(world.boot());
  a = world.member_client(alice, "a2", kDaemon);
  std::set<std::string> expected;
  for (int i = 0; i < kMessages; ++i) {
    a->message(i == 2 ? "*" : bob.pubkey(), "g" + std::to_string(i), key(i));
    const auto ack = a->wait("ack", "id", "g" + std::to_string(i));
    ASSERT_TRUE(ack.has_value());
    ASSERT_TRUE(bool_of(*ack, "queued")) << protocol::to_json(*ack);
    const std::string id = text_of(*ack, "messageId");
    expected.insert(id);
    if (acked.count(i) != 0) {
      EXPECT_EQ(id, acked[i]) << "an acknowledged id changed";
      EXPECT_TRUE(bool_of(*ack, "duplicate"));
    }
  }
  EXPECT_EQ(expected.size(), static_cast<std::size_t>(kMessages));
  b = world.member_client(bob, "b2", kDaemon);
  world.run_ms(2'000);
  const std::vector<std::string> pushed = b->take_pushes();
  EXPECT_EQ(std::set<std::string>(pushed.begin(), pushed.end()), expected);
  EXPECT_EQ(pushed.size(), expected.size()) << "no message twice on one connection";
  for (const std::string& id : pushed_before) {
    EXPECT_EQ(expected.count(id), 1u) << "pushed before it was durable";
  }
}

TEST(Crash, AtEveryStepWithAnOfflineRecipient) {
  Coverage coverage;
  for (std::uint64_t steps = 1; steps <= 200; ++steps) {
    run_with_crash(11, steps, false, coverage);
  }
  EXPECT_GT(coverage.none, 0);
  EXPECT_GT(coverage.all, 0);
}

TEST(Crash, AtEveryStepWithAConnectedRecipient) {
  Coverage coverage;
  for (std::uint64_t steps = 1; steps <= 250; ++steps) {
    run_with_crash(12, steps, true, coverage);
  }
  EXPECT_GT(coverage.none, 0);
  EXPECT_GT(coverage.all, 0);
}

TEST(Crash, ConfirmedMessagesStayConfirmed) {
  BrokerWorld world(5);
  ASSERT_TRUE(world.boot());
  const MeshInfo mesh = world.create_mesh("m");
  const MemberInfo alice = world.join(mesh, "alice");
  const MemberInfo bob = world.join(mesh, "bob");
  auto a = world.member_client(alice, "a", kDaemon);
  auto b = world.member_client(bob, "b", kDaemon);
  a->message(bob.pubkey(), "1");
  ASSERT_TRUE(a->wait("ack", "id", "1").has_value());
  const auto push = b->wait("push", "priority", "next");
  ASSERT_TRUE(push.has_value());
  b->client_ack(text_of(*push, "messageId"));
  world.run_ms(500);
  world.crash();
  ASSERT_TRUE(world.boot());
  b = world.member_client(bob, "b2", kDaemon);
  world.run_ms(120'000);
  EXPECT_TRUE(b->take_pushes().empty());
}

}  // namespace
}  // namespace cm::broker::test
