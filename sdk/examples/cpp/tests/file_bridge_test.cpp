// The example on a real folder, in virtual time. There is no daemon here, so what goes to the mesh is refused by it, or
// only rehearsed; the other direction is complete. And the rules that cpp/bridge_rules.hpp keeps for every bridge.
#include <gtest/gtest.h>
#include <claudemesh/cpp/bridge_rules.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <claudemesh/cpp/text.hpp>
#include "sdk/examples/cpp/file_bridge/json_text.hpp"
#include "sdk/simhost/world.hpp"
#include "tests/support/temporary_folder.hpp"

namespace {

struct Crossed {
  std::uint32_t outcome;
  std::uint32_t direction;
  std::string message_id;
  std::string reason;
};

class FileBridgeTest : public ::testing::Test {
 protected:
  FileBridgeTest()
      : node(world.add_node("laptop", "[plugins.files]\nfile = \"" FILE_BRIDGE_LIBRARY "\"\nfolder = \"" + folder +
                                          "\"\nevery = \"1s\"\nmappings = [\"alerts=bob\", \"chat=#chat\"]\n")) {
    std::filesystem::create_directory(folder);
  }
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
    table = static_cast<const cm_bridge_v1*>(node.find("files")->extension(CM_BRIDGE_ID));
    cm_handle observer = CM_NO_HANDLE;
    ASSERT_EQ(table->observe(raw(), &FileBridgeTest::on_crossed, this, &observer), CM_OK);
  }
  cm_instance* raw() { return node.find("files")->raw(); }
  static void on_crossed(void* user, const cm_bridge_crossing* crossing) noexcept {
    static_cast<FileBridgeTest*>(user)->crossed.push_back({crossing->outcome, crossing->direction,
                                                           std::string(cm::to_view(crossing->message_id)),
                                                           std::string(cm::to_view(crossing->reason))});
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder + "/" + name, std::ios::app) << text;
  }
  std::string read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(folder + "/" + name).rdbuf();
    return text.str();
  }
  cm_status from_mesh(const std::string& target, const std::string& id, const std::string& text) {
    cm_bridge_message message = {};
    message.size = sizeof(message);
    message.channel = cm::to_pview(target);
    message.message_id = cm::to_pview(id);
    message.author_name = cm::to_pview("eve");
    message.text = cm::to_pview(text);
    return table->deliver_mesh(raw(), &message, nullptr, nullptr);
  }
  cm_bridge_status status() {
    cm_bridge_status now = {};
    now.size = sizeof(now);
    EXPECT_EQ(table->status(raw(), &now), CM_OK);
    return now;
  }

  const cm::test::TemporaryFolder temporary;
  const std::string folder = temporary.file("files");
  cm::sim::World world{cm::sim::WorldOptions{}};
  cm::sim::Node& node;
  const cm_bridge_v1* table = nullptr;
  std::vector<Crossed> crossed;
};

TEST_F(FileBridgeTest, WritesWhatComesFromTheMeshOnce) {
  EXPECT_EQ(from_mesh("bob", "1", "hello\n-- via slack:acme"), CM_OK);
  EXPECT_EQ(from_mesh("bob", "1", "hello"), CM_OK);
  EXPECT_EQ(from_mesh("#chat", "1", "tea?"), CM_OK);
  EXPECT_EQ(from_mesh("carol", "2", "not mapped"), CM_OK);
  EXPECT_EQ(from_mesh("bob", "3", "round\n-- via slack:acme file:main"), CM_OK);
  EXPECT_EQ(status().waiting, 2u);
  world.run_for_ms(500);
  EXPECT_EQ(read("alerts.out"), "eve: hello\n");
  EXPECT_EQ(read("chat.out"), "eve: tea?\n");
  const cm_bridge_status now = status();
  EXPECT_EQ(now.to_remote, 2u);
  EXPECT_EQ(now.dropped_duplicate, 1u);
  EXPECT_EQ(now.dropped_unmapped, 1u);
  EXPECT_EQ(now.dropped_loop, 1u);
  EXPECT_EQ(now.waiting, 0u);
  EXPECT_EQ(cm::to_view(now.mark), "file:main");
  EXPECT_EQ(now.state, CM_BRIDGE_MESH_DOWN);
  EXPECT_EQ(crossed.size(), 5u);
}

