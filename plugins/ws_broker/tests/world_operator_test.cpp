// The operator's API and the public HTTP routes.
#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/broker_world.hpp"

namespace cm::broker::test {
namespace {

class OperatorTest : public ::testing::Test {
 protected:
  OperatorTest() { EXPECT_TRUE(world_.boot()); }

  JsonValue json(const sim::HttpAnswer& answer) {
    auto parsed = protocol::parse_json(answer.body);
    EXPECT_TRUE(parsed.ok()) << answer.body;
    return parsed.ok() ? *parsed : JsonValue();
  }

  BrokerWorld world_;
};

TEST_F(OperatorTest, MeshesHaveUniqueSlugs) {
  const sim::HttpAnswer made = world_.operate("POST", "/v1/meshes", R"({"name":"My  Mesh!"})");
  EXPECT_EQ(made.status, 201u) << made.body;
  EXPECT_EQ(text_of(json(made), "slug"), "my-mesh");
  const sim::HttpAnswer again = world_.operate("POST", "/v1/meshes", R"({"name":"Other","slug":"my-mesh"})");
  EXPECT_EQ(again.status, 409u);
  EXPECT_EQ(text_of(json(again), "error"), "slug_taken");
  EXPECT_FALSE(text_of(json(again), "detail").empty());
  for (const char* body : {"{}", R"({"name":""})", R"({"name":"x","slug":"A B"})", "[]", "nonsense"}) {
    EXPECT_EQ(world_.operate("POST", "/v1/meshes", body).status, 400u) << body;
  }
}

TEST_F(OperatorTest, SecretsOfAMeshAreNowhereInTheAnswers) {
  const MeshInfo mesh = world_.create_mesh("m");
  world_.join(mesh, "alice");
  for (const char* target : {"/v1/meshes", "/v1/meshes/m/members", "/v1/meshes/m/invites", "/v1/status"}) {
    const sim::HttpAnswer answer = world_.operate("GET", target);
    EXPECT_EQ(answer.status, 200u) << target;
    for (const char* word : {"secret", "root_key", "token"}) {
      EXPECT_EQ(answer.body.find(word), std::string::npos) << target << ": " << answer.body;
    }
  }
}

TEST_F(OperatorTest, InvitesOfOneSecondDiffer) {
  world_.create_mesh("m");
  const JsonValue first = json(world_.operate("POST", "/v1/meshes/m/invites", "{}"));
  const JsonValue second = json(world_.operate("POST", "/v1/meshes/m/invites", "{}"));
  EXPECT_NE(text_of(first, "token"), text_of(second, "token"));
  EXPECT_EQ(text_of(first, "url"), "http://127.0.0.1:7900/join/" + text_of(first, "token"));
  EXPECT_EQ(text_of(first, "ic_url"), "ic://join/" + text_of(first, "token"));
}

TEST_F(OperatorTest, InviteArgumentsAreChecked) {
  world_.create_mesh("m");
  for (const char* body : {R"({"role":"owner"})", R"({"max_uses":0})", R"({"max_uses":10001})", R"({"max_uses":1.5})",
                           R"({"expires_in_s":0})", R"({"expires_in_s":31536001})", R"({"expires_in_s":"7d"})"}) {
    EXPECT_EQ(world_.operate("POST", "/v1/meshes/m/invites", body).status, 400u) << body;
  }
  EXPECT_EQ(world_.operate("POST", "/v1/meshes/none/invites", "{}").status, 404u);
}

TEST_F(OperatorTest, RevokedInviteIsRefusedAndStaysRevoked) {
  const MeshInfo mesh = world_.create_mesh("m");
  const JsonValue invite = json(world_.operate("POST", "/v1/meshes/m/invites", "{}"));
  const std::string code = text_of(invite, "code");
  const JsonValue revoked = json(world_.operate("DELETE", "/v1/meshes/m/invites/" + code));
  EXPECT_EQ(text_of(revoked, "id"), text_of(invite, "id"));
  EXPECT_FALSE(text_of(revoked, "revoked_at").empty());
  EXPECT_EQ(json(world_.operate("DELETE", "/v1/meshes/m/invites/" + code)).find("error"), nullptr) << "idempotent";
  EXPECT_EQ(world_.operate("DELETE", "/v1/meshes/m/invites/nobody").status, 404u);
  const auto payload = protocol::base64url_decode(text_of(invite, "token"));
  const sim::HttpAnswer join = world_.ask("POST", "/join",
                                          R"({"invite_token":")" + text_of(invite, "token") + R"(","invite_payload":)" +
                                              std::string(protocol::as_text(*payload)) + R"(,"peer_pubkey":")" +
                                              std::string(64, 'a') + R"(","display_name":"x"})");
  EXPECT_EQ(join.status, 400u);
  EXPECT_EQ(text_of(json(join), "error"), "invite_revoked");
}

TEST_F(OperatorTest, EverythingSurvivesARestart) {
  const MeshInfo mesh = world_.create_mesh("m");
  const MemberInfo alice = world_.join(mesh, "alice");
  world_.crash();
  ASSERT_TRUE(world_.boot());
  const JsonValue members = json(world_.operate("GET", "/v1/meshes/m/members"));
  ASSERT_EQ(members.find("members")->as_array()->size(), 1u);
  EXPECT_EQ(text_of((*members.find("members")->as_array())[0], "pubkey"), alice.pubkey());
  const JsonValue invites = json(world_.operate("GET", "/v1/meshes/m/invites"));
  EXPECT_EQ(*(*invites.find("invites")->as_array())[0].find("used_count")->as_number(), 1.0);
}

TEST_F(OperatorTest, PublicRoutesAreExact) {
  EXPECT_EQ(world_.ask("GET", "/health").status, 200u);
  EXPECT_EQ(text_of(json(world_.ask("GET", "/health")), "db"), "up");
  EXPECT_EQ(world_.ask("GET", "/health/ready").status, 200u);
  EXPECT_EQ(world_.ask("OPTIONS", "/anything").status, 204u);
  for (const char* target : {"/health?x", "/ws", "/ws?x=1", "/", "/v1/status"}) {
    const sim::HttpAnswer answer = world_.ask("GET", target);
    EXPECT_EQ(answer.status, 404u) << target;
    EXPECT_EQ(answer.body, "not found") << target;
  }
}

}  // namespace
}  // namespace cm::broker::test
