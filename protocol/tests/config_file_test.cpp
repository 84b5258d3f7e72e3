#include "protocol/config_file.hpp"

#include <gtest/gtest.h>

#include "protocol/json_fields.hpp"

namespace cm::protocol {
namespace {

TEST(ConfigFile, ReadsWhat1_37Writes) {
  const Result<ConfigFile> config = parse_config(
      R"({"version":1,"meshes":[{"meshId":"M","memberId":"m","slug":"a","name":"N","pubkey":"P","secretKey":"S",)"
      R"("brokerUrl":"wss://b/ws","joinedAt":"T","rootKey":"R","inviteVersion":2},{"slug":"b","inviteVersion":3}],)"
      R"("displayName":"Ada","groups":[{"name":"g"}],"x":1})");
  ASSERT_TRUE(config);
  ASSERT_EQ(config->meshes.size(), 2U);
  const MeshRecord& record = config->meshes.front();
  EXPECT_EQ(record.mesh_id + record.member_id + record.slug + record.name + record.pubkey, "MmaNP");
  EXPECT_EQ(record.secret_key.text() + record.broker_url + record.joined_at + record.root_key.text(), "Swss://b/wsTR");
  EXPECT_EQ(record.invite_version, 2);
  EXPECT_EQ(config->meshes[1].invite_version, std::nullopt);
  EXPECT_EQ(to_json(config->others), R"({"displayName":"Ada","groups":[{"name":"g"}]})") << "unknown keys are dropped";
  EXPECT_TRUE(config->problems.empty());
  EXPECT_EQ(config->slugs(), "a, b");
  EXPECT_EQ(config->find("b"), &config->meshes[1]);
  EXPECT_EQ(config->find("c"), nullptr);
}

TEST(ConfigFile, NoJsonObjectIsAnError) {
  for (const char* text : {"", "{", "[]", "1"}) {
    const Result<ConfigFile> config = parse_config(text);
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code, ErrorCode::kInvalid) << text;
  }
  EXPECT_TRUE(parse_config("{}")->meshes.empty());
}

TEST(ConfigFile, NamesWhatItLeavesOut) {
  const Result<ConfigFile> config = parse_config(R"({"meshes":[1,{"slug":"good"},{"name":"no slug"},{"slug":5}]})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->slugs(), "good");
  ASSERT_EQ(config->problems.size(), 3U);
  EXPECT_EQ(config->problems[0], "entry 1 of \"meshes\" is no object with a slug");
  EXPECT_EQ(config->problems[1], "entry 3 of \"meshes\" is no object with a slug");
  EXPECT_EQ(parse_config(R"({"meshes":{}})")->problems.front(), "\"meshes\" is an object, not an array");
}

TEST(SecretText, LeavesNothingBehind) {
  const std::string secret(100, 's');
  SecretText text{std::string(secret)};
  const char* const bytes = text.text().data();
  SecretText moved = std::move(text);
  EXPECT_TRUE(text.empty());  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(moved.text(), secret);
  EXPECT_EQ(moved.text().data(), bytes);
  moved.wipe();
  EXPECT_TRUE(moved.empty());
  EXPECT_EQ(bytes[50], '\0') << "the buffer is still ours and holds zeros";
}

TEST(JsonFields, AbsentAndForeignMembersAreNothing) {
  const JsonValue object = *parse_json(R"({"t":"x","n":2.5,"i":7,"big":1e300,"b":true,"a":[1,2]})");
  EXPECT_EQ(text_of(object, "t"), "x");
  EXPECT_EQ(number_of(object, "n"), 2.5);
  EXPECT_EQ(integer_of(object, "i"), 7);
  EXPECT_EQ(integer_of(object, "n"), 2);
  EXPECT_EQ(integer_of(object, "big"), 0);
  EXPECT_TRUE(flag_of(object, "b"));
  EXPECT_EQ(array_of(object, "a").size(), 2U);
  for (const char* key : {"none", "a"}) {
    EXPECT_EQ(text_of(object, key), "");
    EXPECT_EQ(number_of(object, key), std::nullopt);
    EXPECT_EQ(integer_of(object, key), 0);
    EXPECT_FALSE(flag_of(object, key));
  }
  EXPECT_TRUE(array_of(object, "t").empty());
  EXPECT_EQ(text_of(JsonValue(), "t"), "");
}

}  // namespace
}  // namespace cm::protocol
