// What is removed for its age, and by which clock.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kDaemon = R"(,"channel":"claudemesh-daemon")";
constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::uint64_t kHourMs = 3'600'000;

class RetentionTest : public ::testing::Test {
 protected:
  void start(const std::string& options) {
    world_ = std::make_unique<BrokerWorld>(1, options);
    ASSERT_TRUE(world_->boot());
    mesh_ = world_->create_mesh("m");
    alice_ = world_->join(mesh_, "alice");
    bob_ = world_->join(mesh_, "bob");
    a_ = world_->member_client(alice_, "a", kDaemon);
  }
  std::string send(const std::string& id) {
    a_->message(bob_.pubkey(), id);
    const auto ack = a_->wait("ack", "id", id);
    EXPECT_TRUE(ack && bool_of(*ack, "queued")) << id;
    return ack ? text_of(*ack, "messageId") : std::string();
  }
  // The clock of a start is believed when it has held for an hour.
  void run_to_first_removal() { world_->run_ms(kHourMs + 90'000); }
  // What waits for bob, as he gets it.
  std::size_t waiting_for_bob() {
    auto bob = world_->member_client(bob_, "b", kDaemon);
    world_->run_ms(1'000);
    return bob->take_pushes().size();
  }
  double entries(const char* name) {
    a_->send(R"({"type":"audit_verify","_reqId":"v"})");
    const auto verdict = a_->wait("audit_verify_result");
    EXPECT_TRUE(verdict && bool_of(*verdict, "valid")) << name;
    const JsonValue* count = verdict ? verdict->find("entries") : nullptr;
    return count != nullptr && count->as_number() != nullptr ? *count->as_number() : -1;
  }

  std::unique_ptr<BrokerWorld> world_;
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::unique_ptr<Client> a_;
};

TEST_F(RetentionTest, ClockThatJumpsDeletesNothingUntilItHasHeld) {
  start("queue_retention = \"1d\"\n");
  send("1");
  run_to_first_removal();
  EXPECT_EQ(waiting_for_bob(), 1u);
  world_->broker().clock_skew_ms = 3 * kDayMs;
  world_->run_ms(kHourMs + 90'000);
  EXPECT_EQ(waiting_for_bob(), 1u) << "three days too early";
  world_->run_ms(kHourMs + 90'000);
  EXPECT_EQ(waiting_for_bob(), 0u) << "the new time has held for an hour";
}

TEST_F(RetentionTest, MachineThatBootsWithAWrongClockDeletesNothing) {
  start("queue_retention = \"1d\"\n");
  send("1");
  world_->crash();
  world_->broker().clock_skew_ms = 3 * kDayMs;
  ASSERT_TRUE(world_->boot());
  world_->run_ms(kHourMs / 2);
  world_->broker().clock_skew_ms = 0;  // a time server answers at last
  world_->run_ms(4 * kHourMs);
  EXPECT_EQ(waiting_for_bob(), 1u);
}

TEST_F(RetentionTest, AgeIsTheTimeOfTheMessageAlsoWhenAnOlderClockCameLater) {
  start("queue_retention = \"1d\"\n");
  send("now");
  world_->crash();
  world_->broker().clock_skew_ms = -3 * kDayMs;  // a machine that started with a wrong clock
  ASSERT_TRUE(world_->boot());
  a_ = world_->member_client(alice_, "a", kDaemon);
  send("long ago");
  world_->crash();
  world_->broker().clock_skew_ms = 0;
  ASSERT_TRUE(world_->boot());
  run_to_first_removal();
  EXPECT_EQ(waiting_for_bob(), 1u) << "only the one with the old time is old";
}

TEST_F(RetentionTest, PrunedAuditLogStillVerifies) {
  start("audit_retention_days = 1\n");
  send("1");
  send("2");
  const double before = entries("before");
  ASSERT_GE(before, 3);
  world_->crash();
  world_->broker().clock_skew_ms = 3 * kDayMs;
  ASSERT_TRUE(world_->boot());
  run_to_first_removal();
  a_ = world_->member_client(alice_, "a", kDaemon);
  world_->run_ms(1'000);
  const double after = entries("after");
  EXPECT_LT(after, before) << "only the hello of today is left";
  EXPECT_GE(after, 1);
  send("3");
  world_->run_ms(1'000);
  EXPECT_EQ(entries("continued"), after + 1) << "the chain goes on";
}

TEST_F(RetentionTest, AuditLogIsKeptForEverByDefault) {
  start("");
  send("1");
  const double before = entries("before");
  world_->crash();
  world_->broker().clock_skew_ms = 900 * kDayMs;
  ASSERT_TRUE(world_->boot());
  run_to_first_removal();
  a_ = world_->member_client(alice_, "a", kDaemon);
  world_->run_ms(1'000);
  EXPECT_GE(entries("after"), before);
}

}  // namespace
}  // namespace cm::broker::test
