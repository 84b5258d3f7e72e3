// A bridge in the deterministic host: everything is a rehearsal, so no other side and no daemon is needed.
#include <claudemesh/ext/bridge.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "sdk/simhost/world.hpp"

namespace {

struct Crossing {
  std::uint32_t outcome;
  std::string channel;
  std::string text;
};

cm_text_pview view(std::string_view text) {
  return {text.data(), text.size()};
}

class RoomBridgeTest : public ::testing::Test {
 protected:
  RoomBridgeTest() : node(world.add_node("laptop", "[plugins.rooms]\nfile = \"" ROOM_BRIDGE_LIBRARY "\"\n")) {}
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
    bridge = static_cast<const cm_bridge_v1*>(node.find("rooms")->extension(CM_BRIDGE_ID));
    cm_bridge_mapping mapping = {};
    mapping.size = sizeof(mapping);
    mapping.directions = CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE;
    mapping.id = view("kitchen");
    mapping.remote = view("kitchen");
    mapping.target = view("@cooks");
    ASSERT_EQ(bridge->map(node.find("rooms")->raw(), &mapping), CM_OK);
  }

  std::vector<Crossing> say(std::string_view channel, std::string_view id, std::string_view text) {
    std::vector<Crossing> crossings;
    cm_bridge_message message = {};
    message.size = sizeof(message);
    message.flags = CM_BRIDGE_REHEARSAL;
    message.channel = view(channel);
    message.message_id = view(id);
    message.author_name = view("ann");
    message.text = view(text);
    const auto crossed = [](void* user, const cm_bridge_crossing* crossing) noexcept {
      static_cast<std::vector<Crossing>*>(user)->push_back({crossing->outcome,
                                                            {crossing->channel.data, crossing->channel.size},
                                                            {crossing->text.data, crossing->text.size}});
    };
    EXPECT_EQ(bridge->deliver_remote(node.find("rooms")->raw(), &message, crossed, &crossings), CM_OK);
    EXPECT_TRUE(crossings.empty()) << "never from inside the call";
    world.run_for_ms(100);
    return crossings;
  }

  cm::sim::World world{cm::sim::WorldOptions{}};
  cm::sim::Node& node;
  const cm_bridge_v1* bridge = nullptr;
};

TEST_F(RoomBridgeTest, CarriesWhatIsMappedWithItsMark) {
  const auto crossings = say("kitchen", "1", "dinner is ready");
  ASSERT_EQ(crossings.size(), 1u);
  EXPECT_EQ(crossings[0].outcome, CM_BRIDGE_REHEARSED);
  EXPECT_EQ(crossings[0].channel, "@cooks");
  EXPECT_EQ(crossings[0].text, "ann: dinner is ready\n-- via room:rooms");
}

TEST_F(RoomBridgeTest, DropsRepetitionsLoopsAndOtherRooms) {
  say("kitchen", "1", "dinner is ready");
  EXPECT_EQ(say("kitchen", "1", "dinner is ready").at(0).outcome, CM_BRIDGE_DUPLICATE);
  EXPECT_EQ(say("kitchen", "2", "again\n-- via room:rooms").at(0).outcome, CM_BRIDGE_LOOP);
  EXPECT_EQ(say("cellar", "3", "hello").at(0).outcome, CM_BRIDGE_UNMAPPED);
}

TEST_F(RoomBridgeTest, SurvivesAFailingPostAndLeavesNothing) {
  node.find("rooms")->probe().fail_nth("cm.loop/1", 1, CM_BUSY);
  EXPECT_TRUE(say("kitchen", "1", "lost").empty());
  EXPECT_EQ(say("kitchen", "2", "told").size(), 1u);
  world.shut_down(node, [this] { EXPECT_EQ(node.find("rooms")->holdings().text(), ""); });
}

}  // namespace
