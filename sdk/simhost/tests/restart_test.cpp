// One instance ends and another takes its place; and what the simulated host refuses because the real one does.
#include <claudemesh/ext/host.h>
#include <gtest/gtest.h>

#include <string>

#include <claudemesh/cpp/text.hpp>
#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

class RestartTest : public ::testing::TestWithParam<bool> {
 protected:
  RestartTest() : node(world.add_node("box", "[plugins.pace]\nfile = \"" PACE_LIBRARY "\"\n")) {}
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
  }

  World world{WorldOptions{}};
  Node& node;
};

TEST_P(RestartTest, TheNextInstanceHasItsNameAndAnotherHandle) {
  Instance& old = *node.find("pace");
  const cm_handle before = old.self();
  ASSERT_TRUE(world.restart(node, "pace", GetParam())) << node.last_error;
  EXPECT_FALSE(node.running());
  ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
  EXPECT_NE(node.find("pace")->self(), before);
  EXPECT_EQ(node.find("pace")->phase(), Phase::kStarted);
  EXPECT_EQ(old.phase(), Phase::kDestroyed);
  const auto* loop = static_cast<const cm_loop_v1*>(find_table(CM_LOOP_ID));
  const cm_callback nothing = [](void*) noexcept {};
  EXPECT_EQ(loop->post(node.find("pace")->self(), before, nothing, nothing, nullptr), CM_GONE);
  world.shut_down(node);
  EXPECT_EQ(World::instance_of(before), nullptr);
}

TEST_P(RestartTest, RefusesWhatIsNotThere) {
  EXPECT_FALSE(world.restart(node, "nobody", GetParam()));
  EXPECT_TRUE(node.running());
  world.crash(node);
  EXPECT_FALSE(world.restart(node, "pace", GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Ends, RestartTest, ::testing::Bool());

using WorkerTest = RestartTest;

TEST_P(WorkerTest, TakesQueueNamesThatAThreadCanHave) {
  const auto* worker = static_cast<const cm_worker_v1*>(find_table(CM_WORKER_ID));
  const cm_handle self = node.find("pace")->self();
  cm_handle queue = CM_NO_HANDLE;
  EXPECT_EQ(worker->create_queue(self, to_pview(std::string(15, 'q')), &queue), CM_OK);
  EXPECT_EQ(worker->create_queue(self, to_pview(std::string(16, 'q')), &queue), CM_INVALID);
  EXPECT_EQ(worker->create_queue(self, to_pview(""), &queue), CM_INVALID);
}

INSTANTIATE_TEST_SUITE_P(Names, WorkerTest, ::testing::Values(true));

}  // namespace
}  // namespace cm::sim
