#include "host/loader/verbs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <sstream>

#include "host/loader/tests/folder.hpp"

namespace cm::loader {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Runs a command line against a folder that holds one usable and one too new plugin.
class VerbsTest : public ::testing::Test {
 protected:
  VerbsTest() {
    good_ = folder_.add("good", "plugins/good.so");
    folder_.add("future", "plugins/future.so");
  }

  int run(const std::string& command_line) {
    out_.str("");
    err_.str("");
    CLI::App app("claudemesh");
    int exit_code = -1;
    VerbContext context{
        out_,
        err_,
        config::Environment(std::map<std::string, std::string, std::less<>>{{"HOME", folder_.path().string()}}),
        {folder_.path() / "bin" / "claudemesh", "-"}};
    add_host_verbs(app, context, exit_code);
    try {
      app.parse(command_line);
    } catch (const CLI::ParseError& error) {
      return 100 + error.get_exit_code();
    }
    return exit_code;
  }
  json::object answer() const { return json::parse(out_.str()).as_object(); }

  PluginFolder folder_;
  std::filesystem::path good_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(VerbsTest, ChecksAGoodFile) {
  const auto file = folder_.write("a.toml", "[plugins.good]\ncount = 4\ntoken = \"abcdef\"\n").string();
  EXPECT_EQ(run("check " + file), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("fine; 1 instance on 1 loop"));
  EXPECT_EQ(run("check --values " + file), 0);
  EXPECT_THAT(out_.str(), HasSubstr("count = 4  # " + file + ":2:9"));
  EXPECT_THAT(out_.str(), HasSubstr("token = (secret)"));
  EXPECT_EQ(run("check --json --values " + file), 0);
  EXPECT_THAT(out_.str(), Not(HasSubstr("abcdef")));
  const json::object root = answer();
  EXPECT_TRUE(root.at("ok").as_bool());
  EXPECT_EQ(root.at("instances").as_array().at(0).as_object().at("plugin").as_string(), "good");
}

TEST_F(VerbsTest, ShowsWhatIsAskedForAndNotGranted) {
  const auto file = folder_.write("p.toml", "[plugins.good]\npermissions = []\n").string();
  EXPECT_EQ(run("check " + file), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("good: good 1.4.0; asks for and does not get cm.log/1\n"));
  EXPECT_EQ(run("check --json " + file), 0);
  const json::object instance = answer().at("instances").as_array().at(0).as_object();
  EXPECT_EQ(json::serialize(instance.at("permissions")), "[]");
  EXPECT_EQ(json::serialize(instance.at("withheld")), "[\"cm.log/1\"]");
  const auto wrong = folder_.write("w.toml", "[plugins.good]\npermissions = [\"cm.timer/1\"]\n").string();
  EXPECT_EQ(run("check " + wrong), 1);
  EXPECT_THAT(err_.str(), HasSubstr("found \"cm.timer/1\", expected host tables that good asks for"));
}

TEST_F(VerbsTest, ChecksABadFile) {
  const auto file =
      folder_.write("b.toml", "[plugins.good]\ncont = 4\n[plugins.future]\n[plugins.a]\nuse = \"god\"\n").string();
  EXPECT_EQ(run("check " + file), 1);
  EXPECT_THAT(out_.str(), IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr(file + ":2:1: [plugins.good] has no key \"cont\"; did you mean \"count\"?"));
  EXPECT_THAT(err_.str(), HasSubstr("needs plugin ABI 2.3; this host offers 1.0"));
  EXPECT_THAT(err_.str(), HasSubstr("did you mean \"good\"?"));
  EXPECT_EQ(run("check --json " + file), 1);
  const json::object root = answer();
  EXPECT_FALSE(root.at("ok").as_bool());
  EXPECT_EQ(root.at("problems").as_array().size(), 3U);
  EXPECT_EQ(root.at("problems").as_array().at(0).as_object().at("line").as_int64(), 2);
}

TEST_F(VerbsTest, ListsPlugins) {
  EXPECT_EQ(run("plugin list"), 0);
  EXPECT_THAT(out_.str(), HasSubstr(good_.string()));
  EXPECT_THAT(out_.str(), HasSubstr("not usable: plugin org.test.future"));
  EXPECT_EQ(run("plugin list --json"), 0);
  EXPECT_EQ(answer().at("plugins").as_array().size(), 2U);
}

TEST_F(VerbsTest, InspectsAFile) {
  EXPECT_EQ(run("plugin inspect --json " + good_.string()), 0) << out_.str();
  EXPECT_EQ(answer().at("manifest").as_object().at("id").as_string(), "org.test.good");
  EXPECT_EQ(answer().at("exported_symbols").as_array().size(), 1U);
  EXPECT_EQ(run("plugin inspect " + good_.string()), 0);
  EXPECT_THAT(out_.str(), HasSubstr("sha256:    "));
  EXPECT_EQ(run("plugin inspect " + folder_.write("x.so", "x").string()), 1);
  EXPECT_THAT(err_.str(), HasSubstr("is not a claudemesh plugin: it is no ELF file"));
}

TEST_F(VerbsTest, DescribesInEveryFormat) {
  EXPECT_EQ(run("plugin describe good"), 0);
  EXPECT_THAT(out_.str(), HasSubstr("# count = 3"));
  EXPECT_EQ(run("plugin describe good --format markdown"), 0);
  EXPECT_THAT(out_.str(), HasSubstr("| `count` | an integer from 1 to 10 | `3` |"));
  EXPECT_EQ(run("plugin describe " + good_.string() + " --json"), 0);
  EXPECT_TRUE(answer().at("properties").as_object().contains("token_file"));
  EXPECT_EQ(run("plugin describe --format json-schema"), 0);
  EXPECT_TRUE(answer().at("properties").as_object().contains("plugins"));
  EXPECT_EQ(run("plugin describe host --json"), 0);
  EXPECT_TRUE(answer().at("properties").as_object().contains("host"));
  EXPECT_EQ(run("plugin describe godo"), 1);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean \"good\"?"));
}

TEST_F(VerbsTest, RefusesWrongArguments) {
  EXPECT_GE(run("check"), 100);
  EXPECT_GE(run("plugin"), 100);
  EXPECT_GE(run("plugin describe good --format xml"), 100);
}

}  // namespace
}  // namespace cm::loader