TEST_F(FileBridgeTest, TellsAFileThatCannotBeWritten) {
  std::filesystem::remove_all(folder);
  EXPECT_EQ(from_mesh("bob", "1", "hello"), CM_OK);
  world.run_for_ms(500);
  ASSERT_EQ(crossed.size(), 1u);
  EXPECT_EQ(crossed[0].outcome, CM_BRIDGE_FAILED);
  EXPECT_EQ(status().failed, 1u);
}

TEST_F(FileBridgeTest, ReadsWholeLinesOnceAndNamesThemByTheirPlace) {
  write("alerts.in", "one\ntwo\nhal");
  world.run_for_ms(3'000);
  ASSERT_EQ(crossed.size(), 2u);
  EXPECT_EQ(crossed[0].direction, CM_BRIDGE_TO_MESH);
  EXPECT_EQ(crossed[0].message_id, "alerts:0");
  EXPECT_EQ(crossed[1].message_id, "alerts:4");
  EXPECT_EQ(crossed[0].outcome, CM_BRIDGE_FAILED);  // no daemon
  write("alerts.in", "f\n");
  world.run_for_ms(3'000);
  ASSERT_EQ(crossed.size(), 3u);
  EXPECT_EQ(crossed[2].message_id, "alerts:8");
}

TEST(BridgeRules, TheTrailGrowsAndTheIdStays) {
  cm::BridgeRules rules("file:main");
  EXPECT_EQ(rules.map({"m", "alerts", "bob"}), CM_OK);
  EXPECT_EQ(rules.map({"n", "alerts", "bob"}), CM_INVALID);
  const auto first = rules.judge(CM_BRIDGE_TO_MESH, {"alerts", "7", "", "eve", "hi", "slack:acme"});
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].outcome, 0u);
  EXPECT_EQ(first[0].text, "eve: hi\n-- via slack:acme file:main");
  EXPECT_EQ(first[0].channel, "bob");
  cm::BridgeRules restarted("file:main");
  EXPECT_EQ(restarted.map({"m", "alerts", "bob"}), CM_OK);
  EXPECT_EQ(restarted.judge(CM_BRIDGE_TO_MESH, {"alerts", "7", "", "eve", "hi"})[0].new_id, first[0].new_id);
  EXPECT_NE(restarted.judge(CM_BRIDGE_TO_MESH, {"alerts", "8", "", "eve", "hi"})[0].new_id, first[0].new_id);
}

TEST(BridgeRules, ALongTextIsNotRememberedAsCrossed) {
  cm::BridgeRules rules("file:main");
  EXPECT_EQ(rules.map({"m", "alerts", "bob"}), CM_OK);
  const std::string text(CM_BRIDGE_TEXT_BYTES_MAX, 'x');
  EXPECT_EQ(rules.judge(CM_BRIDGE_TO_MESH, {"alerts", "1", "", "", text})[0].outcome, CM_BRIDGE_FILTERED);
  EXPECT_EQ(rules.judge(CM_BRIDGE_TO_MESH, {"alerts", "1", "", "", "short"})[0].outcome, 0u);
}

TEST(JsonText, ReadsAMemberOfTheOutermostObject) {
  const std::string event = R"({"a":{"body":"no"},"topic":null,"x":"body","body": "A\n\u00e9\ud83d\ude00\"","n":1})";
  EXPECT_EQ(json::text(event, "body"), "A\n\xc3\xa9\xf0\x9f\x98\x80\"");
  EXPECT_EQ(json::text(event, "topic"), "");
  EXPECT_EQ(json::text(event, "missing"), "");
  EXPECT_EQ(json::text("{\"body\":\"cut", "body"), "cut");
  EXPECT_EQ(json::text("{\"body", "body"), "");
}

}  // namespace
