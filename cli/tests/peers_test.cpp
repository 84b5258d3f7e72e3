#include "cli/peers.hpp"

#include "cli/tests/cli_test_support.hpp"

namespace cm::cli {
namespace {

const std::string kOwn(64, 'a');

std::string rows() {
  const auto peer = [](const char* name, char key, const char* role, const std::string& member) {
    return std::string("{\"displayName\":\"") + name + "\",\"pubkey\":\"" + std::string(64, key) +
           "\",\"memberPubkey\":\"" + member + "\",\"peerRole\":\"" + role + "\",\"mesh\":\"team\",\"groups\":[]}";
  };
  return "{\"peers\":[" + peer("Bob", 'b', "session", std::string(64, 'b')) + "," + peer("Mine", 'c', "session", kOwn) +
         "," + peer("D", 'd', "control-plane", kOwn) + "]}";
}

TEST(Peers, RecordTellsWhoIsMe) {
  const JsonValue row = object_of({{"memberPubkey", json_text("M")}, {"pubkey", json_text("S")}});
  const JsonValue mine = peer_record(row, "M", "S");
  EXPECT_TRUE(flag_of(mine, "isSelf"));
  EXPECT_TRUE(flag_of(mine, "isThisSession"));
  EXPECT_EQ(text_of(mine, "peerRole"), "session");
  EXPECT_FALSE(flag_of(peer_record(row, "M", "other"), "isThisSession"));
  EXPECT_FALSE(flag_of(peer_record(row, "N", "S"), "isThisSession"));
}

TEST(Peers, RoleComesFromTheProfileTrimmed) {
  JsonValue row{JsonValue::Object()};
  row.set("profile", object_of({{"role", json_text("  lead ")}}));
  EXPECT_EQ(text_of(peer_record(row, "", ""), "role"), "lead");
  row.set("profile", object_of({{"role", json_text("   ")}}));
  EXPECT_EQ(peer_record(row, "", "").find("role"), nullptr);
}

TEST(Peers, Projection) {
  const JsonValue record = object_of({{"displayName", json_text("A")}, {"pubkey", json_text("K")}});
  EXPECT_EQ(protocol::to_json(project(record, "pubkey,name,nothing")), R"({"pubkey":"K","name":"A"})");
}

TEST(Peers, JsonOfOneMeshIsAnArrayWithoutDaemons) {
  test::Home home;
  home.join({"team"}, kOwn);
  test::FakeServer daemon(home.context.paths.socket());
  test::answer_version(daemon);
  daemon.answer("GET /v1/peers", 200, rows());
  EXPECT_EQ(run_peer_list({.mesh = "", .json = "name,isSelf", .all = false, .daemon = {}}, home.context), 0);
  EXPECT_EQ(protocol::to_json(home.out_json()), R"([{"name":"Mine","isSelf":true},{"name":"Bob","isSelf":false}])");
}

TEST(Peers, JsonOfSeveralMeshesIsGrouped) {
  test::Home home;
  home.join({"team", "other"}, kOwn);
  test::FakeServer daemon(home.context.paths.socket());
  test::answer_version(daemon);
  daemon.answer("GET /v1/peers", 200, rows());
  EXPECT_EQ(run_peer_list({.mesh = "", .json = "name", .all = true, .daemon = {}}, home.context), 0);
  EXPECT_EQ(protocol::to_json(home.out_json()),
            R"([{"mesh":"team","peers":[{"name":"Mine"},{"name":"D"},{"name":"Bob"}]},{"mesh":"other","peers":[]}])");
}

TEST(Peers, TextSaysWhatIsHidden) {
  test::Home home;
  home.join({"team"}, kOwn);
  test::FakeServer daemon(home.context.paths.socket());
  test::answer_version(daemon);
  daemon.answer("GET /v1/peers", 200, rows());
  EXPECT_EQ(run_peer_list({}, home.context), 0);
  EXPECT_NE(home.out.str().find("peers on team (2, 1 control-plane hidden — use --all)"), std::string::npos);
  EXPECT_NE(home.out.str().find("Mine (your other session)"), std::string::npos);
}

TEST(Peers, TheSessionTokenTravelsAsAuthorization) {
  test::Home home;
  home.join({"team"}, kOwn);
  const std::string token(64, '7');
  home.context.environment =
      Environment::of({{"CLAUDEMESH_IPC_TOKEN", token}, {"CLAUDEMESH_INTERNAL_NO_AUTOSPAWN", "1"}});
  test::FakeServer daemon(home.context.paths.socket());
  test::answer_version(daemon);
  daemon.answer("GET /v1/peers", 200, rows());
  EXPECT_EQ(run_peer_list({}, home.context), 0);
  ASSERT_FALSE(daemon.requests("GET /v1/peers").empty());
  EXPECT_EQ(daemon.requests("GET /v1/peers").front().authorization, "ClaudeMesh-Session " + token);
}

TEST(Peers, WithoutADaemonTheNetworkCode) {
  test::Home home;
  home.join({"team"}, kOwn);
  EXPECT_EQ(run_peer_list({}, home.context), 4);
  test::expect_three_parts(home.err.str());
}

TEST(SessionToken, ComesFromTheFileToo) {
  test::TemporaryFolder folder;
  test::write_text(folder.file("t"), std::string(64, 'e') + "\n");
  EXPECT_EQ(session_authorization(Environment::of({{"CLAUDEMESH_IPC_TOKEN_FILE", folder.file("t")}})),
            "ClaudeMesh-Session " + std::string(64, 'e'));
  EXPECT_EQ(session_authorization(Environment::of({{"CLAUDEMESH_IPC_TOKEN", "short"}})), "");
}

}  // namespace
}  // namespace cm::cli
