#include "cli/send.hpp"

#include "cli/tests/cli_test_support.hpp"

namespace cm::cli {
namespace {

const std::string kOwn(64, 'a');
const std::string kBob(64, 'b');

std::string roster(const std::string& extra = "") {
  return "{\"peers\":[{\"displayName\":\"Bob\",\"pubkey\":\"" + kBob + "\",\"memberPubkey\":\"" + kBob +
         "\",\"peerRole\":\"session\",\"mesh\":\"team\"}" + extra + "]}";
}

class Send : public testing::Test {
 protected:
  Send() {
    home.join({"team"}, kOwn);
    daemon = std::make_unique<test::FakeServer>(home.context.paths.socket());
    test::answer_version(*daemon);
    daemon->answer("GET /v1/peers", 200, roster());
    daemon->answer("POST /v1/send", [](const test::FakeServer::Request& request) {
      return std::pair(202, protocol::to_json(
                                object_of({{"client_message_id", json_text(text_of(request.body, "client_message_id"))},
                                           {"status", json_text("queued")}})));
    });
  }
  SendArguments arguments(const std::string& to) {
    SendArguments result;
    result.to = to;
    result.words = {"hello", "there"};
    result.json = true;
    return result;
  }
  test::Home home;
  std::unique_ptr<test::FakeServer> daemon;
};

TEST_F(Send, ANameIsResolvedAndTheBodyIsThatOf1_37) {
  EXPECT_EQ(run_send(arguments("BOB"), home.context), 0);
  const auto sent = daemon->requests("POST /v1/send");
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(text_of(sent[0].body, "to"), kBob);
  EXPECT_EQ(text_of(sent[0].body, "message"), "hello there");
  EXPECT_EQ(text_of(sent[0].body, "priority"), "next");
  EXPECT_EQ(text_of(sent[0].body, "mesh"), "team");
  const JsonValue json = home.out_json();
  EXPECT_TRUE(flag_of(json, "ok"));
  EXPECT_EQ(text_of(json, "via"), "daemon");
  EXPECT_EQ(text_of(json, "status"), "queued");
  EXPECT_EQ(text_of(json, "target"), kBob);
  EXPECT_TRUE(flag_of(json, "recipientOnline"));
  EXPECT_EQ(text_of(json, "messageId"), text_of(sent[0].body, "client_message_id"));
  EXPECT_EQ(home.out.str().find('\n'), home.out.str().size() - 1) << "one line for scripts";
}

TEST_F(Send, TheIdempotencyKeyIsTheClientMessageId) {
  SendArguments keyed = arguments("bob");
  keyed.id = "order-17";
  EXPECT_EQ(run_send(keyed, home.context), 0);
  EXPECT_EQ(text_of(daemon->requests("POST /v1/send")[0].body, "client_message_id"), "order-17");
}

TEST_F(Send, ADashReadsStandardInput) {
  SendArguments piped = arguments("bob");
  piped.words = {"-"};
  home.in.str("line 1\nline 2\n");
  EXPECT_EQ(run_send(piped, home.context), 0);
  EXPECT_EQ(text_of(daemon->requests("POST /v1/send")[0].body, "message"), "line 1\nline 2\n");
}

TEST_F(Send, TooMuchAndNothingAreRefusedHere) {
  SendArguments piped = arguments("bob");
  piped.words = {"-"};
  home.in.str(std::string(kMessageBytesMax + 1, 'x'));
  EXPECT_EQ(run_send(piped, home.context), 3);
  home.in.str("");
  home.in.clear();
  EXPECT_EQ(run_send(piped, home.context), 3);
  EXPECT_TRUE(daemon->requests("POST /v1/send").empty());
}

TEST_F(Send, ANameThatNobodyKnowsIsRefused) {
  daemon->answer("POST /v1/send", 502, R"({"error":"route_failed","detail":"Error: peer \"eve\" not found"})");
  EXPECT_EQ(run_send(arguments("eve"), home.context), 1);
  EXPECT_FALSE(flag_of(home.out_json(), "ok"));
  EXPECT_NE(home.err.str().find("no peer named \"eve\" on mesh \"team\" (1 online)"), std::string::npos);
  test::expect_three_parts(home.err.str());
}

TEST_F(Send, ANameOfSomebodyWhoIsAwayIsLeftToTheDaemon) {
  EXPECT_EQ(run_send(arguments("carol"), home.context), 0);
  ASSERT_EQ(daemon->requests("POST /v1/send").size(), 1u);
  EXPECT_EQ(text_of(daemon->requests("POST /v1/send")[0].body, "to"), "carol");
  EXPECT_FALSE(flag_of(home.out_json(), "recipientOnline"));
}

TEST_F(Send, ANameThatFitsSeveralWhoAreAwayIsRefusedWithTheirKeys) {
  daemon->answer("POST /v1/send", 502, R"({"error":"route_failed","detail":"Error: several: bob aaaa, bob bbbb"})");
  EXPECT_EQ(run_send(arguments("carol"), home.context), 1);
  EXPECT_NE(home.err.str().find("bob aaaa, bob bbbb"), std::string::npos);
}

TEST_F(Send, AHookSpeaksForItself) {
  daemon->answer("POST /v1/send", 403, R"({"error":"denied_by_hook","detail":"the word \"secret\" may not leave"})");
  EXPECT_EQ(run_send(arguments("bob"), home.context), 1);
  EXPECT_EQ(home.err.str(), "  ✘ the word \"secret\" may not leave\n");
}

