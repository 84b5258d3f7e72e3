// The example in the deterministic host: virtual time, so that waiting costs nothing and every run is the same.
#include <claudemesh/ext/hook.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "sdk/simhost/world.hpp"

namespace {

// Stands in for the daemon: asks the hook, and keeps what it answers at once and later.
class Chain {
 public:
  explicit Chain(cm::sim::Instance& hook)
      : instance_(hook.raw()), table_(static_cast<const cm_hook_v1*>(hook.extension(CM_HOOK_ID))) {}

  std::uint32_t ask(std::string point, cm_handle ticket) {
    const cm_hook_event event{sizeof(cm_hook_event), 0, ticket, {point.data(), point.size()}, {"{}", 2}, {nullptr, 0}};
    const cm_hook_reply reply{sizeof(cm_hook_reply), 0, this, &Chain::set_payload, &Chain::finish};
    return table_->invoke(instance_, &event, &reply);
  }

  std::vector<std::pair<cm_handle, std::uint32_t>> late;  // ticket, result
  std::string payload;

 private:
  static void set_payload(void* context, cm_handle, cm_bytes_pview bytes) noexcept {
    static_cast<Chain*>(context)->payload.assign(reinterpret_cast<const char*>(bytes.data), bytes.size);
  }
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview) noexcept {
    static_cast<Chain*>(context)->late.emplace_back(ticket, result);
    return CM_OK;
  }

  cm_instance* instance_;
  const cm_hook_v1* table_;
};

class PaceTest : public ::testing::Test {
 protected:
  PaceTest()
      : node(world.add_node("laptop",
                            "[plugins.pace]\nfile = \"" PACE_LIBRARY "\"\ngap = \"1s\"\nwait_max = \"2s\"\n")) {}
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
  }

  cm::sim::World world{cm::sim::WorldOptions{}};
  cm::sim::Node& node;
};

TEST_F(PaceTest, LetsTheFirstGoAndTheNextWait) {
  Chain chain(*node.find("pace"));
  EXPECT_EQ(chain.ask("daemon.send", 1), CM_HOOK_CONTINUE);
  EXPECT_EQ(chain.ask("daemon.send", 2), CM_HOOK_DEFER);
  EXPECT_EQ(chain.ask("daemon.send", 3), CM_HOOK_DEFER);
  world.run_for_ms(999);
  EXPECT_TRUE(chain.late.empty());
  world.run_for_ms(2);
  ASSERT_EQ(chain.late.size(), 1u);
  EXPECT_EQ(chain.late[0], (std::pair<cm_handle, std::uint32_t>(2, CM_HOOK_CONTINUE)));
  world.run_for_ms(1'000);
  ASSERT_EQ(chain.late.size(), 2u);
  EXPECT_EQ(chain.late[1].first, 3u);
}

TEST_F(PaceTest, RefusesWhatWouldWaitTooLong) {
  Chain chain(*node.find("pace"));
  EXPECT_EQ(chain.ask("daemon.send", 1), CM_HOOK_CONTINUE);
  EXPECT_EQ(chain.ask("daemon.send", 2), CM_HOOK_DEFER);
  EXPECT_EQ(chain.ask("daemon.send", 3), CM_HOOK_DEFER);
  EXPECT_EQ(chain.ask("daemon.send", 4), CM_HOOK_DENY);
  EXPECT_NE(chain.payload.find("3000 ms"), std::string::npos) << chain.payload;
}

TEST_F(PaceTest, LeavesOtherPointsAlone) {
  Chain chain(*node.find("pace"));
  for (cm_handle ticket = 1; ticket < 10; ++ticket) {
    EXPECT_EQ(chain.ask("daemon.received", ticket), CM_HOOK_CONTINUE);
  }
}

TEST_F(PaceTest, FreesWhatStillWaitsWhenItStops) {
  Chain chain(*node.find("pace"));
  chain.ask("daemon.send", 1);
  EXPECT_EQ(chain.ask("daemon.send", 2), CM_HOOK_DEFER);
  node.find("pace")->stop();
  world.run_for_ms(5'000);
  EXPECT_TRUE(chain.late.empty());
}

}  // namespace
