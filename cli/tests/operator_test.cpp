#include "cli/operator_verbs.hpp"

#include "cli/tests/cli_test_support.hpp"

namespace cm::cli {
namespace {

TEST(Operator, Durations) {
  EXPECT_EQ(parse_duration_s("1s"), 1);
  EXPECT_EQ(parse_duration_s("90"), 90);
  EXPECT_EQ(parse_duration_s("15m"), 900);
  EXPECT_EQ(parse_duration_s("12h"), 43'200);
  EXPECT_EQ(parse_duration_s("7d"), 604'800);
  EXPECT_EQ(parse_duration_s("2w"), 1'209'600);
  for (const char* wrong : {"", "0s", "-1d", "7 d", "7y", "d", "366d", "99999999999999999999d", "1.5h"}) {
    EXPECT_EQ(parse_duration_s(wrong), std::nullopt) << wrong;
  }
}

TEST(Operator, WhereTheSocketIs) {
  test::TemporaryFolder home;
  EXPECT_EQ(find_operator_socket("/x", Environment::of({{"CLAUDEMESH_OPERATOR_SOCKET", "/y"}}), home.path()), "/x");
  EXPECT_EQ(find_operator_socket("", Environment::of({{"CLAUDEMESH_OPERATOR_SOCKET", "/y"}}), home.path()), "/y");
  std::filesystem::create_directories(home.file(".claudemesh/broker"));
  test::write_text(home.file(".claudemesh/operator.sock"), "");
  EXPECT_EQ(find_operator_socket("", Environment(), home.path()), home.file(".claudemesh/operator.sock"));
  test::write_text(home.file(".claudemesh/broker/operator.sock"), "");
  EXPECT_EQ(find_operator_socket("", Environment(), home.path()), home.file(".claudemesh/broker/operator.sock"));
}

TEST(Operator, InviteKeys) {
  EXPECT_EQ(invite_key("Ab3dEf9h"), "Ab3dEf9h");
  EXPECT_EQ(invite_key("https://broker.example/join/eyJ2IjoxLCJtZXNoX2lkIjoi"), "eyJ2IjoxLCJtZXNoX2lkIjoi");
  EXPECT_EQ(invite_key("ic://join/eyJ2IjoxLCJtZXNoX2lkIjoi"), "eyJ2IjoxLCJtZXNoX2lkIjoi");
}

TEST(Operator, InviteSendsWhatTheContractNames) {
  test::Home home;
  const std::string socket = home.folder.file("operator.sock");
  test::FakeServer broker(socket);
  broker.answer("POST /v1/meshes/team/invites", 201, R"({"id":"I","code":"C","token":"T","url":"https://b/join/T"})");
  OperatorArguments arguments;
  arguments.socket = socket;
  arguments.json = true;
  arguments.mesh = "team";
  arguments.uses = 3;
  arguments.expires = "1s";
  EXPECT_EQ(run_mesh_invite(arguments, home.context), 0);
  EXPECT_EQ(protocol::to_json(broker.requests("POST /v1/meshes/team/invites")[0].body),
            R"({"role":"member","max_uses":3,"expires_in_s":1})");
  EXPECT_EQ(text_of(home.out_json(), "token"), "T");
}

TEST(Operator, StatusesBecomeExitCodes) {
  const JsonValue body = object_of({{"error", json_text("slug_taken")}, {"detail", json_text("why")}});
  EXPECT_EQ(operator_refused({409, body}, "x").code, ExitCode::kExists);
  EXPECT_EQ(operator_refused({404, body}, "x").code, ExitCode::kNotFound);
  EXPECT_EQ(operator_refused({400, body}, "x").code, ExitCode::kUsage);
  EXPECT_EQ(operator_refused({403, body}, "x").code, ExitCode::kDenied);
  EXPECT_EQ(operator_refused({500, body}, "x").code, ExitCode::kInternal);
  EXPECT_NE(operator_refused({409, body}, "creating").found.find("slug_taken: why"), std::string::npos);
}

TEST(Operator, ABadDurationIsRefusedBeforeAnyRequest) {
  test::Home home;
  OperatorArguments arguments;
  arguments.socket = "/nonexistent.sock";
  arguments.mesh = "team";
  arguments.expires = "soon";
  EXPECT_EQ(run_mesh_invite(arguments, home.context), 3);
  test::expect_three_parts(home.err.str());
}

TEST(Operator, WithoutABroker) {
  test::Home home;
  OperatorArguments arguments;
  arguments.socket = home.folder.file("none.sock");
  EXPECT_EQ(run_mesh_list(arguments, home.context), 4);
  test::expect_three_parts(home.err.str());
}

TEST(Operator, TablesAlign) {
  test::Home home;
  const std::string socket = home.folder.file("operator.sock");
  test::FakeServer broker(socket);
  broker.answer("GET /v1/meshes", 200,
                R"({"meshes":[{"id":"1","slug":"a","name":"A","members":12,"online":1},)"
                R"({"id":"2","slug":"long-slug","name":"B","members":3,"online":0}]})");
  OperatorArguments arguments;
  arguments.socket = socket;
  EXPECT_EQ(run_mesh_list(arguments, home.context), 0);
  std::istringstream lines(home.out.str());
  std::string title;
  std::string first;
  std::string second;
  std::getline(lines, title);
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_EQ(title.find("NAME"), first.find(" A ") + 1);
  EXPECT_EQ(title.find("NAME"), second.find(" B ") + 1);
}

}  // namespace
}  // namespace cm::cli
