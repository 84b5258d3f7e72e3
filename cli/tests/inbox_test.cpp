#include "cli/inbox.hpp"

#include "cli/tests/cli_test_support.hpp"

namespace cm::cli {
namespace {

constexpr const char* kItems =
    R"({"items":[{"id":"2","sender_name":"Bob","sender_pubkey":"bbbbbbbbbbbb","mesh":"team","body":"second",)"
    R"("received_at":"T2"},)"
    R"({"id":"1","sender_name":"bbbbbbbb","sender_pubkey":"bbbbbbbbbbbb","mesh":"team",)"
    R"("body":null,"received_at":"T1"}]})";

class Inbox : public testing::Test {
 protected:
  Inbox() {
    home.join({"team"});
    daemon = std::make_unique<test::FakeServer>(home.context.paths.socket());
    test::answer_version(*daemon);
    daemon->answer("GET /v1/inbox", 200, kItems);
  }
  test::Home home;
  std::unique_ptr<test::FakeServer> daemon;
};

TEST_F(Inbox, JsonIsTheArrayOfRows) {
  InboxArguments arguments;
  arguments.json = true;
  arguments.limit = 7;
  arguments.unread = true;
  EXPECT_EQ(run_inbox(arguments, home.context), 0);
  ASSERT_NE(home.out_json().as_array(), nullptr);
  EXPECT_EQ(home.out_json().as_array()->size(), 2u);
  EXPECT_EQ(daemon->requests("GET /v1/inbox")[0].target, "/v1/inbox?limit=7&unread_only=true");
}

TEST_F(Inbox, TextIsOldestFirstAndMarksWhatCannotBeRead) {
  EXPECT_EQ(run_inbox({}, home.context), 0);
  const std::string text = home.out.str();
  EXPECT_LT(text.find("[encrypted]"), text.find("second"));
  EXPECT_NE(text.find("Bob (bbbbbbbb) [team]"), std::string::npos);
}

TEST_F(Inbox, ABodyCannotControlTheTerminal) {
  daemon->answer("GET /v1/inbox", 200,
                 R"({"items":[{"id":"1","sender_name":"x\u001b[2J","mesh":"team","body":"a\u001b]0;t\u0007\nb"}]})");
  EXPECT_EQ(run_inbox({}, home.context), 0);
  EXPECT_EQ(home.out.str().find('\x1b'), std::string::npos);
  EXPECT_NE(home.out.str().find("\n    b\n"), std::string::npos) << "further lines are indented too";
}

TEST_F(Inbox, ASenderThatTheBrokerDidNotNameIsLookedUp) {
  daemon->answer("GET /v1/peers", 200,
                 R"({"peers":[{"displayName":"Robert","pubkey":"x","memberPubkey":"bbbbbbbbbbbb"}]})");
  EXPECT_EQ(run_inbox({}, home.context), 0);
  EXPECT_NE(home.out.str().find("Robert (bbbbbbbb) [team]"), std::string::npos) << home.out.str();
  EXPECT_NE(home.out.str().find("Bob (bbbbbbbb) [team]"), std::string::npos);
}

TEST_F(Inbox, DeleteOne) {
  daemon->answer("DELETE /v1/inbox/abc", 200, R"({"removed":1,"id":"abc"})");
  EXPECT_EQ(run_inbox_delete({.id = "abc", .json = true, .daemon = {}}, home.context), 0);
  EXPECT_EQ(home.out.str(), "{\"ok\":true,\"id\":\"abc\"}\n");
}

TEST_F(Inbox, DeleteWhatIsNotThere) {
  EXPECT_EQ(run_inbox_delete({.id = "nope", .json = true, .daemon = {}}, home.context), 5);
  EXPECT_EQ(text_of(home.out_json(), "error"), "not_found");
  test::expect_three_parts(home.err.str());
}

TEST_F(Inbox, FlushNeedsAFilter) {
  EXPECT_EQ(run_inbox_flush({}, home.context), 1);
  EXPECT_TRUE(daemon->requests("DELETE /v1/inbox").empty());
  daemon->answer("DELETE /v1/inbox", 200, R"({"removed":3})");
  InboxFlushArguments before;
  before.before = "2026-01-01T00:00:00Z";
  before.json = true;
  EXPECT_EQ(run_inbox_flush(before, home.context), 0);
  EXPECT_EQ(daemon->requests("DELETE /v1/inbox")[0].target, "/v1/inbox?before=2026-01-01T00%3A00%3A00Z");
}

TEST(InboxWithoutDaemon, FailsWithTheNetworkCode) {
  test::Home home;
  home.join({"team"});
  EXPECT_EQ(run_inbox({}, home.context), 4);
  EXPECT_EQ(home.out.str(), "");
  test::expect_three_parts(home.err.str());
}

}  // namespace
}  // namespace cm::cli
