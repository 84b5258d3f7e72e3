// One sender's messages keep their order, whatever the store does.
#include <gtest/gtest.h>

#include "plugins/ws_broker/src/accept.hpp"
#include "plugins/ws_broker/tests/fake_host.hpp"
#include "plugins/ws_broker/tests/model_builder.hpp"

namespace cm::broker {
namespace {

class Silent final : public ConnectionOwner {
 public:
  void on_frame(Connection&, std::string_view) override {}
  void on_read_end() override {}
  void on_pong(Connection&) override {}
  void on_drained(Connection&) override {}
  void on_resumable(Connection&) override {}
  void on_connection_closed(Connection&) override {}
};

class AcceptOrderTest : public ::testing::Test {
 protected:
  AcceptOrderTest() {
    context_.storage = std::move(*StorageClient::acquire(api_, "store"));
    context_.options.audit_messages = false;
    accept_.open(0);
    alice_.presence = &mesh_.presence(mesh_.member("alice", test::key_of('a')));
    carol_.presence = &mesh_.presence(mesh_.member("carol", test::key_of('c')));
    mesh_.member("bob", test::key_of('b'));
  }

  // One read with one send to bob, who is offline.
  void send(Connection& connection, const std::string& id) {
    const std::string frame = R"({"type":"send","id":")" + id + R"(","targetSpec":")" + test::key_of('b') +
                              R"(","priority":"next","nonce":"n","ciphertext":"c"})";
    ASSERT_TRUE(reader_.open_copy(frame).ok());
    accept_.handle_send(connection, reader_);
    accept_.flush();
  }

  test::FakeHost host_;
  test::FakeStorage store_{host_};
  HostApi api_{host_.raw()};
  Context context_{api_};
  WriteBehind writes_{api_, context_.storage, context_.metrics, context_.health};
  AuditLog audit_{api_, writes_, context_.metrics};
  HookChain hooks_{api_};
  Delivery delivery_{context_, writes_, [this] { return accept_.first_unsettled_seq(); }};
  Silent owner_;
  Connection alice_{owner_, 1, 1024};
  Connection carol_{owner_, 2, 1024};
  AcceptPipeline accept_{context_, delivery_, audit_, hooks_,
                         [this](std::uint64_t number) { return number == 1 ? &alice_ : &carol_; }};
  test::TestMesh mesh_;
  protocol::FrameReader reader_;
};

TEST_F(AcceptOrderTest, WhatIsBehindAFailedBatchIsRefusedWithIt) {
  send(alice_, "1");
  send(alice_, "2");
  send(alice_, "3");
  ASSERT_EQ(store_.waiting(), 1u) << "the later ones wait for how the first ends";
  store_.end_one(CM_IO);
  EXPECT_EQ(store_.waiting(), 0u) << "or the repetition of the first would come after them";
  EXPECT_EQ(accept_.pending(), 0u) << "all three are answered";
  send(alice_, "1 again");
  EXPECT_EQ(store_.waiting(), 1u);
}

TEST_F(AcceptOrderTest, WhatIsBehindACommittedBatchFollowsAsOne) {
  send(alice_, "1");
  send(alice_, "2");
  send(alice_, "3");
  store_.end_one(CM_OK);
  ASSERT_EQ(store_.waiting(), 1u);
  EXPECT_EQ(accept_.pending(), 2u);
  store_.end_one(CM_OK);
  EXPECT_EQ(store_.waiting(), 0u);
  EXPECT_EQ(accept_.pending(), 0u);
}

TEST_F(AcceptOrderTest, OtherSendersDoNotWait) {
  send(alice_, "1");
  send(carol_, "2");
  ASSERT_EQ(store_.waiting(), 2u);
  store_.end_one(CM_IO);
  store_.end_one(CM_OK);
  EXPECT_EQ(accept_.pending(), 0u);
  EXPECT_TRUE(context_.health.ok()) << "the last word counts";
}

TEST_F(AcceptOrderTest, FailingBatchesShowInTheHealth) {
  send(alice_, "1");
  store_.end_one(CM_IO);
  EXPECT_EQ(context_.health.reason(), "db_write_failed");
  send(alice_, "1");
  store_.end_one(CM_OK);
  EXPECT_EQ(context_.health.reason(), "");
}

}  // namespace
}  // namespace cm::broker
