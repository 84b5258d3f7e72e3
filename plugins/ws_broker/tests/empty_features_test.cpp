#include <gtest/gtest.h>

#include "plugins/ws_broker/src/empty_features.hpp"
#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/wire_types.hpp"

namespace cm::broker {
namespace {

protocol::JsonValue frame(std::string_view text) {
  auto parsed = protocol::parse_json(text);
  EXPECT_TRUE(parsed.ok());
  return *parsed;
}

TEST(EmptyFeatures, RepliesEchoTheRequestId) {
  EXPECT_EQ(empty_feature_reply("list_state", frame(R"({"_reqId":"r1"})"), 0),
            R"({"type":"state_list","entries":[],"_reqId":"r1"})");
  EXPECT_EQ(empty_feature_reply("list_state", frame("{}"), 0), R"({"type":"state_list","entries":[]})");
  EXPECT_EQ(empty_feature_reply("get_state", frame(R"({"key":"k","_reqId":"r"})"), 0),
            R"({"type":"state_result","key":"k","value":null,"updatedBy":"","updatedAt":"","_reqId":"r"})");
}

TEST(EmptyFeatures, TopicErrorsCarryBothIds) {
  EXPECT_EQ(empty_feature_reply("topic_join", frame(R"({"topic":"x","_reqId":"r"})"), 0),
            R"({"type":"error","code":"topic_not_found","message":"topic \"x\" not found","id":"r","_reqId":"r"})");
}

TEST(EmptyFeatures, AcksRepeatTheObject) {
  EXPECT_EQ(empty_feature_reply("forget", frame(R"({"memoryId":"m","_reqId":"r"})"), 0),
            R"({"type":"ack","id":"m","messageId":"m","queued":false,"_reqId":"r"})");
}

TEST(EmptyFeatures, FireAndForgetAndUnknownStaySilent) {
  for (const std::string_view type : {"set_state", "publish", "unsubscribe", "mcp_unregister", "no_such_type"}) {
    EXPECT_EQ(empty_feature_reply(type, frame("{}"), 0), "") << type;
  }
}

TEST(EmptyFeatures, OldDaemonsGetTheReplyThatTheyWaitFor) {
  EXPECT_EQ(empty_feature_daemon_reply("get_state", frame(R"({"key":"k","_reqId":"mr-1"})")),
            R"({"type":"state_value","state":null,"_reqId":"mr-1"})");
  EXPECT_EQ(empty_feature_daemon_reply("recall", frame(R"({"query":"q","_reqId":"mr-2"})")),
            R"({"type":"memory_recall_result","matches":[],"_reqId":"mr-2"})");
  EXPECT_EQ(empty_feature_daemon_reply("recall", frame(R"({"query":"q"})")), "");
  EXPECT_EQ(empty_feature_daemon_reply("list_state", frame(R"({"_reqId":"r"})")), "");
}

TEST(EmptyFeatures, EveryReplyIsJsonOfAServerType) {
  for (std::size_t i = 0; i < protocol::kClientWireTypeCount; ++i) {
    const std::string_view type = protocol::to_string(static_cast<protocol::WireType>(i));
    const std::string reply = empty_feature_reply(type, frame(R"({"_reqId":"r"})"), 0);
    if (reply.empty()) {
      continue;
    }
    const auto parsed = protocol::parse_json(reply);
    ASSERT_TRUE(parsed.ok()) << type << ": " << reply;
    EXPECT_TRUE(protocol::is_server_type(protocol::wire_type(text_member(*parsed, "type")))) << reply;
    EXPECT_EQ(text_member(*parsed, "_reqId"), "r") << reply;
  }
}

}  // namespace
}  // namespace cm::broker