TEST_F(Send, ARefusalOfTheDaemonIsReported) {
  daemon->answer("POST /v1/send", 409,
                 R"({"error":"idempotency_key_reused","conflict":"outbox_done_fingerprint_mismatch"})");
  EXPECT_EQ(run_send(arguments("bob"), home.context), 1);
  EXPECT_EQ(text_of(home.out_json(), "via"), "daemon");
  EXPECT_NE(home.err.str().find("outbox_done_fingerprint_mismatch"), std::string::npos);
  test::expect_three_parts(home.err.str());
}

TEST_F(Send, TheOwnKeyNeedsSelf) {
  EXPECT_EQ(run_send(arguments(kOwn), home.context), 1);
  EXPECT_NE(home.err.str().find("--self"), std::string::npos);
  EXPECT_TRUE(daemon->requests("POST /v1/send").empty());
}

TEST_F(Send, SelfReachesEverySiblingButDaemons) {
  const auto mine = [](char key, const char* role, const char* channel) {
    return ",{\"displayName\":\"me\",\"pubkey\":\"" + std::string(64, key) + "\",\"memberPubkey\":\"" + kOwn +
           "\",\"peerRole\":\"" + role + "\",\"channel\":\"" + channel + "\",\"mesh\":\"team\"}";
  };
  daemon->answer("GET /v1/peers", 200,
                 roster(mine('1', "session", "x") + mine('2', "session", "x") + mine('3', "control-plane", "x") +
                        mine('4', "session", "claudemesh-daemon")));
  SendArguments self = arguments(kOwn);
  self.self = true;
  EXPECT_EQ(run_send(self, home.context), 0);
  EXPECT_EQ(daemon->requests("POST /v1/send").size(), 2u);
  EXPECT_EQ(array_of(home.out_json(), "fanout").size(), 2u);
}

TEST_F(Send, WaitEndsWithTheConfirmation) {
  int asked = 0;
  daemon->answer("GET /v1/outbox", [&asked](const test::FakeServer::Request&) {
    JsonValue row = object_of({{"client_message_id", json_text("k1")}, {"status", json_text("pending")}});
    if (++asked > 1) {
      row.set("status", json_text("done"));
      row.set("broker_message_id", json_text("BrokerMessage1"));
    }
    return std::pair(200, protocol::to_json(object_of({{"items", JsonValue(JsonValue::Array{row})}})));
  });
  daemon->answer("GET /v1/messages/BrokerMessage1/status", 200, R"({"messageId":"BrokerMessage1","delivered":true})");
  SendArguments waiting = arguments("bob");
  waiting.id = "k1";
  waiting.wait = "5";
  EXPECT_EQ(run_send(waiting, home.context), 0);
  EXPECT_EQ(text_of(home.out_json(), "delivery"), "delivered");
  EXPECT_EQ(text_of(home.out_json(), "messageId"), "BrokerMessage1");
}

