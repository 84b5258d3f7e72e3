#include "cli/join.hpp"

#include "cli/tests/cli_test_support.hpp"
#include "protocol/keys.hpp"

namespace cm::cli {
namespace {

constexpr double kInAnHourS = 1'700'000'000 + 3'600;

std::string token_for(std::uint16_t port, const std::string& slug = "team", double expires_at_s = kInAnHourS) {
  const protocol::KeyPair owner = protocol::KeyPair::generate(protocol::system_random());
  protocol::InvitePayload payload;
  payload.mesh_id = "mesh-id-of-" + slug;
  payload.mesh_slug = slug;
  payload.broker_url = "ws://127.0.0.1:" + std::to_string(port) + "/ws";
  payload.expires_at_s = expires_at_s;
  payload.mesh_root_key = "cm9vdA";
  payload.role = "member";
  protocol::sign_invite(payload, owner.secret_key);
  return protocol::build_invite_token(payload);
}

class Join : public testing::Test {
 protected:
  Join() { broker.answer("POST /join", 200, R"({"ok":true,"memberId":"MEMBER"})"); }
  int join(const std::string& invite, const std::string& slug = "") {
    return run_join({.invite = invite, .name = "Ada", .slug = slug, .json = true}, home.context);
  }
  test::Home home;
  test::FakeServer broker;
};

TEST_F(Join, WritesTheMembershipAndKeepsTheLink) {
  const std::string token = token_for(broker.port());
  ASSERT_EQ(join("ic://join/" + token), 0) << home.err.str();
  const Outcome<ConfigFile> config = load_config(home.context.paths);
  ASSERT_TRUE(config.ok());
  const MeshEntry* entry = config->find("team");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->mesh_id, "mesh-id-of-team");
  EXPECT_EQ(entry->member_id, "MEMBER");
  EXPECT_EQ(entry->joined_at, "2023-11-14T22:13:20.000Z");
  EXPECT_EQ(entry->root_key.text(), "") << "1.37.0 stores none";
  EXPECT_EQ(text_of(config->others, "displayName"), "Ada");
  const auto posted = broker.requests("POST /join");
  ASSERT_EQ(posted.size(), 1u);
  EXPECT_EQ(text_of(posted[0].body, "invite_token"), token);
  EXPECT_EQ(text_of(posted[0].body, "peer_pubkey"), entry->pubkey);
  EXPECT_EQ(text_of(posted[0].body, "display_name"), "Ada");
  const Result<protocol::SecretKey> secret = protocol::SecretKey::from_hex(entry->secret_key.text());
  ASSERT_TRUE(secret);
  EXPECT_EQ(secret->public_key().hex(), entry->pubkey);
  EXPECT_EQ(home.out.str().find(entry->secret_key.text()), std::string::npos) << "the secret is never printed";
  EXPECT_EQ(test::read_text(home.context.paths.config_dir + "/invite-team.txt"), "ic://join/" + token + "\n");
}

TEST_F(Join, ATamperedInviteNeverReachesTheBroker) {
  std::string token = token_for(broker.port());
  protocol::InvitePayload payload = *protocol::parse_invite_token(token);
  payload.role = "admin";
  EXPECT_EQ(join(protocol::build_invite_token(payload)), 1);
  EXPECT_NE(home.err.str().find("signature"), std::string::npos);
  test::expect_three_parts(home.err.str());
  EXPECT_TRUE(broker.requests("POST /join").empty());
}

TEST_F(Join, AnExpiredInvite) {
  EXPECT_EQ(join(token_for(broker.port(), "team", 1'600'000'000)), 1);
  EXPECT_NE(home.err.str().find("invite expired"), std::string::npos);
}

TEST_F(Join, TheBrokersRefusalIsExplained) {
  broker.answer("POST /join", 400, R"({"ok":false,"error":"invite_exhausted"})");
  EXPECT_EQ(join(token_for(broker.port())), 1);
  EXPECT_NE(home.err.str().find("invite_exhausted; expected an invite with uses left"), std::string::npos)
      << home.err.str();
  EXPECT_FALSE(std::filesystem::exists(home.context.paths.config_file()));
}

TEST_F(Join, AnotherMeshOfTheSameNameIsNotOverwritten) {
  home.join({"team"});
  EXPECT_EQ(join(token_for(broker.port())), 6);
  EXPECT_TRUE(broker.requests("POST /join").empty()) << "the invite must not be used up";
  EXPECT_EQ(join(token_for(broker.port()), "team-two"), 0);
  EXPECT_EQ(load_config(home.context.paths)->meshes.size(), 2u);
}

TEST_F(Join, ARunningDaemonIsTold) {
  test::FakeServer daemon(home.context.paths.socket());
  test::answer_version(daemon);
  daemon.answer("POST /v1/meshes/reload", 200, R"({"added":["team"],"removed":[],"meshes":["team"]})");
  EXPECT_EQ(join(token_for(broker.port())), 0);
  EXPECT_EQ(daemon.requests("POST /v1/meshes/reload").size(), 1u);
  EXPECT_TRUE(flag_of(home.out_json(), "daemonReloaded"));
}

TEST_F(Join, ABrokerThatIsAwayGivesTheNetworkCode) {
  EXPECT_EQ(join(token_for(1)), 4);
  test::expect_three_parts(home.err.str());
}

TEST_F(Join, AnUnparsableConfigurationIsLeftAlone) {
  test::write_text(home.context.paths.config_file(), "not json");
  EXPECT_EQ(join(token_for(broker.port())), 10);
  EXPECT_EQ(test::read_text(home.context.paths.config_file()), "not json");
  EXPECT_TRUE(broker.requests("POST /join").empty());
}

TEST_F(Join, ADisplayNameWithControlCharacters) {
  EXPECT_EQ(run_join({.invite = token_for(broker.port()), .name = "a\x1b[2J", .slug = "", .json = false}, home.context),
            3);
}

TEST_F(Join, NonsenseIsNoInvite) {
  EXPECT_EQ(join("hello world"), 1);
  test::expect_three_parts(home.err.str());
}

}  // namespace
}  // namespace cm::cli
