// A disk that is full for a while.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

class StoreFailureTest : public ::testing::Test {
 protected:
  StoreFailureTest() {
    EXPECT_TRUE(world_.boot());
    mesh_ = world_.create_mesh("m");
    alice_ = world_.join(mesh_, "alice");
    a_ = world_.member_client(alice_, "a");
  }
  void fill_disk(bool full) { world_.broker().disk().faults.full = full; }
  bool ready() { return world_.ask("GET", "/health/ready").status == 200; }
  JsonValue json(const sim::HttpAnswer& answer) {
    auto parsed = protocol::parse_json(answer.body);
    EXPECT_TRUE(parsed.ok()) << answer.body;
    return parsed.ok() ? *parsed : JsonValue();
  }

  BrokerWorld world_;
  MeshInfo mesh_;
  MemberInfo alice_;
  std::unique_ptr<Client> a_;
};

TEST_F(StoreFailureTest, NotReadyWhileWritesFailAndReadyAgainByItself) {
  EXPECT_TRUE(ready());
  fill_disk(true);
  a_->message("*", "1");
  const auto refused = a_->wait("ack", "id", "1");
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(text_of(*refused, "code"), "storage_unavailable");
  const sim::HttpAnswer answer = world_.ask("GET", "/health/ready");
  EXPECT_EQ(answer.status, 503u);
  EXPECT_EQ(text_of(json(answer), "reason"), "db_write_failed");
  const sim::HttpAnswer health = world_.ask("GET", "/health");
  EXPECT_EQ(health.status, 200u) << "as the original";
  EXPECT_EQ(text_of(json(health), "db"), "down");
  fill_disk(false);
  world_.run_ms(31'000);
  EXPECT_TRUE(ready());
}

TEST_F(StoreFailureTest, IdleBrokerNoticesADiskThatTakesNothing) {
  world_.run_ms(61'000);
  EXPECT_TRUE(ready());
  world_.broker().disk().faults.io_error = 1;
  world_.run_ms(61'000);  // nobody sends anything
  EXPECT_FALSE(ready());
  world_.broker().disk().faults.io_error = 0;
  world_.run_ms(6'000);
  EXPECT_TRUE(ready());
}

TEST_F(StoreFailureTest, InviteThatCouldNotBeStoredClaimsNothing) {
  const std::string body = R"({"expires_in_s":3600})";
  fill_disk(true);
  EXPECT_EQ(world_.operate("POST", "/v1/meshes/m/invites", body).status, 503u);
  fill_disk(false);
  const std::int64_t before_ms = world_.unix_ms();
  const JsonValue invite = json(world_.operate("POST", "/v1/meshes/m/invites", body));
  ASSERT_EQ(before_ms / 1'000, world_.unix_ms() / 1'000) << "choose another seed: the second must not change here";
  EXPECT_EQ(text_of(invite, "expires_at").substr(17, 2), [&] {
    const std::string second = std::to_string(before_ms / 1'000 % 60);
    return second.size() == 1 ? "0" + second : second;
  }()) << "the second that was asked for is free";
}

}  // namespace
}  // namespace cm::broker::test
