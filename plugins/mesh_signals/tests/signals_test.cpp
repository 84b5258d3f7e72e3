// Two links on two machines exchange signals through the real broker, or learn why they cannot.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

constexpr const char* kSignals = "[plugins.signals]\nuse = \"mesh_signals\"\nbroker = \"broker\"\nrate_burst = 5\n";

class SignalsTest : public ::testing::Test {
 protected:
  void start(const std::string& options) {
    world_ = std::make_unique<BrokerWorld>(1, options);
    ASSERT_TRUE(world_->boot());
    mesh_ = world_->create_mesh("m");
    alice_ = world_->join(mesh_, "alice");
    bob_ = world_->join(mesh_, "bob");
  }
  void start_peer(const MemberInfo& member, const std::string& port, bool attach = true) {
    sim::Node& node = world_->world().add_node(
        member.name,
        "[plugins.link]\nuse = \"broker_link\"\n[plugins.peer]\nuse = \"signals_test_peer\"\n"
        "link = \"link\"\nlisten = \"127.0.0.1:" +
            port + "\"\nmesh_id = \"" + member.mesh.id + "\"\nmember_id = \"" + member.id + "\"\nsecret_key = \"" +
            member.keys.secret_key.hex() + "\"\nattach = " + (attach ? "true" : "false") + "\n");
    ASSERT_TRUE(world_->world().boot(node)) << node.last_error;
    ASSERT_TRUE(world_->run_until([&node] { return node.running(); })) << node.last_error;
  }
  bool wait_log(const std::string& port, const std::string& line, int seconds = 10) {
    for (int i = 0; i < seconds * 10; ++i) {
      last_ = world_->http("127.0.0.1:" + port, "GET", "/log").body;
      if (last_.find(line + "\n") != std::string::npos) {
        return true;
      }
      world_->run_ms(100);
    }
    return false;
  }
  void send(const std::string& port, const std::string& order) {
    world_->http("127.0.0.1:" + port, "POST", "/send", order);
  }

  std::unique_ptr<BrokerWorld> world_;
  MeshInfo mesh_;
  MemberInfo alice_, bob_;
  std::string last_;
};

TEST_F(SignalsTest, OfferAndAnswerReachTheOtherSide) {
  start(kSignals);
  start_peer(alice_, "8001");
  start_peer(bob_, "8002");
  ASSERT_TRUE(wait_log("8001", "state 2")) << last_;
  ASSERT_TRUE(wait_log("8002", "state 2")) << last_;
  EXPECT_NE(last_.find("attach 0 4"), std::string::npos) << "the identity has a listener already: " << last_;
  send("8001", "1 " + bob_.pubkey() + " call-1 sdp");
  EXPECT_TRUE(wait_log("8002", "got 1 " + alice_.pubkey() + " alice call-1 sdp")) << last_;
  EXPECT_TRUE(wait_log("8001", "sent 1")) << last_;
  send("8002", "2 " + alice_.pubkey() + " call-1 answer");
  EXPECT_TRUE(wait_log("8001", "got 2 " + bob_.pubkey() + " bob call-1 answer")) << last_;
  send("8001", "4 " + bob_.pubkey() + " call-1 done");
  EXPECT_TRUE(wait_log("8002", "got 4 " + alice_.pubkey() + " alice call-1 done")) << last_;
}

TEST_F(SignalsTest, NobodyThere) {
  start(kSignals);
  start_peer(alice_, "8001");
  ASSERT_TRUE(wait_log("8001", "state 2")) << last_;
  send("8001", "1 " + bob_.pubkey() + " call-1 sdp");
  EXPECT_TRUE(wait_log("8001", "sent 2")) << last_;
}

TEST_F(SignalsTest, APeerThatDoesNotListenIsRefused) {
  start(kSignals);
  start_peer(alice_, "8001");
  start_peer(bob_, "8002", false);
  ASSERT_TRUE(wait_log("8001", "state 2")) << last_;
  ASSERT_TRUE(wait_log("8002", "open 0")) << last_;
  world_->run_ms(1'000);
  send("8001", "1 " + bob_.pubkey() + " call-1 sdp");
  EXPECT_TRUE(wait_log("8001", "sent 3")) << last_;
}

TEST_F(SignalsTest, TooManyAreRefused) {
  start(kSignals);
  start_peer(alice_, "8001");
  ASSERT_TRUE(wait_log("8001", "state 2")) << last_;
  for (int i = 0; i < 6; ++i) {  // the burst is five
    send("8001", "1 " + bob_.pubkey() + " call-1 sdp");
  }
  EXPECT_TRUE(wait_log("8001", "sent 3")) << last_;
}

TEST_F(SignalsTest, AnotherMeshIsOutOfReach) {
  start(kSignals);
  const MemberInfo carol = world_->join(world_->create_mesh("other"), "carol");
  start_peer(alice_, "8001");
  start_peer(carol, "8003");
  ASSERT_TRUE(wait_log("8001", "state 2")) << last_;
  ASSERT_TRUE(wait_log("8003", "state 2")) << last_;
  send("8001", "1 " + carol.pubkey() + " call-1 sdp");
  EXPECT_TRUE(wait_log("8001", "sent 2")) << last_;
}

TEST_F(SignalsTest, ABrokerWithoutSignalsIsUnsupported) {
  start("");
  start_peer(alice_, "8001");
  EXPECT_TRUE(wait_log("8001", "state 3")) << last_;
  send("8001", "1 " + bob_.pubkey() + " call-1 sdp");
  EXPECT_TRUE(wait_log("8001", "send 5")) << "CM_GONE: " << last_;
}

TEST_F(SignalsTest, TheStateFollowsTheConnection) {
  start(kSignals);
  start_peer(alice_, "8001");
  ASSERT_TRUE(wait_log("8001", "state 2")) << last_;
  world_->crash();
  ASSERT_TRUE(wait_log("8001", "state 2\nstate 1", 120)) << last_;
  ASSERT_TRUE(world_->boot());
  ASSERT_TRUE(wait_log("8001", "state 2\nstate 1\nstate 2", 120)) << last_;
  world_->http("127.0.0.1:8001", "POST", "/close");
  EXPECT_TRUE(wait_log("8001", "state 2\nstate 1\nstate 2\nstate 1")) << last_;
}

}  // namespace
}  // namespace cm::broker::test
