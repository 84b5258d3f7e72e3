#include <CLI/CLI.hpp>

#include "cli/tests/cli_test_support.hpp"
#include "cli/verbs.hpp"

namespace cm::cli {
namespace {

struct Parsed {
  int code = 0;
  std::string out;
  std::string err;
};

// Command lines that are refused, or that only print help: no verb runs.
Parsed parse(const std::string& line) {
  CLI::App app("test", "claudemesh");
  app.require_subcommand(1);
  int exit_code = 0;
  add_verbs(app, exit_code);
  std::ostringstream out;
  std::ostringstream err;
  try {
    app.parse(line);
  } catch (const CLI::ParseError& error) {
    const int code = report_parse_error(app, error, out, err);
    return {code, out.str(), err.str()};
  }
  ADD_FAILURE() << "was accepted: " << line;
  return {exit_code, out.str(), err.str()};
}

TEST(Parse, AnUnknownCommandNamesTheNearest) {
  const Parsed parsed = parse("snd bob hi");
  EXPECT_EQ(parsed.code, 3);
  EXPECT_NE(parsed.err.find("Unknown command: snd"), std::string::npos);
  EXPECT_NE(parsed.err.find("did you mean `claudemesh send`"), std::string::npos);
  test::expect_three_parts(parsed.err);
  EXPECT_NE(parse("mesh invte team").err.find("claudemesh mesh invite`"), std::string::npos);
}

TEST(Parse, AnInviteLinkIsNeverRepeated) {
  const Parsed parsed = parse("https://broker.example/join/eyJ2IjoxLCJtZXNoX2lkIjoi");
  EXPECT_EQ(parsed.code, 3);
  EXPECT_EQ(parsed.err.find("eyJ2"), std::string::npos);
  EXPECT_NE(parsed.err.find("claudemesh join"), std::string::npos);
}

// What a full disk behind `>` leaves.
TEST(Parse, OutputThatCannotBeWrittenIsAFailure) {
  const auto report = [](const std::string& line, int code, bool writable) {
    CLI::App app("test", "claudemesh");
    CLI::App* list = app.add_subcommand("list", "");
    CLI::App* daemon = app.add_subcommand("daemon", "");
    list->callback([] {});
    daemon->callback([] {});
    app.parse(line);
    std::ostringstream out;
    out.setstate(writable ? std::ios::goodbit : std::ios::badbit);
    std::ostringstream err;
    const int result = report_unwritten(app, code, out, err);
    if (writable) {
      EXPECT_EQ(err.str(), "");
    } else {
      test::expect_three_parts(err.str());
    }
    return result;
  };
  EXPECT_EQ(report("list", 0, true), 0);
  EXPECT_EQ(report("list", 5, true), 5);
  EXPECT_EQ(report("list", 0, false), 10);
  EXPECT_EQ(report("list", 5, false), 5) << "the first failure counts";
  EXPECT_EQ(report("daemon", 0, false), 1);
}

TEST(Parse, AFarWordGetsNoAdvice) {
  EXPECT_EQ(parse("xylophone").err.find("did you mean"), std::string::npos);
}

TEST(Parse, WrongArgumentsGiveThree) {
  for (const char* line :
       {"", "send", "send bob", "send --priority urgent a b", "inbox --limit 0", "inbox --limit x", "list --nope",
        "mesh invite team --uses 0", "mesh", "message status", "send --wait=-1 a b"}) {
    const Parsed parsed = parse(line);
    EXPECT_EQ(parsed.code, 3) << line;
    test::expect_three_parts(parsed.err);
  }
}

TEST(Parse, TheDaemonGroupHasItsOwnCode) {
  EXPECT_EQ(parse("daemon fly").code, 2);
  EXPECT_EQ(parse("daemon outbox requeue").code, 2);
}

TEST(Parse, EveryVerbHasHelpWithAnExample) {
  for (const char* verb : {"join", "list", "peer list", "send", "message send", "inbox", "message status", "daemon",
                           "daemon up", "daemon outbox", "mesh", "mesh create", "mesh list", "mesh invite",
                           "mesh invites", "mesh revoke", "mesh members", "mesh backup"}) {
    const Parsed parsed = parse(std::string(verb) + " --help");
    EXPECT_EQ(parsed.code, 0) << verb;
    EXPECT_NE(parsed.out.find("Example"), std::string::npos) << verb;
    EXPECT_EQ(parsed.err, "") << verb;
  }
}

TEST(Parse, NearestWord) {
  EXPECT_EQ(nearest_word("inbx", {"inbox", "list"}), "inbox");
  EXPECT_EQ(nearest_word("st", {"stop", "send"}), "stop");
  EXPECT_EQ(nearest_word("zzzzzz", {"inbox", "list"}), "");
}

}  // namespace
}  // namespace cm::cli