TEST_F(Send, WaitFailsWhenTheMessageIsDead) {
  daemon->answer("GET /v1/outbox", 200,
                 R"({"items":[{"client_message_id":"k2","status":"dead","last_error":"payload too large"}]})");
  SendArguments waiting = arguments("bob");
  waiting.id = "k2";
  waiting.wait = "5";
  EXPECT_EQ(run_send(waiting, home.context), 1);
  EXPECT_NE(home.err.str().find("payload too large"), std::string::npos);
}

TEST_F(Send, WaitIsBounded) {
  daemon->answer("GET /v1/outbox", 200, R"({"items":[{"client_message_id":"k3","status":"pending"}]})");
  SendArguments waiting = arguments("bob");
  waiting.id = "k3";
  waiting.wait = "0.1";
  EXPECT_EQ(run_send(waiting, home.context), 4);
  EXPECT_NE(home.err.str().find("nothing is lost"), std::string::npos);
}

TEST_F(Send, StatusOfAMessage) {
  daemon->answer("GET /v1/messages/AbCdEfGh/status", 200, R"({"messageId":"AbCdEfGh","delivered":false})");
  EXPECT_EQ(run_message_status({.id = "AbCdEfGh", .mesh = "", .json = true, .daemon = {}}, home.context), 0);
  EXPECT_EQ(text_of(home.out_json(), "messageId"), "AbCdEfGh");
}

TEST_F(Send, StatusOfAMessageThatIsStillHere) {
  daemon->answer("GET /v1/messages/8e11200a/status", 200,
                 R"({"messageId":"8e11200a-1","targetSpec":"bob","delivered":false,"outbox":"pending"})");
  EXPECT_EQ(run_message_status({.id = "8e11200a", .mesh = "", .json = false, .daemon = {}}, home.context), 0);
  EXPECT_NE(home.out.str().find("waits in the daemon's outbox"), std::string::npos);
}

TEST_F(Send, StatusOfAnUnknownMessage) {
  EXPECT_EQ(run_message_status({.id = "AbCdEfGh", .mesh = "", .json = true, .daemon = {}}, home.context), 5);
  EXPECT_EQ(text_of(home.out_json(), "error"), "not_found");
  EXPECT_TRUE(flag_of(home.out_json(), "isPrefix"));
}

TEST_F(Send, StatusChecksTheIdFirst) {
  EXPECT_EQ(run_message_status({.id = "abc", .mesh = "", .json = true, .daemon = {}}, home.context), 3);
  EXPECT_EQ(text_of(home.out_json(), "code"), "too_short");
  EXPECT_EQ(message_id_problem(""), "missing");
  EXPECT_EQ(message_id_problem("abcdefgh/../x"), "bad_charset");
  EXPECT_EQ(message_id_problem(std::string(33, 'a')), "too_long");
  EXPECT_EQ(message_id_problem(std::string(32, 'a')), std::nullopt);
  EXPECT_EQ(message_id_problem("8e11200a-0000-4000-8000-000000000001"), std::nullopt) << "an id of the sender";
}

TEST(Wait, Seconds) {
  EXPECT_EQ(parse_wait(""), 0);
  EXPECT_EQ(parse_wait("true"), kWaitSecondsDefault);
  EXPECT_EQ(parse_wait("0.25"), 0.25);
  for (const char* wrong : {"0", "-1", "3601", "nan", "1s", "false"}) {
    EXPECT_EQ(parse_wait(wrong), std::nullopt) << wrong;
  }
}

TEST(SendRefused, NamesTheWayOut) {
  ApiReply large{413, object_of({{"error", json_text("payload_too_large")}})};
  EXPECT_NE(send_refused(large).found.find("too large"), std::string::npos);
  ApiReply mesh{400, object_of({{"error", json_text("mesh_required")}})};
  EXPECT_EQ(send_refused(mesh).code, ExitCode::kUsage);
  EXPECT_NE(send_refused(mesh).next.find("--mesh"), std::string::npos);
}

}  // namespace
}  // namespace cm::cli
